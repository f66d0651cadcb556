"""What does it cost to find a front? Our search, part by part, against its peers, simulated on tabular benchmarks.

python -m benchmarks.tabular.search                     (about five minutes on 2 cores)
python -m benchmarks.tabular.search --seeds 5 --table runs/aesop

Cost is device-seconds, upstream stages included, until 95% of the hypervolume of the whole table (without
interpolations) is found; the median over seeds. The reference point is the nadir of the front moved outwards by a tenth
of its range (Ishibuchi et al. 2018): with a distant one, the first trial would have most of the hypervolume. Every
checkpoint of every strategy counts, also where the tool that the strategy stands for keeps only the last result of a
trial, which favours the peers.

- random, TPE: each trial trains its own upstream stages, as with Ray Tune and OptunaSearch
- MOASHA: Syne Tune's rule on random draws (`moasha.py`), as in its paper and as in its code, with three settings
- ours: TPE, the recipe's values first, shared upstream stages, early stopping, and the last point of each trial on the
  front interpolated with its fidelity generator

`ratio` is the cost of random draws over ours, the geometric mean over the tables: high in the wide space, where any
weight is possible, lower in the narrow one, where any draw is decent. Limits: a draw becomes the nearest trial that is
left, so a stopped trial cannot be drawn again. The value of sharing depends on the cost of upstream stages relative to
a trial, so the ratio is also given at the paper's relative costs, and for given weights of the fidelity generator. At
the end, 1,000 trials that train nothing go through the study's
queue, journal, early stopping and front (`bookkeeping.py`).
"""

import argparse
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from joblib import cpu_count
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.tabular.bookkeeping import time_bookkeeping
from benchmarks.tabular.moasha import Moasha
from benchmarks.tabular.simulator import Strategy, simulate, study_rule
from benchmarks.tabular.table import TabularBenchmark, load_benchmark
from study.search.asha import Rungs

SHIPPED = [Path(__file__).parent / "tables" / name for name in ("wide-tiny", "aesop-tiny")]
TARGET = 0.95
FULL_PRICES = {"fidelity": 0.15, "autoencoder": 0.54}
"""The cost of an upstream stage relative to a trial in AESOP's paper, over the same at `tiny`; both in pixels seen.

Paper: 1M x 16 x 128^2 (fidelity) and 100K x 64 x 256^2 (auto-encoder) to 300K x 64 x 128^2. `tiny`: 800 x 8 x 48^2 and
200 x 8 x 64^2 to 160 x 4 x 64^2."""
GRACE_PERIOD, REDUCTION_FACTOR = 80, 2.0
MOASHA_SETTINGS = ((40, 3.0), (40, 2.0), (80, 2.0))


def main() -> None:
    """Simulate, print tables and one JSON line."""
    options = _parse()
    console = Console(stderr=True, width=140)
    results = {path.name: _search(path, options.seeds, console) for path in options.table}
    seconds, trials = time_bookkeeping()
    result = {
        "benchmark": "tabular.search",
        "seeds": options.seeds,
        "target": TARGET,
        "tables": results,
        "simulated_trials": trials,
        "simulated_seconds": round(seconds, 1),
        "ratio": round(float(np.prod([each["ratio"] for each in results.values()]) ** (1 / len(results))), 2),
    }
    print(json.dumps(result))


def _search(path: Path, seeds: int, console: Console) -> dict[str, Any]:
    """Make all comparisons on one table."""
    benchmark = load_benchmark(path)
    benchmark = replace(benchmark, reference=benchmark.nadir())
    prices: dict[str, Callable[[str], float]] = {
        "as recorded": lambda stage: 1.0,
        "upstream at the paper's price": lambda stage: FULL_PRICES.get(stage, 1.0),
        "fidelity weights at hand": lambda stage: 0.0 if stage == "fidelity" else 1.0,
    }
    found = {}
    for name, price in prices.items():
        artifacts = {key: cost * price(key.partition("-")[0]) for key, cost in benchmark.artifacts.items()}
        compared = ("random", "TPE", OURS) if found else tuple(strategies(benchmark))
        title = f"{path.name}, {name}"
        found[name] = _costs(replace(benchmark, artifacts=artifacts), compared, seeds, console, title)
        console.print(_table(title, found[name]))
    costs = found["as recorded"]
    peers = [name for name in costs if not name.startswith((OURS, "TPE, recipe first +"))]
    return {
        "trials": len(benchmark.curves),
        "median_device_seconds": {name: _rounded(values) for name, values in costs.items()},
        "ratio": _ratio(costs, "random"),
        "ratio_to_each_peer": {peer: _finite(_ratio(costs, peer)) for peer in peers},
        "ratio_without_part": {part: _finite(_ratio(costs, name)) for name, part in PARTS.items()},
        "ratio_at_the_paper_s_prices": _ratio(found["upstream at the paper's price"], "random"),
        "ratio_with_fidelity_weights_at_hand": _ratio(found["fidelity weights at hand"], "random"),
    }


