"""Run one job of the study, in one process or in each process of a group.

A job reports to the driver with messages, and writes only into the directories of its trial and artifact.
"""

import errno
import functools
import json
import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from study.cluster.messages import (
    Advanced,
    EndState,
    Happened,
    JobEnded,
    JobRequest,
    JobSpec,
    Message,
    PairSpec,
    ParentSpec,
)
from study.config import RunConfig, from_dict
from study.files import StorageError, storage_fault
from study.record.events import JobWarned
from study.record.paths import RunDirectory
from study.record.points import FidelityPoint
from study.training.checkpoints import remove_checkpoints
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.distributed import DistributedContext, GroupLost
from study.training.evaluation import evaluate_baseline
from study.training.interpolation import Trained, evaluate_interpolations
from study.training.loop import Diverged, Progress, Stopped
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import ensure_artifact, make_artifact
from study.training.stages.graph import STAGES, artifact_key
from study.training.stages.spec import Upstream

PROGRESS_SECONDS = 1.0

# Errors of a device, and of memory that jobs share: the same job may succeed elsewhere, or alone.
_OF_THE_MACHINE = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)

Send = Callable[[Message], None]


def run_job(
    request: JobRequest, distributed: DistributedContext, send: Send, stopping: Callable[[], bool] = lambda: False
) -> EndState:
    """Run one job; the last message is its `JobEnded`.

    An error of the job does not raise: the job ends FAILED with the cause. An error that is not specific to the job,
    such as any of the storage, ends it HALTED, so that the study stops and can be continued.

    Args:
        request: the job, and its resources.
        distributed: the processes that share the job; each calls this function.
        send: called with each message.
        stopping: polled: whether to save and stop.

    Raises:
        GroupLost: another process died; the job has not ended, and may continue from its checkpoint.
    """
    torch.set_num_threads(request.threads)
    ended = _outcome(request, distributed, send, stopping)
    send(ended)
    return ended.state


def _outcome(
    request: JobRequest, distributed: DistributedContext, send: Send, stopping: Callable[[], bool]
) -> JobEnded:
    run_dir = RunDirectory(Path(request.run_dir))
    try:
        opened = _context(json.dumps(request.context_spec, sort_keys=True))
        context = replace(opened, distributed=distributed, stopping=lambda: _is_there(run_dir) and stopping())
        _check_files(request.job, context)
    except Exception as error:  # not specific to this job: halt the study
        return JobEnded("HALTED", f"a worker cannot open the images or weights: {_last_line(error)}")
    try:
        with _sent_warnings(request.job, send):
            _is_there(run_dir)
            _run(request.job, context, run_dir, send)
    except GroupLost:
        raise
    except Stopped as error:
        return JobEnded("STOPPED", str(error))
    except Diverged as error:
        return JobEnded("FAILED", f"diverged: {error}")
    except Exception as error:
        if storage_fault(error) is not None:
            return JobEnded("HALTED", f"the storage failed on {socket.gethostname()}: {error}")
        return JobEnded("FAILED", _last_line(error), traceback.format_exc(), retry=isinstance(error, _OF_THE_MACHINE))
    return JobEnded("COMPLETE")


def _is_there(run_dir: RunDirectory) -> bool:
    """Return True; StorageError if the run directory is gone: a write would create it anew, on another disk perhaps."""
    if not run_dir.root.is_dir():
        raise StorageError(errno.ENOENT, "the run directory is not there; mount it, or put it back", str(run_dir.root))
    return True


def _check_files(job: JobSpec, context: RunContext) -> None:
    """Raise ValueError if the files that a job's configuration names are not those of the driver."""
    if job.key is None:
        return
    assert job.stage is not None
    found = artifact_key(from_dict(job.config), job.stage, context.train)
    if found != job.key:
        raise ValueError(
            f"the files that the configuration of {job.name} names make it {found} on {socket.gethostname()}, and "
            f"{job.key} for the driver; restore the weight files and losses with which the study was started"
        )


class _WarningHandler(logging.Handler):
    """Sends the warnings of a job to the driver, as events."""

    def __init__(self, job: JobSpec, send: Send) -> None:
        super().__init__(logging.WARNING)
        self._job, self._send = job, send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a warning."""
        self._send(Happened(JobWarned(job=self._job.name, trial=self._job.trial, text=record.getMessage())))


@contextmanager
def _sent_warnings(job: JobSpec, send: Send) -> Iterator[None]:
    logger, handler = logging.getLogger("study"), _WarningHandler(job, send)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _run(job: JobSpec, context: RunContext, run_dir: RunDirectory, send: Send) -> None:
    config, on_progress = from_dict(job.config), _throttled_progress(job.name, send)
    for needed, stage in _artifacts_of(job, config):  # they are there: one that is damaged is trained again
        key = artifact_key(needed, stage, context.train)
        ensure_artifact(needed, stage, context, _throttled_progress(key, send))
    if job.kind == "artifact":
        assert job.stage is not None
        for event in make_artifact(config, job.stage, context, run_dir, on_progress):
            send(Happened(event))
    elif job.kind == "interpolation":
        assert job.pair is not None
        _interpolate(job.pair, context, run_dir, send)
    elif job.kind == "baseline":
        send(Happened(evaluate_baseline(config.data, context, run_dir)))
    else:
        assert job.trial is not None
        directory = run_dir.trial(job.trial)
        train_adversarial(config, context, directory, lambda point: send(Happened(point)), on_progress)
        if context.distributed.is_main:
            remove_checkpoints(directory.checkpoint)  # a study's trials are not trained further


def _artifacts_of(job: JobSpec, config: RunConfig) -> Upstream:
    """Return the artifacts that a trial or an interpolation reads."""
    if job.kind == "trial":
        return STAGES["adversarial"].upstream(config)
    parents = () if job.pair is None else (job.pair.first, job.pair.second)
    return [(from_dict(parent.config), "fidelity") for parent in parents if isinstance(parent.point, FidelityPoint)]


def _interpolate(pair: PairSpec, context: RunContext, run_dir: RunDirectory, send: Send) -> None:
    first, second = _trained(pair.first), _trained(pair.second)
    for event in evaluate_interpolations(
        first, second, spaces=pair.spaces, shares=pair.shares, context=context, run_dir=run_dir
    ):
        send(Happened(event))


def _trained(parent: ParentSpec) -> Trained:
    return Trained(parent.point, from_dict(parent.config))


@functools.lru_cache(maxsize=2)
def _context(context_spec: str) -> RunContext:
    """Open the context once per process: images and networks stay loaded for the next job."""
    return ContextSpec.from_dict(json.loads(context_spec)).open()


def _throttled_progress(name: str, send: Send) -> Callable[[Progress], None]:
    last = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            send(Advanced(name, progress.iteration, progress.iterations))

    return on_progress


def _last_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
