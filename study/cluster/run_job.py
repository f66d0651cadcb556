"""Run one job of the study, in one process or in each process of a group.

A job reports to the driver with messages, and writes only into the directories of its trial and artifact.
"""

import functools
import json
import socket
import time
import traceback
from collections.abc import Callable
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
from study.config import from_dict
from study.files import storage_fault
from study.record.paths import RunDirectory
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.distributed import DistributedContext, GroupLost
from study.training.evaluation import evaluate_baseline
from study.training.interpolation import Trained, evaluate_interpolations
from study.training.loop import Diverged, Progress, Stopped
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import make_artifact

PROGRESS_SECONDS = 1.0

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
    try:
        opened = _context(json.dumps(request.context_spec, sort_keys=True))
        context = replace(opened, distributed=distributed, stopping=stopping)
    except Exception as error:  # not specific to this job: halt the study
        return JobEnded("HALTED", f"a worker cannot open the images or weights: {_last_line(error)}")
    try:
        _run(request.job, context, RunDirectory(Path(request.run_dir)), send)
    except GroupLost:
        raise
    except Stopped as error:
        return JobEnded("STOPPED", str(error))
    except Diverged as error:
        return JobEnded("FAILED", f"diverged: {error}")
    except Exception as error:
        if storage_fault(error) is not None:
            return JobEnded("HALTED", f"the storage failed on {socket.gethostname()}: {error}")
        return JobEnded("FAILED", _last_line(error), traceback.format_exc())
    return JobEnded("COMPLETE")


def _run(job: JobSpec, context: RunContext, run_dir: RunDirectory, send: Send) -> None:
    config, on_progress = from_dict(job.config), _throttled_progress(job.name, send)
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
