"""Live studies at equal device-seconds: whose front is larger?

python benchmarks/search_live.py --weights DIR                    (about a quarter of an hour on 2 cores)
python benchmarks/search_live.py --device-hours 1 --size small --data DF2K/HR --val DIV2K100/HR

Three studies of one space, one after the other, each with artifacts of its own: random draws; TPE; and all that
study/sweep.py has (TPE, early stopping, interpolations). Each draws trials until the same device-hours are spent, and finishes
what it has drawn; upstream stages are shared in all three, for a live study has no other way, so that this compares
the search alone. The hypervolume is taken of what each had found when exactly that much was spent, bounded by the nadir
of all three fronts together and a tenth of its range.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# Started as a script: Python looks in benchmarks/, but the packages are one up.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np
from rich.console import Console
from rich.table import Table

from study.search.front import Direction, hypervolume, non_dominated

VARIANTS = {
    "random": ["--sampler", "random", "--interpolate", "0"],
    "TPE": ["--sampler", "tpe", "--interpolate", "0"],
    "TPE, early stopping, interpolations": ["--sampler", "tpe", "--reduction-factor", "2", "--interpolate", "2"],
}


def main() -> None:
    """Run the studies, print a table, end with one JSON line."""
    options, more = _parse()
    console = Console(stderr=True, width=120)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, own) in enumerate(VARIANTS.items()):
            output = (options.keep or Path(scratch)) / str(number) / "study"
            grace_period = ["--grace-period", str(options.grace_period)] if "--reduction-factor" in own else []
            console.print(f"study {number + 1} of {len(VARIANTS)}: {name}")
            _run(
                ["--output", str(output), "--device-hours", str(options.device_hours), *own, *grace_period, *more],
                options,
            )
            found[name] = _found(output, 3600 * options.device_hours)
        directions: list[Direction] = _directions(output)
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
    """The objectives of all that was evaluated before so many device-seconds were spent, and trials that ended by then."""
    facts = json.loads((output / "study.json").read_text())
    names = [objective["metric"] for objective in facts["objectives"]]
    spent: dict[Any, float] = {}
    points, ended = [], 0
    for line in (output / "journal.jsonl").read_text().splitlines():
        event = json.loads(line)
        kind, metrics = event["event"], event.get("metrics") or {}
        key = (event.get("trial"), event.get("key"), event.get("pair"), event.get("name"))
        if kind in ("point", "artifact", "interpolation"):
            spent[key if kind != "point" else event["trial"]] = (event.get("budget") or {}).get("device_seconds", 0.0)
        if sum(spent.values()) > seconds:
            break
        ended += kind == "end"
        if kind in ("point", "interpolation") or (kind == "reference" and event["kind"] == "fidelity"):
            points.append([metrics[name] for name in names])
    values = np.array(points, dtype=np.float64)
    return values[np.isfinite(values).all(axis=1)], ended


def _directions(output: Path) -> list[Direction]:
    """What "better" means in each objective of a study."""
    return [objective["direction"] for objective in json.loads((output / "study.json").read_text())["objectives"]]


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
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the studies")
    return parser.parse_known_args()  # all other options are study/sweep.py's


if __name__ == "__main__":
    main()
