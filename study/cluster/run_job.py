"""One job of the study, on the training core, in one process or in each of a distributed's.

Everything goes back to the driver as messages; a job writes only into its own trial's and artifact's directory.
"""

import functools
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from study.config import RunConfig, from_dict
from study.files import is_disk_full
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.distributed import DistributedContext, GroupLost
from study.training.evaluation import baseline_name, evaluate_baseline
from study.training.interpolation import Trained, evaluate_interpolations
from study.training.loop import Diverged, Progress, ProgressCallback, Stopped
from study.training.stages.adversarial import Point, train_adversarial
from study.training.stages.artifacts import make_artifact

TICK_SECONDS = 1.0

Send = Callable[[dict[str, Any]], None]


def run_job(
    config: dict[str, Any], distributed: DistributedContext, send: Send, stopping: Callable[[], bool] = lambda: False
) -> str:
    """Do one job; messages go to `send`, the last of which says how it ended.

    A job never raises for what is its own fault: it ends FAILED with the cause. What would hit every other job as
    well (a full disk) ends HALTED, so that the study stops and can be continued.

    Args:
        config: `{"job": jobs.describe(...), "context_spec": ContextSpec.to_dict(), "run_dir": str, "threads": int}`.
        distributed: the processes that do it together; each calls this.
        send: takes messages.
        stopping: asked often whether to save and stop.

    Returns:
        How it ended: COMPLETE, FAILED or HALTED, or STOPPED before its end, to be continued.

    Raises:
        GroupLost: another process of the distributed died, so that the job did not end, and may go on from its checkpoint.
    """
    torch.set_num_threads(config["threads"])
    outcome = _outcome(config["job"], config, distributed, send, stopping)
    send(outcome | {"type": "end"})
    return str(outcome["state"])


def _outcome(
    job: dict[str, Any],
    config: dict[str, Any],
    distributed: DistributedContext,
    send: Send,
    stopping: Callable[[], bool],
) -> dict[str, Any]:
    try:
        opened = _context(json.dumps(config["context_spec"], sort_keys=True))
        context = replace(opened, distributed=distributed, stopping=stopping)
    except Exception as error:  # as bad for every other job
        return {"state": "HALTED", "cause": f"a worker cannot open the images or weights: {_last_line(error)}"}
    try:
        facts = _run(job, context, Path(config["run_dir"]), send)
    except GroupLost:
        raise
    except Stopped as error:
        return {"state": "STOPPED", "cause": str(error)}
    except Diverged as error:
        return {"state": "FAILED", "cause": f"diverged: {error}"}
    except Exception as error:
        if is_disk_full(error):
            return {"state": "HALTED", "cause": str(error)}
        return {"state": "FAILED", "cause": _last_line(error), "traceback": traceback.format_exc()}
    return {"state": "COMPLETE", "cause": None, **facts}


def _run(job: dict[str, Any], context: RunContext, run_dir: Path, send: Send) -> dict[str, Any]:
    run = from_dict(job["config"])
    on_progress = _throttled(job["name"], send)
    if job["kind"] == "artifact":
        return make_artifact(run, job["stage"], context, run_dir, on_progress)
    if job["kind"] == "interpolation":
        return _interpolation(job, context, run_dir, send)
    if job["kind"] == "baseline":
        return _baseline(run, context, run_dir)
    directory = run_dir / "trials" / f"{job['trial']:04d}"
    train_adversarial(run, context, directory, lambda point: _send_point(job, point, send), on_progress)
    return {}


def _interpolation(job: dict[str, Any], context: RunContext, run_dir: Path, send: Send) -> dict[str, Any]:
    first, second = (_trained(parent, run_dir) for parent in job["pair"]["parents"])
    spaces, shares = job["pair"]["spaces"], job["pair"]["shares"]
    folder = run_dir / "interpolations" / job["name"]
    interpolations = evaluate_interpolations(
        first, second, spaces=spaces, shares=shares, context=context, folder=folder
    )
    for name, interpolation in interpolations:
        samples = f"interpolations/{job['name']}/{name}"
        send({"type": "interpolation", "name": name, "samples": samples, **interpolation.to_dict()})
    return {}


def _baseline(run: RunConfig, context: RunContext, run_dir: Path) -> dict[str, Any]:
    evaluation = evaluate_baseline(run.data, context, run_dir / "references")
    samples = f"references/{baseline_name(run.data)}"
    return {"metrics": evaluation.metrics, "images": evaluation.images, "samples": samples}


def _trained(parent: dict[str, Any], run_dir: Path) -> Trained:
    config = from_dict(parent["config"])
    if parent["trial"] is None:
        return Trained(config, None)
    return Trained(
        config, run_dir / "trials" / f"{parent['trial']:04d}" / "points" / f"{parent['iteration']:07d}.safetensors"
    )


@functools.lru_cache(maxsize=2)
def _context(context_spec: str) -> RunContext:
    """Open the context once a process: the next job on a warm worker finds its images and networks there."""
    return ContextSpec.from_dict(json.loads(context_spec)).open()


def _send_point(job: dict[str, Any], point: Point, send: Send) -> None:
    samples = f"trials/{job['trial']:04d}/points/{point.iteration:07d}"
    send({"type": "point", "samples": samples, **point.to_dict()})


def _throttled(name: str, send: Send) -> ProgressCallback:
    last = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= TICK_SECONDS:
            last = time.monotonic()
            send({"type": "tick", "name": name, "iteration": progress.iteration, "iterations": progress.iterations})

    return on_progress


def _last_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
