"""How a job of a distributed ends: for its own fault, or for the loss of another process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from study.cluster import run_job as performing
from study.cluster.group import _pass_on, _put_failure
from study.cluster.jobs import Job, describe
from study.cluster.run_job import run_job
from study.config import DataConfig, replace
from study.config.recipes import aesop
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.distributed import SINGLE_PROCESS, DistributedContext, GroupLost
from study.training.evaluation import evaluate_baseline

JOB = {"name": "trial-0000", "kind": "trial"}
CPU = torch.device("cpu")


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> dict[str, Any]:
    context = RunContext(None, None, ArtifactFolder(tmp_path), None, {}, CPU)  # type: ignore[arg-type]
    monkeypatch.setattr(performing, "_context", lambda _: context)
    context_spec = ContextSpec(DataConfig(), 32, str(tmp_path), {}, None)
    return {"job": JOB, "context_spec": context_spec.to_dict(), "run_dir": str(tmp_path), "threads": 1}


def failing_with(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> dict[str, Any]:
        raise error

    return fail


def test_a_worker_judges_the_baseline_of_the_run(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name / "a.png")
    run = replace(aesop("tiny"), {f"data.{name}": str(tmp_path / name) for name in ("train", "test")})
    context_spec = ContextSpec(run.data, 32, str(tmp_path / "artifacts"), {}, None)
    job = describe(Job("bicubic", "baseline", "adversarial", run, ready_at=0.0))
    sent: list[dict[str, Any]] = []

    config = {"job": job, "context_spec": context_spec.to_dict(), "run_dir": str(tmp_path), "threads": 1}
    assert run_job(config, SINGLE_PROCESS, sent.append) == "COMPLETE"
    (end,) = sent
    expected = evaluate_baseline(run.data, context_spec.open(), tmp_path / "again")
    assert end["metrics"] == expected.metrics
    assert end["images"] == expected.images
    for folder in ("hr", "lq", "bicubic"):
        crops = tmp_path / "references" / folder / "a.png", tmp_path / "again" / folder / "a.png"
        assert crops[0].read_bytes() == crops[1].read_bytes()
    assert end["samples"] == "references/bicubic"


def test_the_loss_of_another_process_is_no_end(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(performing, "_run", failing_with(GroupLost("gone")))
    with pytest.raises(GroupLost, match="gone"):
        run_job(config, DistributedContext(0, 2), sent.append)
    assert sent == []

    monkeypatch.setattr(performing, "_run", failing_with(ValueError("its own fault")))
    assert run_job(config, DistributedContext(0, 2), sent.append) == "FAILED"
    assert [(message["type"], message["cause"]) for message in sent] == [("end", "ValueError: its own fault")]


def test_an_exchange_that_fails_says_that_the_team_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", failing_with(RuntimeError("Connection closed by peer")))
    monkeypatch.setattr(dist, "broadcast_object_list", failing_with(RuntimeError("Connection closed by peer")))
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    distributed = DistributedContext(0, 2)

    for exchange in (
        lambda: distributed.average_gradients([parameter]),
        lambda: distributed.average({"pixel": 1.0}, CPU),
        lambda: distributed.mean(torch.ones(3)),
        lambda: distributed.agree(True),
    ):
        with pytest.raises(GroupLost, match=r"another process of the group has died .*closed by peer"):
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
