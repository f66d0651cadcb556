"""What the tests of the cluster's bookkeeping share: a source of trials without Optuna."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.cluster.small_studies import arguments_of, free_port, kill_children, start

PIXEL = {"loss.guidance": "pixel"}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Ray for all tests: a head that has nothing but the dashboard, which groups of workers need, and a node."""
    for attempt in (1, 2, 3):
        head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": free_port()}
        try:
            made = Cluster(initialize_head=True, head_node_args=head, connect=True)
            made.add_node(num_cpus=2)
            break
        except Exception:  # Ray gives its node 30 seconds, too few on a machine that is busy otherwise
            ray.shutdown()
            kill_children()
            if attempt == 3:
                raise
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="session")
def shared_ray(cluster: Cluster) -> str:
    """The address of the Ray for all tests; the studies connect to it, as to a cluster."""
    return str(cluster.address)


@pytest.fixture(scope="session")
def neighbours(shared_ray: str, material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two studies that ran on one cluster at the same time, and share their artifacts.

    The second has two trials, stops them early, and interpolations what is on its front.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    outputs = folder / "study", folder / "neighbour"
    running = [
        start(shared_ray, arguments_of(material, outputs[0])),
        start(
            shared_ray,
            arguments_of(material, outputs[1], "--trials", "2", "--grace-period", "20", "--interpolate", "1"),
        ),
    ]
    for process in running:
        text, _ = process.communicate(timeout=480)
        assert process.returncode == 0, text
    return outputs


@pytest.fixture(scope="session")
def undisturbed(neighbours: tuple[Path, Path]) -> Path:
    """A study that nothing happened to."""
    return neighbours[0]
