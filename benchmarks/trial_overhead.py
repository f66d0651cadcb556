"""What does a trial cost apart from its training? Ours against the documented way to tune a distributed trainer.

python -m benchmarks.trial_overhead                         (about a quarter of an hour on 2 cores)
python -m benchmarks.trial_overhead --trials 200 --peer-trials 2

Ours is a whole study (`study.cluster.driver.run_study`: sampling, journal, Optuna, MLflow, front) whose workers report
a point and train nothing. Its overhead is the one that every study records: seconds from a trial's sampling to its
training function, on a warm worker. Also measured: the driver's CPU time (of all threads) and memory for the first
hundred trials and the last.

The peer is the nesting in Ray's documentation: a Tune trial that builds a TorchTrainer of one worker with a
`TuneReportCallback`, whose training function reports once. Its overhead is from the search algorithm's suggestion to
the first line of the training function. `ratio` is the peer's overhead over ours, of medians.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", RAY_AIR_NEW_OUTPUT="0", RAY_USAGE_STATS_ENABLED="0")

import numpy as np
import psutil
import ray
import ray.train
from PIL import Image
from ray import tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.search import Searcher
from rich.console import Console

from study.cluster.driver import run_study
from study.cluster.messages import Happened, JobEnded, JobRequest
from study.cluster.run_job import Send
from study.cluster.study import Resources, Study
from study.cluster.worker import Worker
from study.config import LargestPatch
from study.record.events import Event, PointEvaluated, ReferenceEvaluated, TrialEnded
from study.record.points import Spent, TrialPoint
from study.record.state import Recorder
from study.search.plan import SearchPlan
from study.search.spaces import load_space
from study.tracking.client import default_uri
from study.training.context_spec import ContextSpec

HUNDRED = 100

SPACE = """
from study.config import replace
from study.config.recipes import aesop

SIZE, TRIALS = "tiny", 16
REFERENCE = {"psnr_y": 0.0, "lpips_alex": 2.0, "swd": 2000.0}
GROUPS = ()

def base(size, networks):
    return replace(aesop(size), {"loss.perceptual": 0, "start": "scratch", "loss.guidance": "pixel"})

def sample(trial, base):
    return {"loss.adversarial": trial.suggest_float("loss.adversarial", 1e-4, 1e-2, log=True),
            "loss.fidelity": trial.suggest_float("loss.fidelity", 1e-3, 1.0, log=True)}
"""


class IdleWorker(Worker):
    """A worker that reports one point, computed from the trial's parameters, and trains nothing."""

    @staticmethod
    def run_alone(request: JobRequest, send: Send, stopping: Callable[[], bool]) -> None:
        """Report a point, or the baseline, and the end."""
        job, loss = request.job, request.job.config["loss"]
        metrics = {"psnr_y": 28 - loss["adversarial"] * 100, "swd": 20 + loss["fidelity"]}
        if job.trial is None:
            baseline = ReferenceEvaluated(name=job.name, kind="bicubic", metrics=metrics, images={}, samples="")
            send(Happened(baseline))
        else:
            point, spent = TrialPoint(job.trial, 1), Spent(iterations=1, pixels_seen=1)
            event = PointEvaluated(point=point, metrics=metrics, images={}, terms={}, spent=spent, samples="")
            send(Happened(event))
        send(JobEnded("COMPLETE"))