def _finite(ratio: float) -> float | None:
    """Return None for infinity, which JSON lacks."""
    return ratio if np.isfinite(ratio) else None


OURS = "ours"
PARTS = {
    "ours without sharing": "sharing",
    "ours without early stopping": "early stopping",
    "ours without interpolations": "interpolations",
    "ours with random draws": "sampler",
    "ours without the recipe first": "recipe first",
}
"""Strategies that lack one part of ours, and that part."""


def strategies(benchmark: TabularBenchmark) -> dict[str, Strategy]:
    """Return all compared strategies, by name."""
    plain = Strategy(sampler="random", sharing=False, interpolation=False, recipe_first=False)
    budget = int(max(curve.iterations[-1] for curve in benchmark.curves))
    rungs = benchmark.rungs(Rungs(GRACE_PERIOD, REDUCTION_FACTOR))
    ours = Strategy(sampler="tpe", sharing=True, stopper=study_rule(rungs, REDUCTION_FACTOR), interpolation=True)
    peers = {"random": plain, "random, last points only": replace(plain, only_last=True)}
    for grace_period, reduction_factor in MOASHA_SETTINGS:
        for source, as_coded in (("paper", False), ("code", True)):
            rule = partial(
                _moasha, grace_period=grace_period, budget=budget, reduction_factor=reduction_factor, as_coded=as_coded
            )
            peers[f"MOASHA ({source}), grace_period {grace_period}, reduction_factor {reduction_factor:g}"] = replace(
                plain, stopper=rule
            )
    return {
        **peers,
        "TPE": replace(plain, sampler="tpe"),
        "TPE, recipe first": replace(plain, sampler="tpe", recipe_first=True),
        "TPE, recipe first + sharing": replace(plain, sampler="tpe", recipe_first=True, sharing=True),
        "TPE, recipe first + sharing + early stopping": replace(ours, interpolation=False),
        OURS: ours,
        "ours without sharing": replace(ours, sharing=False),
        "ours without early stopping": replace(ours, stopper=None),
        "ours without interpolations": replace(ours, interpolation=False),
        "ours with random draws": replace(ours, sampler="random"),
        "ours without the recipe first": replace(ours, recipe_first=False),
    }


def _moasha(
    benchmark: TabularBenchmark, seed: int, *, grace_period: int, budget: int, reduction_factor: float, as_coded: bool
) -> Moasha:
    del benchmark, seed
    return Moasha(grace_period, budget, reduction_factor, as_coded)


def _costs(
    benchmark: TabularBenchmark, compared: Sequence[str], seeds: int, console: Console, title: str
) -> dict[str, np.ndarray]:
    """Return device-seconds to the target, by strategy and seed; uses all cores."""
    costs = {name: np.zeros(seeds) for name in compared}
    with ProcessPoolExecutor(cpu_count()) as processes:
        jobs = {
            processes.submit(_cost, benchmark, name, seed): (name, seed) for name in compared for seed in range(seeds)
        }
        for job in track(as_completed(jobs), title, total=len(jobs), console=console):
            name, seed = jobs[job]
            costs[name][seed] = job.result()
    return costs


def _cost(benchmark: TabularBenchmark, name: str, seed: int) -> float:
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    goal = TARGET * benchmark.final_hypervolume()
    return simulate(benchmark, strategies(benchmark)[name], seed, until=goal).cost_of(goal)


def _ratio(costs: Mapping[str, np.ndarray], peer: str) -> float:
    """Return the median cost of a peer over ours; infinite for a peer that never reaches the target."""
    ours = float(np.median(costs[OURS]))
    return round(float(np.median(costs[peer])) / ours, 2) if np.isfinite(ours) else 0.0


def _rounded(values: np.ndarray) -> float | None:
    middle = float(np.median(values))
    return round(middle, 1) if np.isfinite(middle) else None


def _table(name: str, costs: Mapping[str, np.ndarray]) -> Table:
    table = Table("strategy", "device-seconds", "10% to 90%", "reached", "times ours", title=name, title_justify="left")
    for strategy, values in costs.items():
        low, middle, high = (np.quantile(values, share, method="nearest") for share in (0.1, 0.5, 0.9))
        reached = f"{np.isfinite(values).sum()} of {len(values)}"
        ratio = f"{_ratio(costs, strategy):.2f}"
        table.add_row(strategy, f"{middle:,.0f}", f"{low:,.0f} to {high:,.0f}", reached, ratio)
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="simulations of each strategy (default: 20)")
    parser.add_argument(
        "--table",
        type=Path,
        nargs="+",
        default=SHIPPED,
        metavar="DIR",
        help="run directories, or folders that simulate --save wrote",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
