"""Checks of a cluster's nodes against simulated reports; test_study.py checks a real node."""

import signal
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayError, TaskUnschedulableError, WorkerCrashedError

from study.cluster import preflight as nodes
from study.cluster.preflight import NodeReport, check_nodes, describe_problems, ready_cluster
from study.cluster.study import Resources
from study.config import ConfigError

PATHS = {"--output": "/runs/aesop", "--data": "/data/DF2K"}


def report(name: str, clock: float = 1000.5, missing: tuple[str, ...] = ()) -> NodeReport:
    return NodeReport(name, clock, sent=1000.0, received=1002.0, missing={option: PATHS[option] for option in missing})


def test_nodes_with_all_paths_and_the_right_time_pass() -> None:
    assert describe_problems([report("10.0.0.1"), report("10.0.0.2", clock=1055.0)], {}, PATHS) == []


def test_paths_missing_on_some_nodes_are_named_with_them() -> None:
    found = describe_problems(
        [report("a"), report("b", missing=("--output",)), report("c", missing=("--output", "--data"))], {}, PATHS
    )
    assert len(found) == 2
    assert "--output /runs/aesop does not exist on node b, c" in found[0]
    assert "--data /data/DF2K does not exist on node c" in found[1]
    assert "NFS" in found[0]


def test_a_clock_that_is_an_hour_off_is_named() -> None:
    ahead, behind = report("a", clock=1001.0 + 3600), report("b", clock=1001.0 - 3600)
    assert (round(ahead.skew), round(behind.skew)) == (3599, -3599)
    found = describe_problems([ahead, behind], {}, PATHS)
    assert "the clock of node a is 3599 s ahead of the driver's" in found[0]
    assert "the clock of node b is 3599 s behind the driver's" in found[1]
    assert "chrony" in found[0]


def test_a_slow_response_is_no_skew() -> None:
    assert NodeReport("a", clock=1170.0, sent=1000.0, received=1172.0, missing={}).skew == 0


def test_a_node_that_does_not_respond_is_named() -> None:
    found = describe_problems(
        [], {"10.0.0.7": "within 180 s", "10.0.0.8": "ModuleNotFoundError: No module named 'torch'"}, PATHS
    )
    assert "node 10.0.0.7 did not respond (within 180 s)" in found[0]
    assert "node 10.0.0.8 did not respond (ModuleNotFoundError: No module named 'torch')" in found[1]
    assert "requirements.lock" in found[1]


class Nodes:
    """A cluster of nodes `a` and `b`; `of_b` are the results of `b` in turn; with `gone`, `b` then leaves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *of_b: RayError | None, gone: bool) -> None:
        self._of_b, self._gone, self.submitted = list(of_b), gone, [""]
        monkeypatch.setattr(nodes, "RETRY_SECONDS", 0)
        monkeypatch.setattr(nodes, "_submit", self._submit)
        monkeypatch.setattr(ray, "nodes", self._nodes)
        monkeypatch.setattr(ray, "wait", lambda waiting, timeout: (waiting[:1], waiting[1:]))
        monkeypatch.setattr(ray, "get", self._get)

    def _submit(self, node: str, paths: dict[str, str]) -> tuple[str, int]:
        self.submitted.append(node)
        return node, len(self.submitted)

    def _get(self, task: tuple[str, int]) -> tuple[float, dict[str, str]]:
        failure = self._of_b.pop(0) if task[0] == "b" else None
        if failure is not None:
            raise failure
        return nodes.time.time(), {}

    def _nodes(self) -> Sequence[dict[str, Any]]:
        there = ["a"] if self._gone and "b" in self.submitted and not self._of_b else ["a", "b"]
        return [{"NodeID": n, "NodeManagerAddress": n, "Alive": True, "Resources": {"CPU": 2.0}} for n in there]


GONE = TaskUnschedulableError("the node does not exist any more")


@pytest.mark.parametrize("failures", [(GONE,), (GONE, GONE, GONE), (WorkerCrashedError(),)])
def test_a_node_that_left_the_cluster_is_no_problem(
    failures: tuple[RayError, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = Nodes(monkeypatch, *failures, gone=True)
    check_nodes({}, {"--output": tmp_path})
    assert cluster.submitted.count("b") == len(failures)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_accepts_no_task_yet_is_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = Nodes(monkeypatch, GONE, None, gone=False)
    check_nodes({}, {"--output": tmp_path})
    assert cluster.submitted.count("b") == 2


def test_a_present_node_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Nodes(monkeypatch, WorkerCrashedError(), gone=False)
    with pytest.raises(ConfigError, match="node b did not respond"):
        check_nodes({}, {"--output": tmp_path})


def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[Any] = []

    def fail(*_: object, **__: object) -> None:
        handled.append(signal.getsignal(signal.SIGHUP))
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", fail)
    before = signal.getsignal(signal.SIGHUP)
    said = (
        r"Ray \(local\) did not start: The current node timed out during startup; its logs are in \S+/r/session_latest"
    )
    with pytest.raises(ConnectionError, match=said), ready_cluster(SimpleNamespace(resources=Resources())):  # type: ignore[arg-type]
        pass
    assert handled == [signal.SIG_IGN], "Ray's processes ignore the end of the terminal"
    assert signal.getsignal(signal.SIGHUP) == before
