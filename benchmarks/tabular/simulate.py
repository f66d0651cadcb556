"""Simulate other searches on a finished study, in seconds: what do another sampler or other rungs cost and find?

python -m benchmarks.tabular.simulate runs/aesop --sampler tpe random --grace-period 40 --reduction-factor 3

Prints the device-seconds until a share of the study's hypervolume is found, and the hypervolume at several costs. The
last line is JSON. 64 trials, one sampler and 20 seeds take about ten seconds.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from study.cli import run

if TYPE_CHECKING:  # imported late, so that --help is fast
    from benchmarks.tabular.simulator import Strategy, Trace
    from benchmarks.tabular.table import TabularBenchmark


def main(arguments: list[str], console: Console) -> int:
    """Run the command; return its exit code."""
    options = _parse(arguments)
    from benchmarks.tabular.figures import draw_simulations, summary_tables
    from benchmarks.tabular.simulator import simulate
    from benchmarks.tabular.table import load_benchmark, save_benchmark

    if options.save is not None:
        save_benchmark(options.run_dir, options.save)
        console.print(f"tabular benchmark: {options.save}", highlight=False, soft_wrap=True)
        return 0
    benchmark = load_benchmark(options.run_dir, _reference(options.reference))
    strategies = _strategies(options, benchmark)
    traces: dict[str, list[Trace]] = {name: [] for name in strategies}
    jobs = [(name, seed) for name in strategies for seed in range(options.seeds)]
    for name, seed in track(jobs, "simulating", console=console, disable=not console.is_terminal):
        traces[name].append(simulate(benchmark, strategies[name], seed))
    for table in summary_tables(benchmark, traces, target=options.target):
        console.print(table)
    console.print(
        f"{len(benchmark.curves)} trials in the table, {options.seeds} seeds, {options.workers} workers; a draw "
        "becomes the nearest trial that is left, so the sampler has little choice among the last ones",
        highlight=False,
        soft_wrap=True,
    )
    if options.figure is not None:
        draw_simulations(benchmark, traces, options.figure)
        console.print(f"figure: {options.figure}", highlight=False, soft_wrap=True)
    goal = options.target * benchmark.final_hypervolume()
    costs = {name: float(np.median([trace.cost_of(goal) for trace in runs])) for name, runs in traces.items()}
    result = {
        "benchmark": "tabular.simulate",
        "seeds": options.seeds,
        "target": options.target,
        "median_device_seconds": {name: round(cost, 1) if np.isfinite(cost) else None for name, cost in costs.items()},
    }
    console.print(json.dumps(result), highlight=False, soft_wrap=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tabular.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", type=Path, help="a run directory of study/sweep.py, or a folder that --save wrote")
    parser.add_argument("--sampler", nargs="+", default=["tpe"], metavar="NAME", help="one or several (default: tpe)")
    parser.add_argument("--grace-period", type=int, metavar="N", help="stop trials early from N iterations on")
    parser.add_argument(
        "--reduction-factor", type=float, default=3.0, metavar="X", help="one of X trials goes on (default: 3)"
    )
    parser.add_argument("--tie-break", choices=["hypervolume", "crowding"], default="hypervolume")
    parser.add_argument("--no-sharing", action="store_true", help="charge every trial for its upstream stages")
    parser.add_argument("--no-interpolation", action="store_true", help="do not interpolate")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="simulations of each sampler (default: 20)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="parallel trials (default: 2)")
    parser.add_argument(
        "--target", type=float, default=0.95, metavar="SHARE", help="of the table's final hypervolume (default: 0.95)"
    )
    parser.add_argument(
        "--reference",
        nargs="+",
        default=[],
        metavar="METRIC=VALUE",
        help="replaces the study's reference point of the hypervolume",
    )
    parser.add_argument("--save", type=Path, metavar="DIR", help="copy the table into DIR, and simulate nothing")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw hypervolume against cost (.png or .svg)")
    options = parser.parse_args(arguments)
    for name in ("seeds", "workers"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, but got {getattr(options, name)}")
    if not 0 < options.target <= 1:
        parser.error(f"--target must be above 0 and at most 1, but got {options.target}")
    if options.figure is not None and options.figure.suffix not in (".png", ".svg"):
        parser.error(f"--figure must end in .png or .svg, but got {options.figure}")
    return options


def _reference(texts: list[str]) -> dict[str, float]:
    reference = {}
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            reference[metric] = float(value)
        except ValueError:
            raise ValueError(f"--reference must look like psnr_y=25 lpips_alex=0.4, but got {text!r}") from None
    return reference


def _strategies(options: argparse.Namespace, benchmark: "TabularBenchmark") -> "dict[str, Strategy]":
    from benchmarks.tabular.simulator import Strategy, study_rule
    from study.search.asha import Rungs
    from study.search.samplers import SAMPLERS

    stopper = None
    if options.grace_period is not None:
        rungs = Rungs(options.grace_period, options.reduction_factor, options.tie_break)
        reached = benchmark.rungs(rungs)
        stopper = study_rule(reached, options.reduction_factor, options.tie_break)
    strategies = {}
    for name in dict.fromkeys(options.sampler):
        if name not in SAMPLERS:
            raise ValueError(f"--sampler must be one of {', '.join(SAMPLERS)}, but got {name}")
        strategies[name] = Strategy(
            sampler=name,
            sharing=not options.no_sharing,
            stopper=stopper,
            interpolation=not options.no_interpolation,
            workers=options.workers,
        )
    return strategies


if __name__ == "__main__":
    run(main)
