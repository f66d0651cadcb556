"""How long does it take to analyse a large study stored in MLflow? Ours against reading it run by run.

python -m benchmarks.analysis                     (1,000 trials x 20 points x 20 images; some minutes on 2 cores)
python -m benchmarks.analysis --trials 200

A journal is made up and sent to MLflow by the study's exporter, into SQLite and to a server on this machine. Then, each
in its own process, for both:

- ours: fetch the study (`study.tracking.download`), read it into tables, take the front, compare each pair of groups
  with 1,000 bootstrap draws over the images, write the whole report
- peer: `mlflow.search_runs` for all runs and `get_metric_history` run by run, as documented: for one metric, for the
  two of a front, and for all of the tables. Metrics by image are not available this way.

`ratio` is the peer's time for all metrics over ours up to the tables, the smaller one of SQLite and server. Imports and
the first connection are not timed. Memory is the process's peak, including Python and libraries. Also timed: the front
of a million points.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table

from benchmarks.mlflow_server import Server, free_port
from study.config import to_dict
from study.config.recipes import aesop
from study.record.entries import Entry, write_entry
from study.record.events import Event, PointEvaluated, StudyStateChanged, TrialEnded, TrialStarted
from study.record.goals import Goals, Objective
from study.record.metadata import ImageSetInfo, SearchInfo, StudyMetadata, new_id, write_metadata
from study.record.points import Spent, TrialPoint

NAME = "large"
METRICS = ("psnr_y", "lpips_alex", "ssim_y", "lr_psnr")
TERMS = ("fidelity", "perceptual", "adversarial", "ldl")
GUIDANCES = ("pixel", "aesop", "bottleneck", "consistency")
GUIDANCES_BY_QUALITY = ("pixel", "consistency", "bottleneck", "aesop")
NOISE = (0.1, 0.01, 0.005, 0.2)
"""Standard deviation of each metric on an image."""
MILLION = 1_000_000


def main() -> None:
    """Make the study, measure each side in its own process, print a table and one JSON line."""
    options = _parse()
    if options.part is not None:
        print(json.dumps(_PARTS[options.part](options)))
        return
    console = Console(stderr=True, width=120)
    with tempfile.TemporaryDirectory(prefix="analysis-") as folder:
        place = Path(folder)
        run_dir = _make_study(place / NAME, options)
        size = (run_dir / "journal.jsonl").stat().st_size
        console.print(f"made {options.trials} trials x {options.points} points: a journal of {size / 2**20:.0f} MiB")
        found = {"sqlite": _against(f"sqlite:///{place / 'mlflow.db'}", run_dir, options, console)}
        server = Server(place / "server", free_port())
        try:
            server.start()
            found["server"] = _against(server.uri, run_dir, options, console)
        finally:
            server.kill()
    fronts = {f"{count}_objectives": _front_seconds(count) for count in (2, 3)}
    _print(found, console)
    result = {
        "benchmark": "analysis",
        "trials": options.trials,
        "points": options.points,
        "images": options.images,
        "journal_mib": round(size / 2**20, 1),
        **found,
        "front_of_a_million_seconds": fronts,
        "ratio": min(each["ratio"] for each in found.values()),
    }
    print(json.dumps(result))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, metavar="N")
    parser.add_argument("--points", type=int, default=20, metavar="N", help="of each trial (default: 20)")
    parser.add_argument("--images", type=int, default=20, metavar="N", help="held-out images (default: 20)")
    parser.add_argument("--part", choices=sorted(_PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    return parser.parse_args()


def _against(uri: str, run_dir: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Send the study to a tracking URI, then read it both ways."""
    sending = _send(run_dir, uri)
    console.print(f"sent to {uri.partition(':')[0]} in {sending:.0f} s")
    ours, peer = (_in_a_process(part, uri, options) for part in ("ours", "peer"))
    seconds = ours["fetch_seconds"] + ours["tables_seconds"]
    ratios = {name.replace("seconds", "ratio"): round(peer[name] / seconds, 1) for name in _PEERS}
    return {"sending_seconds": round(sending, 1), "ours": ours, "peer": peer, **ratios, "ratio": ratios["all_ratio"]}


