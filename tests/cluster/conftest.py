"""Fixtures of the cluster's tests: one shared Ray, and studies that ran on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from tests.cluster.small_studies import arguments_of, free_port, kill_children, start

PIXEL = {"loss.guidance": "pixel"}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One Ray for all tests: a head with only the dashboard, which groups of workers need, and a node."""
    for attempt in (1, 2, 3):
        head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": free_port()}
        try:
            made = Cluster(initialize_head=True, head_node_args=head, connect=True)
            made.add_node(num_cpus=2)
            break
        except Exception:  # Ray gives its node 30 seconds, too few on a busy machine
            ray.shutdown()
            kill_children()
            if attempt == 3:
                raise
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="session")
def shared_ray(cluster: Cluster) -> str:
    """Return the address of the Ray for all tests, to which studies connect as to a cluster."""
    return str(cluster.address)


@pytest.fixture(scope="session")
def neighbours(shared_ray: str, material: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run two studies at the same time on one cluster, with shared artifacts; return their directories.

    The second has two trials, stops them early, and interpolates its front.
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
    """Return the directory of a study that was not interrupted."""
    return neighbours[0]
