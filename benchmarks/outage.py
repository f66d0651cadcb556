"""The MLflow server is killed for a minute in the middle of a study: is every metric there once, afterwards?

python benchmarks/outage.py                      (48 tiny trials, three times over; about ten minutes on 2 cores)
python benchmarks/outage.py --trials 24 --seconds 20

The study runs three times against MLflow servers of its own: undisturbed; with the server killed (SIGKILL) once a
quarter of the points is there, and started again on the same port a minute later; and so once more with the driver
killed in the middle of the outage and continued with `--resume`, while the server is still away.

What MLflow then holds is compared with the study's own journal (each metric of each point once, at its step: none
missing, none doubled) and with the undisturbed study (the same values at the same steps of the same trials, but for
what measures time or memory; and but for interpolations, as which pairs are interpolated depends on when trials end). The spool has
to be empty.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Started as a script: Python looks in benchmarks/, but the packages are one up.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from mlflow import MlflowClient
from rich.console import Console

from benchmarks.chaos import POINTS_A_TRIAL, make_material
from benchmarks.mlflow_server import Server, free_port

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ("device_seconds", "peak_gib", "overhead_seconds", "seconds")
"""Metrics that are another time's."""


@dataclass
class Driver:
    """A study, and the process that runs it."""

    output: Path
    command: list[str]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start, or continue, the study."""
        with open(self.output.parent / "driver.log", "ab") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def wait(self) -> None:
        """Wait for the study's end."""
        assert self.process is not None
        if self.process.wait(1800) != 0:
            raise RuntimeError(f"the study failed:\n{(self.output.parent / 'driver.log').read_text()[-3000:]}")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The journal's."""
        path = self.output / "journal.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def points(self) -> int:
        """How many were evaluated."""
        return sum(event["event"] == "point" for event in self.events)

    @property
    def waiting(self) -> int:
        """Bytes of the journal that MLflow has not got."""
        noted = json.loads((self.output / "mlflow.json").read_text())["offset"]
        return int((self.output / "journal.jsonl").stat().st_size - noted)


def main() -> None:
    """Run the studies, and print what was found as one JSON line."""
    options = _parse()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="outage-") as folder:
        place = options.keep or Path(folder)
        make_material(place)
        found = {name: _study(name, place, options, console) for name in ("undisturbed", "server", "driver")}
    calm = found.pop("undisturbed")
    figures: dict[str, Any] = {
        "benchmark": "outage",
        "trials": options.trials,
        "outage_seconds": options.seconds,
        "seconds_undisturbed": calm["seconds"],
        "metrics_undisturbed": calm["metrics"],
    }
    for name, result in found.items():
        result["different"] = _different(calm.get("histories"), result.pop("histories"))
        figures[f"{name}_killed"] = result
    print(json.dumps(figures))
    wrong = ("missing", "doubled", "different", "spool_bytes")
    sys.exit(any(result[name] for result in found.values() for name in wrong) or calm["missing"] or calm["doubled"])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48, metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="how long the server is away")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the studies here")
    return parser.parse_args()


def _study(name: str, place: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run a study to its end, with what is killed in it, and look at what MLflow has."""
    server = Server(place / name / "server", free_port())
    command = [sys.executable, str(ROOT / "study" / "sweep.py"), "--space", str(place / "space.py"), "--resume"]
    command += ["--data", str(place / "train"), "--val", str(place / "test"), "--trials", str(options.trials)]
    command += ["--output", str(place / name / "study"), "--interpolate", "1", "--mlflow", server.uri]
    driver = Driver(place / name / "study", command)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        server.start()
        began = time.monotonic()
        driver.start()
        if name != "undisturbed":
            _outage(name, server, driver, options, console)
        driver.wait()
        seconds = time.monotonic() - began
        histories = _histories(server, name="study")
    finally:
        driver.kill()
        server.kill()
    console.print(f"{name}: {seconds:.0f} s", highlight=False)
    sent, kept = _sent(histories), _journalled(driver)
    return {
        "seconds": round(seconds),
        "metrics": sum(map(len, histories.values())),
        "missing": sum((kept - sent).values()),
        "doubled": sum((sent - kept).values()),
        "spool_bytes": driver.waiting,
        "histories": histories,
    }


def _outage(name: str, server: Server, driver: Driver, options: argparse.Namespace, console: Console) -> None:
    _wait(lambda: driver.points >= options.trials * POINTS_A_TRIAL // 4)
    server.kill()
    began, before = time.monotonic(), driver.points
    console.print(f"{name}: the server was killed at {before} points", highlight=False)
    if name == "driver":
        time.sleep(options.seconds / 3)
        driver.kill()
        driver.start()
    time.sleep(max(0.0, began + options.seconds - time.monotonic()))
    console.print(f"{name}: {driver.points - before} points later it comes back", highlight=False)
    server.start()


History = list[tuple[int, float]]


def _histories(server: Server, name: str) -> dict[tuple[str, str], History]:
    """Every metric of every run, by trial and name."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    histories = {}
    for run in client.search_runs([experiment.experiment_id], max_results=5000):
        trial = run.data.tags.get("trial", "parent")
        for metric in run.data.metrics:
            assert (trial, metric) not in histories, f"two runs of {trial}"
            entries = client.get_metric_history(run.info.run_id, metric)
            histories[trial, metric] = sorted((entry.step, entry.value) for entry in entries)
    return histories


def _sent(histories: dict[tuple[str, str], History]) -> Counter[Any]:
    """The points' metrics, and the front's, that MLflow has."""
    front = ("hypervolume", "front_size")
    return Counter(
        (trial, metric, *entry)
        for (trial, metric), history in histories.items()
        for entry in history
        if metric in front
        or not (trial == "parent" or metric.startswith("interpolation") or metric in ("seconds", "overhead_seconds"))
    )


def _journalled(driver: Driver) -> Counter[Any]:
    """The same, as the journal has it."""
    kept: Counter[Any] = Counter()
    for event in driver.events:
        if event["event"] == "point":
            terms = {f"term.{name}": value for name, value in event["terms"].items()}
            budget = {name: value for name, value in event["budget"].items() if name != "iterations"}
            for name, value in (event["metrics"] | terms | budget).items():
                kept[str(event["trial"]), name, event["iteration"], float(value)] += 1
        elif event["event"] == "front":
            for name, value in (("hypervolume", event["hypervolume"]), ("front_size", len(event["members"]))):
                kept["parent", name, event["trials_ended"], float(value)] += 1
    return kept


def _different(calm: dict[tuple[str, str], History], other: dict[tuple[str, str], History]) -> int:
    """How many of the trials' metrics are not the same, by steps and values, in both studies."""

    def compared(histories: dict[tuple[str, str], History]) -> dict[tuple[str, str], History]:
        return {
            (trial, metric): history
            for (trial, metric), history in histories.items()
            if trial != "parent" and metric not in MEASURED and not metric.startswith("interpolation")
        }

    first, second = compared(calm), compared(other)
    return sum(first.get(name) != second.get(name) for name in first.keys() | second.keys())


def _wait(condition: Callable[[], bool], seconds: float = 600) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise RuntimeError("the study does not go on")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
