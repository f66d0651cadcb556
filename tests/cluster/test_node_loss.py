"""A study on a cluster whose nodes, lease actor and driver are killed one after the other; the end of a lease actor."""

import time
from collections import Counter
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.leases import LeaseActor, lease_actor
from study.record.events import ArtifactEnded, PointEvaluated, TrialEnded, WorkerDied
from tests.cluster.small_studies import (
    TRIALS,
    arguments_of,
    entries,
    final_weights,
    start,
    states_everywhere,
    wait_for,
)

pytestmark = pytest.mark.cluster

TRAINS = {"num_cpus": 1, "num_gpus": 1}  # a GPU that does not exist: it marks the nodes of this study


def test_nothing_is_lost_when_nodes_and_driver_are_killed(
    cluster: Cluster, shared_ray: str, material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "study"
    arguments = arguments_of(material, output, "--resume", "--gpus-per-trial", "1")
    lease_node, trains = cluster.add_node(num_cpus=0), cluster.add_node(**TRAINS)
    place = NodeAffinitySchedulingStrategy(lease_node.node_id, soft=True)
    ray.kill(lease_actor(), no_restart=True)  # of earlier tests
    ray.get(lease_actor(scheduling_strategy=place).call.remote("renew", "test", []))
    replacement = None
    try:
        first = start(shared_ray, arguments)
        wait_for(first, lambda: list(tmp_path.glob("artifacts/.partial/*/checkpoint.pt")))
        cluster.remove_node(lease_node, allow_graceful=False)

        wait_for(first, lambda: entries(output, PointEvaluated))
        cluster.remove_node(trains, allow_graceful=False)
        replacement = cluster.add_node(**TRAINS)
        wait_for(first, lambda: len(entries(output, TrialEnded)) >= 1)
        first.kill()
        first.communicate(timeout=60)

        second = start(shared_ray, arguments)
        text, _ = second.communicate(timeout=400)
        assert second.returncode == 0, text
    finally:
        for node in (lease_node, trains, replacement):
            if node in cluster.worker_nodes:
                cluster.remove_node(node)

    deaths = entries(output, WorkerDied)
    assert [death.trial for death in deaths] == [entries(output, PointEvaluated)[0].point.trial]
    assert 20 <= deaths[0].iteration < 40  # while it trained
    assert "actor" in deaths[0].cause
    expected = dict.fromkeys(range(TRIALS), "COMPLETE") | {3: "FAILED"}
    assert states_everywhere(output) == {"journal": expected, "optuna": expected, "mlflow": expected}
    assert set(Counter(entry.key for entry in entries(output, ArtifactEnded)).values()) == {1}
    points = Counter(point.point for point in entries(output, PointEvaluated))
    assert points == Counter(point.point for point in entries(undisturbed, PointEvaluated))
    assert final_weights(output) == final_weights(undisturbed)


def test_the_lease_actor_ends_when_no_study_uses_it(shared_ray: str) -> None:
    options = {"name": "idle-leases", "lifetime": "detached", "max_restarts": -1}
    actor = ray.remote(num_cpus=0)(LeaseActor).options(**options).remote(idle_seconds=1.5)
    for _ in range(8):
        ray.get(actor.call.remote("renew", "test", []))
        time.sleep(0.5)
    limit = time.monotonic() + 30
    while "idle-leases" in ray.util.list_named_actors() and time.monotonic() < limit:
        time.sleep(0.2)
    assert "idle-leases" not in ray.util.list_named_actors()
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.call.remote("renew", "test", []))
