"""What is wrong with a cluster's nodes, in words; the question itself is asked of a real one in test_study.py."""

from study.cluster.nodes import NodeView, complaints

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