def _in_a_process(part: str, uri: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.analysis", "--part", part, "--uri", uri]
    command += ["--trials", str(options.trials), "--points", str(options.points)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def _ours(options: argparse.Namespace) -> dict[str, float]:
    from analysis.report import write_report
    from analysis.statistics.compute import compute_statistics
    from analysis.statistics.fronts import front_of
    from analysis.statistics.tables import load_results
    from study.tracking.download import fetch_study

    _connect(options.uri)
    with tempfile.TemporaryDirectory() as folder:
        into, seconds = Path(folder) / NAME, {}
        seconds["fetch_seconds"], _ = _timed(lambda: fetch_study(options.uri, NAME, into))
        seconds["tables_seconds"], results = _timed(lambda: load_results(into))
        seconds["front_seconds"], front = _timed(lambda: front_of(results.points, results.goals))
        seconds["bootstrap_seconds"], statistics = _timed(lambda: compute_statistics(results))
        seconds["report_seconds"], report = _timed(lambda: write_report(into))  # reads and computes once more
        pairs = sum(len(found) for found in statistics.comparisons.values())
        page = report.page.stat().st_size / 2**20
    counts = {"points": len(results.points), "front_points": len(front), "pairs_compared": pairs}
    return {**seconds, **counts, "page_mib": round(page, 2), "peak_mib": _peak()}


def _peer(options: argparse.Namespace) -> dict[str, float]:
    client = _connect(options.uri)
    names = [*METRICS, *(f"term.{name}" for name in TERMS), "device_seconds"]
    started = time.perf_counter()
    runs = mlflow.search_runs(experiment_names=[NAME], max_results=100_000)
    trials = runs[runs["tags.trial"].notna()]["run_id"]
    after = []
    for name in names:
        values = sum(len(client.get_metric_history(run, name)) for run in trials)
        assert values == options.trials * options.points, name
        after.append(round(time.perf_counter() - started, 2))
    seconds = {"one_seconds": after[0], "two_seconds": after[1], "all_seconds": after[-1]}
    return {**seconds, "metrics": len(names), "peak_mib": _peak()}


_PEERS = ("one_seconds", "two_seconds", "all_seconds")


def _connect(uri: str) -> MlflowClient:
    """Make a first request, so that its imports are not timed."""
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    client.search_experiments(max_results=1)
    return client


_PARTS = {"ours": _ours, "peer": _peer}


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return round(time.perf_counter() - started, 2), result


def _peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _front_seconds(objectives: int) -> float:
    """Time the front of random points, most of them dominated; return the best of three."""
    from study.search.front import non_dominated

    random = np.random.default_rng(0)
    values = random.uniform(0, 1, (MILLION, objectives))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    values *= 1 + random.exponential(0.3, (MILLION, 1))
    return min(_timed(lambda: non_dominated(values, ["minimize"] * objectives))[0] for _ in range(3))


def _send(run_dir: Path, uri: str) -> float:
    from study.tracking.exporter import Exporter

    exporter = Exporter(run_dir, uri)
    started = time.perf_counter()
    exporter.start()
    unsent = exporter.close(timeout=3600)
    if unsent:
        raise RuntimeError(f"{unsent} events could not be sent to {uri}")
    return time.perf_counter() - started


def _make_study(run_dir: Path, options: argparse.Namespace) -> Path:
    """Write a journal as the driver does: four kinds of guidance, three patches, images that differ in difficulty."""
    run_dir.mkdir()
    images = [f"image{number:03d}" for number in range(options.images)]
    write_metadata(run_dir, _describe(images, options.trials))
    clock = time.time() - 1e6
    with open(run_dir / "journal.jsonl", "w") as file:
        for number, event in enumerate(_events(images, options), start=1):
            clock += 0.05
            file.write(f"{write_entry(Entry(number, clock, event))}\n")
    return run_dir


def _describe(images: list[str], trials: int) -> StudyMetadata:
    objectives = (
        Objective("psnr_y", "maximize", unit="dB", label="PSNR-Y"),
        Objective("lpips_alex", "minimize", label="LPIPS (AlexNet)"),
    )
    image_set = ImageSetInfo("made up", "0" * 64, tuple(images))
    return StudyMetadata(
        name=NAME,
        search=SearchInfo("made up", trials, seed=0, groups=("loss.guidance", "budget.patch")),
        goals=Goals(objectives, reference={"psnr_y": 20.0, "lpips_alex": 0.8}),
        images={"train": image_set, "val": image_set},
        config=to_dict(aesop("tiny")),
        notes=(),
        code_version="benchmark",
        identity={},
        id=new_id(),
    )


def _events(images: list[str], options: argparse.Namespace) -> Iterator[Event]:
    random = np.random.default_rng(0)
    difficulty = random.normal(0, 1, (options.images, 1)) * (2.0, -0.05, 0.05, 2.0)
    config = to_dict(aesop("tiny"))
    yield StudyStateChanged(state="RUNNING")
    for trial in range(options.trials):
        guidance, patch = GUIDANCES[trial % 4], (32, 64, 96)[trial // 4 % 3]
        weight = float(10 ** random.uniform(-4, -1))
        changed = {
            **config,
            "loss": {**config["loss"], "guidance": guidance, "adversarial": weight},
            "budget": {**config["budget"], "patch": patch},
        }
        params = {"loss.guidance": guidance, "budget.patch": patch, "loss.adversarial": weight}
        yield TrialStarted(trial=trial, config=changed, params=params, upstream={"fidelity": "fidelity-a"})
        for step in range(1, options.points + 1):
            along = min(1.0, (np.log10(weight) + 4) / 3 * step / 20)
            scores = _means(guidance, along) + difficulty
            yield _point(trial, step, scores + random.normal(0, 1, scores.shape) * NOISE, images, random)
        yield TrialEnded(trial=trial, state="COMPLETE", seconds=60.0, warm=True)
    yield StudyStateChanged(state="COMPLETE")


def _means(guidance: str, along: float) -> np.ndarray:
    """Return the metrics' means over images, some way along a guidance's trade-off."""
    better = 0.1 * GUIDANCES_BY_QUALITY.index(guidance)
    return np.array([29 + better - 2 * along**2, 0.4 - 0.2 * along**0.5, 0.8 - 0.05 * along, 47 - 3 * along])


def _point(trial: int, step: int, scores: np.ndarray, images: list[str], random: np.random.Generator) -> PointEvaluated:
    by_image = {
        name: dict(zip(METRICS, map(float, row), strict=True)) for name, row in zip(images, scores, strict=True)
    }
    return PointEvaluated(
        point=TrialPoint(trial, 50 * step),
        metrics=dict(zip(METRICS, map(float, scores.mean(axis=0)), strict=True)),
        images=by_image,
        terms={name: float(random.uniform()) for name in TERMS},
        spent=Spent(iterations=50 * step, pixels_seen=819_200 * step, device_seconds=3.0 * step),
        samples="",
    )


def _print(found: dict[str, dict[str, Any]], console: Console) -> None:
    table = Table("", *found)
    for title, part, name in (
        ("ours: fetch", "ours", "fetch_seconds"),
        ("ours: into tables", "ours", "tables_seconds"),
        ("ours: front", "ours", "front_seconds"),
        ("ours: pairs, bands, shares of settings", "ours", "bootstrap_seconds"),
        ("ours: the whole report from tables on disk", "ours", "report_seconds"),
        ("ours: peak MiB", "ours", "peak_mib"),
        ("peer: one metric", "peer", "one_seconds"),
        ("peer: two metrics", "peer", "two_seconds"),
        ("peer: all metrics", "peer", "all_seconds"),
        ("peer: peak MiB", "peer", "peak_mib"),
    ):
        table.add_row(title, *(f"{each[part][name]:,.1f}" for each in found.values()))
    table.add_row("ratio", *(f"{each['ratio']:.1f}" for each in found.values()))
    console.print(table)


if __name__ == "__main__":
    main()
