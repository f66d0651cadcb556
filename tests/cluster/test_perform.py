"""How a job of a team ends: for its own fault, or for the loss of another process."""

from typing import Any

import pytest
import torch
import torch.distributed as dist

from study.cluster import perform as performing
from study.cluster.group import _pass_on, _put_failure
from study.cluster.perform import perform
from study.config import DataConfig
from study.training.artifact_store import ArtifactFolder
from study.training.setting import Setting
from study.training.team import Team, TeamLost
from study.training.workshop import Workshop

JOB = {"name": "trial-0000", "kind": "trial"}
CPU = torch.device("cpu")


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> dict[str, Any]:
    workshop = Workshop(None, None, ArtifactFolder(tmp_path), None, {}, CPU)  # type: ignore[arg-type]
    monkeypatch.setattr(performing, "_workshop", lambda _: workshop)
    setting = Setting(DataConfig(), 32, str(tmp_path), {}, None)
    return {"job": JOB, "setting": setting.to_dict(), "run_dir": str(tmp_path), "threads": 1}


def failing_with(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> dict[str, Any]:
        raise error

    return fail


def test_the_loss_of_another_process_is_no_end(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(performing, "_run", failing_with(TeamLost("gone")))
    with pytest.raises(TeamLost, match="gone"):
        perform(config, Team(0, 2), sent.append)
    assert sent == []

    monkeypatch.setattr(performing, "_run", failing_with(ValueError("its own fault")))
    assert perform(config, Team(0, 2), sent.append) == "FAILED"
    assert [(message["type"], message["cause"]) for message in sent] == [("end", "ValueError: its own fault")]


def test_an_exchange_that_fails_says_that_the_team_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", failing_with(RuntimeError("Connection closed by peer")))
    monkeypatch.setattr(dist, "broadcast_object_list", failing_with(RuntimeError("Connection closed by peer")))
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    team = Team(0, 2)

    for exchange in (
        lambda: team.average_gradients([parameter]),
        lambda: team.average({"pixel": 1.0}, CPU),
        lambda: team.mean(torch.ones(3)),
        lambda: team.agree(True),
    ):
        with pytest.raises(TeamLost, match=r"another process of the team is gone .*closed by peer"):
            exchange()


def test_the_first_end_counts_and_of_the_others_only_that_they_cannot_go_on() -> None:
    point, failed, late = ({"type": "point"}, {"type": "end", "state": "FAILED"}, {"type": "end", "state": "HALTED"})
    sent: list[dict[str, Any]] = []

    assert _pass_on([point, failed, late, point], sent.append)
    assert sent == [point, failed]
    assert not _pass_on([point], sent.append)

    class Messages(list[dict[str, Any]]):
        put = list.append

    messages: Any = Messages()
    for message in (point, failed, {"type": "end", "state": "COMPLETE"}):
        _put_failure(messages, message)
    assert messages == [failed]
