"""What does a live study find at a given cost? Ours against TPE alone and random draws, at equal device-seconds.

python -m benchmarks.search_live --weights DIR                    (about a quarter of an hour on 2 cores)
python -m benchmarks.search_live --device-hours 1 --size small --data DF2K/HR --val DIV2K100/HR

Three studies of one space, one after the other, each with its own artifacts: random draws; TPE; and the whole search of
study/sweep.py (TPE, early stopping, interpolations). Each draws trials until the same device-hours are spent, and
finishes the trials that it has drawn. Upstream stages are shared in all three, so the comparison is of the search
alone. The hypervolume is that of everything found when exactly these device-hours were spent; the reference point is
the nadir of all three fronts together, moved outwards by a tenth of its range. `ratio` is ours over random draws.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.tiny_study import ROOT
from study.record.events import ArtifactEnded, InterpolationEvaluated, PointEvaluated, ReferenceEvaluated, TrialEnded
from study.record.journal import read_entries
from study.record.metadata import read_metadata
from study.search.front import Direction, hypervolume, non_dominated

VARIANTS = {
    "random": ["--sampler", "random", "--interpolate", "0"],
    "TPE": ["--sampler", "tpe", "--interpolate", "0"],
    "TPE, early stopping, interpolations": ["--sampler", "tpe", "--reduction-factor", "2", "--interpolate", "2"],
}


def main() -> None:
    """Run the studies, print a table and one JSON line."""
    options, more = _parse()
    console = Console(stderr=True, width=120)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, search) in enumerate(VARIANTS.items()):
            output = (options.keep or Path(scratch)) / str(number) / "study"
            grace_period = ["--grace-period", str(options.grace_period)] if "--reduction-factor" in search else []
            console.print(f"study {number + 1} of {len(VARIANTS)}: {name}")
            _run(
                ["--output", str(output), "--device-hours", str(options.device_hours), *search, *grace_period, *more],
                options,
            )
            found[name] = _found(output, 3600 * options.device_hours)
        directions: list[Direction] = [objective.direction for objective in read_metadata(output).objectives]
    everything = np.concatenate([points for points, _ in found.values()])
    front = everything[non_dominated(everything, directions)]
    corner = _nadir(front, directions)
    volumes = {name: hypervolume(points, corner, directions) for name, (points, _) in found.items()}
    table = Table("study", "trials", "points and interpolations", "hypervolume", "share of all three")
    whole = hypervolume(front, corner, directions)
    for name, (points, trials) in found.items():
        table.add_row(name, str(trials), str(len(points)), f"{volumes[name]:.5g}", f"{volumes[name] / whole:.1%}")
    console.print(table)
    result = {
        "benchmark": "search_live",
        "device_hours": options.device_hours,
        "share_of_hypervolume": {name: round(volume / whole, 4) for name, volume in volumes.items()},
        "trials": {name: trials for name, (_, trials) in found.items()},
        "ratio": round(volumes["TPE, early stopping, interpolations"] / volumes["random"], 3),
    }
    print(json.dumps(result))


def _run(arguments: list[str], options: argparse.Namespace) -> None:
    fixed = ["--space", options.space, "--size", options.size, "--trials", "999"]
    command = [sys.executable, str(ROOT / "study" / "sweep.py"), *fixed, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _found(output: Path, seconds: float) -> tuple[np.ndarray, int]:
    """Return the objectives of everything evaluated within so many device-seconds, and the number of trials ended."""
    names = [objective.metric for objective in read_metadata(output).objectives]
    spent: dict[Any, float] = {}
    points, ended = [], 0
    for entry, _ in read_entries(output / "journal.jsonl"):
        event = entry.event
        match event:
            case PointEvaluated():
                spent[event.point.trial] = event.spent.device_seconds  # of a trial so far
            case ArtifactEnded():
                spent[event.key] = event.spent.device_seconds
            case InterpolationEvaluated():
                spent[event.point] = event.spent.device_seconds
        if sum(spent.values()) > seconds:
            break
        ended += isinstance(event, TrialEnded)
        is_generator = isinstance(event, ReferenceEvaluated) and event.kind == "fidelity"
        if is_generator or isinstance(event, PointEvaluated | InterpolationEvaluated):
            points.append([event.metrics[name] for name in names])
    values = np.array(points, dtype=np.float64)
    return values[np.isfinite(values).all(axis=1)], ended


def _nadir(front: np.ndarray, directions: list[Direction]) -> list[float]:
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
    worst, best = (front * signs).max(axis=0), (front * signs).min(axis=0)
    return list(map(float, (worst + 0.1 * (worst - best)) * signs))


def _parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="wide", metavar="NAME", help="search space (default: wide)")
    parser.add_argument("--size", default="tiny", help="of the recipe (default: tiny)")
    parser.add_argument("--device-hours", type=float, default=0.12, metavar="X", help="of each study (0.12)")
    parser.add_argument("--grace-period", type=int, default=40, metavar="N", help="first rung of the third study (40)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the studies in this folder")
    return parser.parse_known_args()  # the others go to study/sweep.py


if __name__ == "__main__":
    main()
