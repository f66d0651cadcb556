"""What runs inside a Tune trial: one job of the study, on the training core.

Everything goes back to the driver as messages; a worker writes only into its own trial's and artifact's directory.
"""

import functools
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray import tune

from study.config import from_dict
from study.files import is_disk_full
from study.training.adversarial import Point, train_adversarial
from study.training.artifacts import make_artifact
from study.training.loop import Diverged, Tick
from study.training.setting import Setting
from study.training.workshop import Workshop

TICK_SECONDS = 1.0

Send = Callable[[dict[str, Any]], None]

_jobs_done = 0


def work(config: dict[str, Any]) -> None:
    """Tune's trainable: run one job and report how it went.

    A job never raises for what is its own fault: it ends FAILED with the cause. What would hit every other job as
    well (a full disk) ends HALTED, so that the study stops and can be continued.

    Args:
        config: `{"job": jobs.describe(...), "setting": Setting.to_dict(), "run_dir": str, "threads": int}`.
    """
    global _jobs_done
    entered = time.time()
    job = config["job"]
    _send({"type": "entered", "at": entered, "warm": _jobs_done > 0})
    _jobs_done += 1
    torch.set_num_threads(config["threads"])
    _send(_outcome(job, config) | {"type": "end"})


def _outcome(job: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    try:
        workshop = _workshop(json.dumps(config["setting"], sort_keys=True))
    except Exception as error:  # as bad for every other job
        return {"state": "HALTED", "cause": f"a worker cannot open the images or weights: {_last_line(error)}"}
    try:
        facts = _run(job, workshop, Path(config["run_dir"]))
    except Diverged as error:
        return {"state": "FAILED", "cause": f"diverged: {error}"}
    except Exception as error:
        if is_disk_full(error):
            return {"state": "HALTED", "cause": str(error)}
        return {"state": "FAILED", "cause": _last_line(error), "traceback": traceback.format_exc()}
    return {"state": "COMPLETE", "cause": None, **facts}


def _run(job: dict[str, Any], workshop: Workshop, run_dir: Path) -> dict[str, Any]:
    run = from_dict(job["config"])
    tick = _throttled_tick(job["name"])
    if job["kind"] == "artifact":
        return make_artifact(run, job["stage"], workshop, run_dir, tick)
    directory = run_dir / "trials" / f"{job['trial']:04d}"
    train_adversarial(run, workshop, directory, lambda point: _send_point(job, point), tick)
    return {}


@functools.lru_cache(maxsize=2)
def _workshop(setting: str) -> Workshop:
    """Open the workshop once a process: the next job on a warm worker finds its images and networks there."""
    return Setting.from_dict(json.loads(setting)).open()


def _send_point(job: dict[str, Any], point: Point) -> None:
    samples = f"trials/{job['trial']:04d}/points/{point.iteration:07d}"
    _send({"type": "point", "samples": samples, **point.to_dict()})


def _throttled_tick(name: str) -> Callable[[Tick], None]:
    last = time.monotonic()

    def tick(news: Tick) -> None:
        nonlocal last
        if time.monotonic() - last >= TICK_SECONDS:
            last = time.monotonic()
            _send({"type": "tick", "name": name, "iteration": news.iteration, "iterations": news.iterations})

    return tick


def _send(message: dict[str, Any]) -> None:
    # As text: Tune flattens nested results for its loggers at every report.
    tune.report({"message": json.dumps(message)})


def _last_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
