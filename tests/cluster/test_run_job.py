"""How a job of a group ends: by its own error, or by the loss of another process."""

import dataclasses
import errno
import logging
import os
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
from study.cluster.messages import (
    Advanced,
    Happened,
    JobEnded,
    JobRequest,
    JobSpec,
    Message,
    PairSpec,
    ParentSpec,
    read_message,
    write_message,
)
from study.cluster.run_job import _artifacts_of, _check_files, run_job
from study.config import DataConfig, LargestPatch, RunConfig, replace, to_dict
from study.config.recipes import aesop
from study.files import StorageError
from study.record.events import JobWarned, PointEvaluated, ReferenceEvaluated
from study.record.paths import RunDirectory
from study.record.points import FidelityPoint, TrialPoint
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.distributed import SINGLE_PROCESS, DistributedContext, GroupLost
from study.training.evaluation import evaluate_baseline
from study.training.stages.artifacts import ensure_artifact
from study.training.stages.graph import artifact_key

JOB = JobSpec("trial-0000", "trial", "adversarial", {}, trial=0)
CPU = torch.device("cpu")


@pytest.fixture
def request_(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> JobRequest:
    context = RunContext(None, None, ArtifactFolder(tmp_path), None, {}, CPU)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "_context", lambda _: context)
    context_spec = ContextSpec(DataConfig(), LargestPatch(32, "budget.patch"), str(tmp_path), {}, None)
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
    context_spec = ContextSpec(run.data, LargestPatch(32, "budget.patch"), str(tmp_path / "artifacts"), {}, None)
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


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EXDEV, errno.ESTALE, errno.ENOENT, errno.EDQUOT])
def test_any_fault_of_the_storage_halts_the_study(
    number: int, request_: JobRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as fault:
            raise ValueError("the weight file cannot be read") from fault

    for failure in (fail, failing_with(StorageError(number, "could not write", "x.pt"))):
        monkeypatch.setattr(module, "_run", failure)
        sent: list[Message] = []
        assert run_job(request_, SINGLE_PROCESS, sent.append) == "HALTED"
        (ended,) = sent
        assert isinstance(ended, JobEnded)
        assert "the storage failed on" in str(ended.cause)


def test_a_run_directory_that_is_gone_halts_the_study(request_: JobRequest, tmp_path: Path) -> None:
    request = dataclasses.replace(request_, run_dir=str(tmp_path / "unmounted"))
    sent: list[Message] = []
    assert run_job(request, SINGLE_PROCESS, sent.append) == "HALTED"
    assert "the run directory is not there" in str(sent)
    assert not (tmp_path / "unmounted").exists()


def test_a_run_directory_that_vanishes_while_training_halts_the_study(
    request_: JobRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(job: JobSpec, context: RunContext, *_: object) -> None:
        assert not context.stopping()
        (tmp_path / "run").rename(tmp_path / "moved")
        context.stopping()

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(module, "_run", train)
    request = dataclasses.replace(request_, run_dir=str(tmp_path / "run"))
    assert run_job(request, SINGLE_PROCESS, lambda _: None) == "HALTED"


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), ValueError("a bug")])
def test_a_lack_of_memory_is_tried_again(
    error: Exception, request_: JobRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_run", failing_with(error))
    sent: list[Message] = []
    assert run_job(request_, SINGLE_PROCESS, sent.append) == "FAILED"
    (ended,) = sent
    assert isinstance(ended, JobEnded)
    assert ended.retry == (not isinstance(error, ValueError))


def test_warnings_of_a_job_are_recorded(request_: JobRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    warn = lambda *_: logging.getLogger("study.training").warning("%s is damaged", "checkpoint.pt")  # noqa: E731
    monkeypatch.setattr(module, "_run", warn)
    sent: list[Message] = []
    assert run_job(request_, SINGLE_PROCESS, sent.append) == "COMPLETE"
    warned = JobWarned(job="trial-0000", trial=0, text="checkpoint.pt is damaged")
    assert sent == [Happened(warned), JobEnded("COMPLETE")]
    assert read_message(write_message(sent[0])) == sent[0]


def test_a_worker_with_other_files_halts_the_study(tmp_path: Path, small_run: RunConfig, open_context: Any) -> None:
    context = open_context(tmp_path)
    job = JobSpec("trial-0000", "trial", "adversarial", to_dict(small_run), trial=0)
    _check_files(dataclasses.replace(job, key=artifact_key(small_run, "adversarial", context.train)), context)
    other = artifact_key(replace(small_run, {"seed": 9}), "adversarial", context.train)
    with pytest.raises(ValueError, match=rf"make it adversarial-\w+ on .*, and {other} for the driver; restore"):
        _check_files(dataclasses.replace(job, key=other), context)


def test_a_trial_and_an_interpolation_read_artifacts(small_run: RunConfig) -> None:
    trial = JobSpec("trial-0000", "trial", "adversarial", to_dict(small_run), trial=0)
    assert [stage for _, stage in _artifacts_of(trial, small_run)] == ["fidelity", "autoencoder"]
    parents = [ParentSpec(point, to_dict(small_run)) for point in (FidelityPoint("fidelity-0"), TrialPoint(0, 6))]
    pair = JobSpec("pair", "interpolation", None, {}, pair=PairSpec(parents[0], parents[1], ("weights",), (0.5,)))
    assert _artifacts_of(pair, small_run) == [(small_run, "fidelity")]


def test_a_trial_trains_a_damaged_artifact_again_and_says_so(
    tmp_path: Path, small_run: RunConfig, open_context: Any, request_: JobRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context(tmp_path / "artifacts")
    made = ensure_artifact(small_run, "fidelity", context)
    ensure_artifact(small_run, "autoencoder", context)
    whole = made.weights.read_bytes()
    made.weights.write_bytes(whole[:1000])
    monkeypatch.setattr(module, "_context", lambda _: context)
    sent: list[Message] = []
    job = JobSpec("trial-0000", "trial", "adversarial", to_dict(small_run), trial=0)
    assert run_job(dataclasses.replace(request_, job=job), SINGLE_PROCESS, sent.append) == "COMPLETE"
    happened = [message.event for message in sent if isinstance(message, Happened)]
    (warned,) = [event for event in happened if isinstance(event, JobWarned)]
    assert f"{made.key} is damaged: weights.safetensors is not what was stored; it is trained again" in warned.text
    assert [event.point.iteration for event in happened if isinstance(event, PointEvaluated)] == [3, 6]
    assert made.weights.read_bytes() == whole
    (done,) = Path(request_.run_dir).glob("trials/0000/done.json")
    assert not list(done.parent.glob("checkpoint*"))  # many trials' checkpoints would fill a disk
