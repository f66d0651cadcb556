"""How a job of a group ends: by its own error, or by the loss of another process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image

from study.cluster import run_job as module
from study.cluster.group import _forward, _put_failure
from study.cluster.jobs import Job
from study.cluster.messages import Advanced, Happened, JobEnded, JobRequest, JobSpec, Message
from study.cluster.run_job import run_job
from study.config import DataConfig, replace
from study.config.recipes import aesop
from study.record.events import ReferenceEvaluated
from study.record.paths import RunDirectory
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.distributed import SINGLE_PROCESS, DistributedContext, GroupLost
from study.training.evaluation import evaluate_baseline

JOB = JobSpec("trial-0000", "trial", "adversarial", {}, trial=0)
CPU = torch.device("cpu")


@pytest.fixture
def request_(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> JobRequest:
    context = RunContext(None, None, ArtifactFolder(tmp_path), None, {}, CPU)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_context", lambda _: context)
    context_spec = ContextSpec(DataConfig(), 32, str(tmp_path), {}, None)
    return JobRequest(JOB, context_spec.to_dict(), str(tmp_path), threads=1)


def failing_with(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> dict[str, Any]:
        raise error

    return fail


def test_a_worker_evaluates_the_baseline_of_the_run(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name / "a.png")
    run = replace(aesop("tiny"), {f"data.{name}": str(tmp_path / name) for name in ("train", "val")})
    context_spec = ContextSpec(run.data, 32, str(tmp_path / "artifacts"), {}, None)
    job = Job("bicubic", "baseline", None, run, ready_at=0.0).spec
    sent: list[Message] = []

    request = JobRequest(job, context_spec.to_dict(), str(tmp_path), threads=1)
    assert run_job(request, SINGLE_PROCESS, sent.append) == "COMPLETE"
    again = RunDirectory(tmp_path / "again")
    expected = evaluate_baseline(run.data, context_spec.open(), again)
    assert sent == [Happened(expected), JobEnded("COMPLETE")]
    for folder in ("hr", "lq", "bicubic"):
        crops = RunDirectory(tmp_path).reference(folder) / "a.png", again.reference(folder) / "a.png"
        assert crops[0].read_bytes() == crops[1].read_bytes()
    assert isinstance(expected, ReferenceEvaluated)
    assert expected.samples == "references/bicubic"


def test_the_loss_of_another_process_is_no_end(request_: JobRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Message] = []
    monkeypatch.setattr(module, "_run", failing_with(GroupLost("gone")))
    with pytest.raises(GroupLost, match="gone"):
        run_job(request_, DistributedContext(0, 2), sent.append)
    assert sent == []

    monkeypatch.setattr(module, "_run", failing_with(ValueError("its own fault")))
    assert run_job(request_, DistributedContext(0, 2), sent.append) == "FAILED"
    (ended,) = sent
    assert isinstance(ended, JobEnded)
    assert (ended.state, ended.cause) == ("FAILED", "ValueError: its own fault")


def test_a_failed_collective_operation_raises_group_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_reduce", failing_with(RuntimeError("Connection closed by peer")))
    monkeypatch.setattr(dist, "broadcast_object_list", failing_with(RuntimeError("Connection closed by peer")))
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    distributed = DistributedContext(0, 2)

    for exchange in (
        lambda: distributed.average_gradients([parameter]),
        lambda: distributed.average({"pixel": 1.0}, CPU),
        lambda: distributed.mean(torch.ones(3)),
        lambda: distributed.broadcast(True),
    ):
        with pytest.raises(GroupLost, match=r"another process of the group has died .*closed by peer"):
            exchange()


def test_only_the_first_end_and_failures_are_forwarded() -> None:
    point, failed, late = Advanced("trial-0000", 1, 2), JobEnded("FAILED"), JobEnded("HALTED")
    sent: list[Message] = []

    assert _forward([point, failed, late, point], sent.append)
    assert sent == [point, failed]
    assert not _forward([point], sent.append)

    class Messages(list[Message]):
        put = list.append

    messages: Any = Messages()
    for message in (point, failed, JobEnded("COMPLETE")):
        _put_failure(messages, message)
    assert messages == [failed]
