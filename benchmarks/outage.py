"""Is every metric in MLflow exactly once after its server was away for a minute? Against the same study undisturbed.

python -m benchmarks.outage                      (48 tiny trials, three times; about ten minutes on 2 cores)
python -m benchmarks.outage --trials 24 --seconds 20

The study runs three times with an MLflow server of its own: undisturbed; with the server killed (SIGKILL) at a quarter
of the points and restarted on the same port a minute later; and once more with the driver killed during the outage and
resumed with `--resume` while the server is still away.

The metrics in MLflow are compared with the study's journal (each metric of each point once, at its step: none missing,
none doubled) and with the undisturbed study (the same values at the same steps of the same trials, except for measured
time and memory, and except for interpolations, which depend on when trials end). No event may be left unsent. The exit
code is 1 if one of these fails.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from rich.console import Console

from benchmarks.mlflow_server import Server, free_port
from benchmarks.tiny_study import POINTS_A_TRIAL, Driver, write_material
from study.record.events import FrontMoved, PointEvaluated

MEASURED = ("device_seconds", "peak_gib", "overhead_seconds", "seconds")
"""Metrics that are measured times or memory."""

History = list[tuple[int, float]]
"""Steps and values of a metric."""


def main() -> None:
    """Run the studies and print one JSON line."""
    options = _parse()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="outage-") as folder:
        place = options.keep or Path(folder)
        write_material(place)
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
    wrong = ("missing", "doubled", "different", "unsent_bytes")
    sys.exit(any(result[name] for result in found.values() for name in wrong) or calm["missing"] or calm["doubled"])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48, metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="duration of the outage")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the studies in this folder")
    return parser.parse_args()


def _study(name: str, place: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Run a study to its end, kill what its name says, and count what MLflow has."""
    server = Server(place / name / "server", free_port())
    driver = Driver(place / name / "study", place, ["--trials", str(options.trials), "--mlflow", server.uri])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        server.start()
        began = time.monotonic()
        driver.start()
        if name != "undisturbed":
            _outage(name, server, driver, options, console)
        driver.wait(driver.has_ended, 1800)
        seconds = time.monotonic() - began
        histories = _histories(server, name="study")
    finally:
        driver.kill()
        server.kill()
    console.print(f"{name}: {seconds:.0f} s", highlight=False)
    sent, kept = _sent(histories), _recorded(driver)
    journal = driver.output / "journal.jsonl"
    offset = json.loads((driver.output / "mlflow.json").read_text())["offset"]
    return {
        "seconds": round(seconds),
        "metrics": sum(map(len, histories.values())),
        "missing": sum((kept - sent).values()),
        "doubled": sum((sent - kept).values()),
        "unsent_bytes": journal.stat().st_size - offset,
        "histories": histories,
    }


def _outage(name: str, server: Server, driver: Driver, options: argparse.Namespace, console: Console) -> None:
    driver.wait(lambda: driver.points >= options.trials * POINTS_A_TRIAL // 4)
    server.kill()
    began, before = time.monotonic(), driver.points
    console.print(f"{name}: killed the server at {before} points", highlight=False)
    if name == "driver":
        time.sleep(options.seconds / 3)
        driver.kill()
        driver.start()
    time.sleep(max(0.0, began + options.seconds - time.monotonic()))
    console.print(f"{name}: restart it {driver.points - before} points later", highlight=False)
    server.start()


def _histories(server: Server, name: str) -> dict[tuple[str, str], History]:
    """Return every metric of every run, by trial and name."""
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
    """Return the metrics of points and of the front in MLflow."""
    front = ("hypervolume", "front_size")
    return Counter(
        (trial, metric, *entry)
        for (trial, metric), history in histories.items()
        for entry in history
        if metric in front
        or not (trial == "parent" or metric.startswith("interpolation") or metric in ("seconds", "overhead_seconds"))
    )


def _recorded(driver: Driver) -> Counter[Any]:
    """Return the same metrics from the journal."""
    kept: Counter[Any] = Counter()
    for event in driver.events():
        if isinstance(event, PointEvaluated):
            terms = {f"term.{name}": value for name, value in event.terms.items()}
            spent = {name: value for name, value in asdict(event.spent).items() if name != "iterations"}
            for name, value in {**event.metrics, **terms, **spent}.items():
                if value is not None:
                    kept[str(event.point.trial), name, event.point.iteration, float(value)] += 1
        elif isinstance(event, FrontMoved):
            for name, value in (("hypervolume", event.hypervolume), ("front_size", len(event.members))):
                kept["parent", name, event.trials_ended, float(value)] += 1
    return kept


def _different(calm: dict[tuple[str, str], History], other: dict[tuple[str, str], History]) -> int:
    """Count the metrics of trials whose steps or values differ between two studies."""

    def compared(histories: dict[tuple[str, str], History]) -> dict[tuple[str, str], History]:
        return {
            (trial, metric): history
            for (trial, metric), history in histories.items()
            if trial != "parent" and metric not in MEASURED and not metric.startswith("interpolation")
        }

    first, second = compared(calm), compared(other)
    return sum(first.get(name) != second.get(name) for name in first.keys() | second.keys())


if __name__ == "__main__":
    main()
