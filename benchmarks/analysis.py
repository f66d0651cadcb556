"""What it takes to report on a large study from MLflow, against reading it run by run; the front of a million points.

python benchmarks/analysis.py                     (1,000 trials x 20 points x 20 images; some minutes on 2 cores)
python benchmarks/analysis.py --trials 200

A study's journal is made up and sent to MLflow, into SQLite and to a server on this machine, by the study's own
exporter. Then, each in a process of its own, for either:

- ours: fetch the study (`study.tracking.download`), read it into tables, take the front, compare each pair of groups
  with 1,000 bootstrap draws over the images, write the whole report
- peer: `mlflow.search_runs` for all runs, and `get_metric_history` run by run, the usual way: for one metric, for the
  two that a front needs, and for all that the tables hold. What was scored by image it cannot have so at all.

`ratio` is the peer's time for all metrics over that of ours up to the tables; the smaller one of SQLite and server.
Imports and the first connection are not timed. Memory is the process's peak, Python and libraries included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Started as a script: Python looks in benchmarks/, but the packages are one up.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import mlflow
import numpy as np
from mlflow import MlflowClient
from rich.console import Console
from rich.table import Table

from benchmarks.mlflow_server import Server, free_port

NAME = "large"
METRICS = ("psnr_y", "lpips_alex", "ssim_y", "lr_psnr")
TERMS = ("fidelity", "perceptual", "adversarial", "artifact")
MILLION = 1_000_000


def main() -> None:
    """Make the study, run each group in its own process, print a table, end with one JSON line."""
    options = _parse()
    if options.part is not None:
        print(json.dumps(_PARTS[options.part](options)))
        return
    console = Console(stderr=True, width=120)
    with tempfile.TemporaryDirectory(prefix="analysis-") as folder:
        place = Path(folder)
        run_dir = _made_study(place / NAME, options)
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
    parser.add_argument("--points", type=int, default=20, metavar="N", help="of each trial")
    parser.add_argument("--images", type=int, default=20, metavar="N", help="held out")
    parser.add_argument("--part", choices=sorted(_PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    return parser.parse_args()


def _against(uri: str, run_dir: Path, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Send the study there, then read it both ways."""
    sending = _send(run_dir, uri)
    console.print(f"sent to {uri.partition(':')[0]} in {sending:.0f} s")
    ours, peer = (_in_a_process(part, uri, options) for part in ("ours", "peer"))
    own = ours["fetch_seconds"] + ours["tables_seconds"]
    ratios = {name.replace("seconds", "ratio"): round(peer[name] / own, 1) for name in _PEERS}
    return {"sending_seconds": round(sending, 1), "ours": ours, "peer": peer, **ratios, "ratio": ratios["all_ratio"]}


def _in_a_process(part: str, uri: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", part, "--uri", uri, "--trials", str(options.trials)]
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
        seconds["report_seconds"], report = _timed(lambda: write_report(into))  # reads and reckons once more
        pairs = sum(len(found) for found in statistics.comparisons.values())
        page = report.page.stat().st_size / 2**20
    facts = {"points": len(results.points), "front_points": len(front), "pairs_compared": pairs}
    return {**seconds, **facts, "page_mib": round(page, 2), "peak_mib": _peak()}


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
    """Make a first request, which imports what only a request needs."""
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
    """Random points of a smooth trade-off, most of them dominated; the best of three."""
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


def _made_study(run_dir: Path, options: argparse.Namespace) -> Path:
    """A journal as the driver writes it: four kinds of guidance and three patches, images that differ in difficulty."""
    run_dir.mkdir()
    random = np.random.default_rng(0)
    images = [f"image{number:03d}" for number in range(options.images)]
    (run_dir / "study.json").write_text(json.dumps(_facts(images, options.trials)))
    hard = random.normal(0, 1, (options.images, 1)) * (2.0, -0.05, 0.05, 2.0)
    clock = time.time() - 1e6
    with open(run_dir / "journal.jsonl", "w") as file:
        for event in _events(random, images, hard, options):
            clock += 0.05
            file.write(json.dumps({"time": clock, **event}) + "\n")
    return run_dir


def _facts(images: list[str], trials: int) -> dict[str, Any]:
    from study.config import to_dict
    from study.config.recipes import aesop

    data = {"name": "made up", "fingerprint": "0" * 64, "images": images}
    return {
        "id": uuid.uuid4().hex,
        "name": NAME,
        "space": "made up",
        "recipe": "aesop",
        "size": "tiny",
        "trials": trials,
        "seed": 0,
        "objectives": [
            {"metric": "psnr_y", "direction": "maximize", "unit": "dB", "label": "PSNR-Y"},
            {"metric": "lpips_alex", "direction": "minimize", "unit": "", "label": "LPIPS (AlexNet)"},
        ],
        "reference": {"psnr_y": 20.0, "lpips_alex": 0.8},
        "notes": [],
        "data": {"train": data, "val": data},
        "scale": 4,
        "code_version": "benchmark",
        "config": to_dict(aesop("tiny")),
        "groups": ["loss.guidance", "budget.patch"],
        "constraints": [],
    }


def _events(
    random: np.random.Generator, images: list[str], hard: np.ndarray, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    from study.config import to_dict
    from study.config.recipes import aesop

    config = to_dict(aesop("tiny"))
    yield {"event": "study", "state": "RUNNING"}
    for trial in range(options.trials):
        guidance, patch = ("pixel", "aesop", "bottleneck", "consistency")[trial % 4], (32, 64, 96)[trial // 4 % 3]
        weight = float(10 ** random.uniform(-4, -1))
        params = {"loss.guidance": guidance, "budget.patch": patch, "loss.adversarial": weight}
        own = {**config, "loss": {**config["loss"], "guidance": guidance, "adversarial": weight}}
        own["budget"] = {**config["budget"], "patch": patch}
        yield {
            "event": "trial",
            "trial": trial,
            "config": own,
            "params": params,
            "upstream": {"fidelity": "fidelity-a"},
        }
        for step in range(1, options.points + 1):
            yield _point(trial, step, weight, guidance, images, hard, random)
        yield {"event": "end", "trial": trial, "state": "COMPLETE", "cause": None, "seconds": 60.0, "warm": True}
    yield {"event": "study", "state": "COMPLETE"}


def _point(
    trial: int,
    step: int,
    weight: float,
    guidance: str,
    images: list[str],
    hard: np.ndarray,
    random: np.random.Generator,
) -> dict[str, Any]:
    along = min(1.0, (np.log10(weight) + 4) / 3 * step / 20)
    better = 0.1 * ("pixel", "consistency", "bottleneck", "aesop").index(guidance)
    means = np.array([29 + better - 2 * along**2, 0.4 - 0.2 * along**0.5, 0.8 - 0.05 * along, 47 - 3 * along])
    scores = means + hard + random.normal(0, 1, hard.shape) * (0.1, 0.01, 0.005, 0.2)
    evaluated = {
        name: dict(zip(METRICS, map(float, row), strict=True)) for name, row in zip(images, scores, strict=True)
    }
    return {
        "event": "point",
        "trial": trial,
        "iteration": 50 * step,
        "metrics": dict(zip(METRICS, map(float, scores.mean(axis=0)), strict=True)),
        "images": evaluated,
        "terms": {name: float(random.uniform()) for name in TERMS},
        "budget": {"iterations": 50 * step, "pixels_seen": 819_200 * step, "device_seconds": 3.0 * step},
    }


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