def main() -> None:
    """Measure both and print one JSON line."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        ours = _ours(Path(folder), options.trials)
        peer = _peer(Path(folder), options.peer_trials)
    figures = {
        "benchmark": "trial_overhead",
        "ratio": round(median(peer) / ours["overhead_seconds"], 1),
        "peer_overhead_seconds": round(median(peer), 2),
        "peer_trials": len(peer),
        **ours,
    }
    print(json.dumps(figures))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, default=1000, metavar="N", help="of our study; at least 200 (default: 1000)"
    )
    parser.add_argument("--peer-trials", type=int, default=4, metavar="N")
    return parser.parse_args()


def _ours(place: Path, trials: int) -> dict[str, Any]:
    """Run a study of trials that train nothing; return its overhead and the driver's cost of first and last hundred."""
    (place / "space.py").write_text(SPACE)
    noise = np.random.default_rng(0)
    for name in ("train", "test"):
        (place / name).mkdir()
        Image.fromarray(noise.integers(0, 256, (96, 96, 3), np.uint8)).save(place / name / "a.png")
    space = load_space(str(place / "space.py"))
    base = space.base("tiny", {})
    data = base.data.model_copy(update={"train": str(place / "train"), "val": str(place / "test")})
    base = base.model_copy(update={"data": data})
    study = Study(
        space=space.around(base, {}),
        base=base,
        output=place / "study",
        trials=trials,
        seed=0,
        context_spec=ContextSpec(data, LargestPatch(64, "budget.patch"), str(place / "artifacts"), {}, None),
        resources=Resources(),
        mlflow_uri=default_uri(place / "study"),
        search=SearchPlan(interpolations=0),
    )
    spent = _measure_driver()
    began = time.monotonic()
    outcome = run_study(study, study.context_spec.open(), Console(stderr=True), IdleWorker)
    seconds = time.monotonic() - began
    assert outcome.record.count("COMPLETE") == trials, outcome
    cpu, memory, wall = (np.array(column) for column in zip(*spent, strict=True))
    return {
        "overhead_seconds": round(median(outcome.record.warm_overheads), 4),
        "overhead_seconds_at_most": round(max(outcome.record.warm_overheads), 4),
        "trials": trials,
        "study_seconds": round(seconds, 1),
        "driver_seconds_first_hundred": round(float(cpu[HUNDRED] - cpu[0]), 2),
        "driver_seconds_last_hundred": round(float(cpu[-1] - cpu[-1 - HUNDRED]), 2),
        "wall_seconds_first_hundred": round(float(wall[HUNDRED] - wall[0]), 2),
        "wall_seconds_last_hundred": round(float(wall[-1] - wall[-1 - HUNDRED]), 2),
        "driver_mebibytes_first_hundred": round(float(memory[HUNDRED] - memory[0]) / 2**20, 2),
        "driver_mebibytes_last_hundred": round(float(memory[-1] - memory[-1 - HUNDRED]) / 2**20, 2),
    }


def _measure_driver() -> list[tuple[float, int, float]]:
    """Return a list that gets CPU seconds, memory and time of this process at the end of each trial."""
    spent: list[tuple[float, int, float]] = []
    process, add = psutil.Process(), Recorder.add

    def noted_add(self: Recorder, event: Event) -> bool:
        is_new = add(self, event)
        if is_new and isinstance(event, TrialEnded):
            times = process.cpu_times()
            spent.append((times.user + times.system, process.memory_info().rss, time.monotonic()))
        return is_new

    Recorder.add = noted_add  # type: ignore[method-assign]
    return spent


class _TimeSearcher(Searcher):
    """A search algorithm whose suggestion is the time at which it was made."""

    def __init__(self, trials: int) -> None:
        super().__init__(metric="at", mode="min")
        self._left = trials

    def suggest(self, trial_id: str) -> Any:
        """Return the time, or the end of the search."""
        if self._left == 0:
            return Searcher.FINISHED
        self._left -= 1
        return {"sampled": time.time()}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Ignore the result."""


def _train(config: dict[str, Any]) -> None:
    entered = time.time()
    ray.train.report({"at": entered, "overhead": entered - config["sampled"]})


def _peer(place: Path, trials: int) -> list[float]:
    """Return the seconds from suggestion to training function of nested trials, one after the other."""

    def nested(config: dict[str, Any]) -> None:
        name = f"nested-{tune.get_context().get_trial_id()}"
        TorchTrainer(
            _train,
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(
                name=name, storage_path=str(place / "peer"), callbacks=[TuneReportCallback()]
            ),
        ).fit()

    ray.init(address="local", include_dashboard=True, log_to_driver=False)
    try:
        tuner = tune.Tuner(
            tune.with_resources(nested, {"CPU": 0.01}),
            tune_config=tune.TuneConfig(search_alg=_TimeSearcher(trials), num_samples=-1, max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=str(place / "tune"), verbose=0),
        )
        with contextlib.redirect_stdout(sys.stderr):
            results = tuner.fit()
        return [result.metrics["overhead"] for result in results if result.metrics]
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
