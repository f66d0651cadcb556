"""What is wrong with a cluster's nodes, in words; the question itself is asked of a real one in test_study.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError, TaskUnschedulableError, WorkerCrashedError

from study.cluster import preflight as nodes
from study.cluster.preflight import NodeView, check_nodes, complaints
from study.config import ConfigError

PATHS = {"--output": "/runs/aesop", "--data": "/data/DF2K"}


def view(name: str, clock: float = 1000.5, unseen: tuple[str, ...] = ()) -> NodeView:
    return NodeView(name, clock, asked=1000.0, answered=1002.0, unseen={option: PATHS[option] for option in unseen})


def test_nodes_that_see_everything_at_the_right_time_are_fine() -> None:
    assert complaints([view("10.0.0.1"), view("10.0.0.2", clock=1055.0)], {}, PATHS) == []


def test_storage_that_only_some_nodes_see_is_named_with_them() -> None:
    found = complaints(
        [view("a"), view("b", unseen=("--output",)), view("c", unseen=("--output", "--data"))], {}, PATHS
    )
    assert len(found) == 2
    assert "--output /runs/aesop is not seen on node b, c" in found[0]
    assert "--data /data/DF2K is not seen on node c" in found[1]
    assert "NFS" in found[0]


def test_a_clock_that_is_an_hour_off_is_named() -> None:
    ahead, behind = view("a", clock=1001.0 + 3600), view("b", clock=1001.0 - 3600)
    assert (round(ahead.skew), round(behind.skew)) == (3599, -3599)
    found = complaints([ahead, behind], {}, PATHS)
    assert "the clock of node a is 3599 s ahead of the driver's" in found[0]
    assert "the clock of node b is 3599 s behind the driver's" in found[1]
    assert "chrony" in found[0]


def test_a_slow_answer_is_no_skew() -> None:
    assert NodeView("a", clock=1170.0, asked=1000.0, answered=1172.0, unseen={}).skew == 0


def test_a_node_that_does_not_answer_is_named() -> None:
    found = complaints(
        [], {"10.0.0.7": "within 180 s", "10.0.0.8": "ModuleNotFoundError: No module named 'torch'"}, PATHS
    )
    assert "node 10.0.0.7 did not answer (within 180 s)" in found[0]
    assert "node 10.0.0.8 did not answer (ModuleNotFoundError: No module named 'torch')" in found[1]
    assert "requirements.lock" in found[1]


class Answers:
    """A cluster of nodes `a` and `b`: each answer of `b` is the next one given; with `gone` it is there no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *of_b: RayError | None, gone: bool) -> None:
        self._of_b, self._gone, self.asked = list(of_b), gone, [""]
        monkeypatch.setattr(nodes, "ASK_AGAIN_SECONDS", 0)
        monkeypatch.setattr(nodes, "_put", self._put)
        monkeypatch.setattr(ray, "nodes", self._nodes)
        monkeypatch.setattr(ray, "wait", lambda waiting, timeout: (waiting[:1], waiting[1:]))
        monkeypatch.setattr(ray, "get", self._get)

    def _put(self, node: str, paths: dict[str, str]) -> tuple[str, int]:
        self.asked.append(node)
        return node, len(self.asked)

    def _get(self, answer: tuple[str, int]) -> tuple[float, dict[str, str]]:
        failure = self._of_b.pop(0) if answer[0] == "b" else None
        if failure is not None:
            raise failure
        return nodes.time.time(), {}

    def _nodes(self) -> Sequence[dict[str, Any]]:
        there = ["a"] if self._gone and "b" in self.asked and not self._of_b else ["a", "b"]
        return [{"NodeID": n, "NodeManagerAddress": n, "Alive": True, "Resources": {"CPU": 2.0}} for n in there]


GONE = TaskUnschedulableError("the node does not exist any more")


@pytest.mark.parametrize("failures", [(GONE,), (GONE, GONE, GONE), (WorkerCrashedError(),)])
def test_a_node_that_has_gone_is_no_longer_asked_and_no_complaint(
    failures: tuple[RayError, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = Answers(monkeypatch, *failures, gone=True)
    check_nodes({}, {"--output": tmp_path})
    assert answers.asked.count("b") == len(failures)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_takes_no_question_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = Answers(monkeypatch, GONE, None, gone=False)
    check_nodes({}, {"--output": tmp_path})
    assert answers.asked.count("b") == 2


def test_a_node_that_is_there_and_cannot_answer_is_a_complaint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Answers(monkeypatch, WorkerCrashedError(), gone=False)
    with pytest.raises(ConfigError, match="node b did not answer"):
        check_nodes({}, {"--output": tmp_path})
