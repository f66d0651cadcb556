"""Simulated searches as tables and as a figure: hypervolume against cost, with bands over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.figures.plots import COLOURS
from benchmarks.tabular.simulator import Trace
from benchmarks.tabular.table import TabularBenchmark
from study.search.front import attainment_surface

COSTS = 8
"""Rows of the table of hypervolumes."""
_SETTINGS: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "simulations"}


def summary_tables(benchmark: TabularBenchmark, traces: Mapping[str, Sequence[Trace]], *, target: float) -> list[Table]:
    """Return two tables: the cost to reach a share of the table's hypervolume, and the hypervolume at several costs.

    Args:
        benchmark: the table that was searched.
        traces: by strategy, one a seed.
        target: share of the table's final hypervolume.
    """
    return [_costs(benchmark, traces, target), _hypervolumes(benchmark, traces)]


def draw_simulations(benchmark: TabularBenchmark, traces: Mapping[str, Sequence[Trace]], path: Path) -> None:
    """Draw hypervolume against cost (median, 10th to 90th percentile of the seeds) as `.png` or `.svg`.

    Beside it: the median attainment surface of the seeds after a quarter of the longest simulation.
    """
    early = _cost_grid(traces, 4)[0]
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for colour, (name, runs) in zip(COLOURS * len(traces), traces.items(), strict=False):
            _draw_hypervolumes(left, benchmark, runs, name, colour)
            _draw_surface(right, benchmark, runs, colour, early)
        left.set(xlabel="device-seconds, upstream stages included", ylabel="hypervolume, share of the table's")
        left.axhline(1.0, color="#999999", linewidth=0.8)
        left.legend(frameon=False, loc="lower right")
        right.set(
            xlabel=benchmark.metrics[1],
            ylabel=benchmark.metrics[0],
            title=f"median attainment surfaces after {early:,.0f} device-seconds",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, format=path.suffix.removeprefix("."))


def _costs(benchmark: TabularBenchmark, traces: Mapping[str, Sequence[Trace]], target: float) -> Table:
    table = Table(
        "strategy",
        "median",
        "10% to 90%",
        "reached",
        "stopped",
        "upstream",
        "interpolations",
        title=f"device-seconds to reach {target:.0%} of the table's hypervolume",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    goal = target * benchmark.final_hypervolume()
    for name, runs in traces.items():
        costs = np.array([trace.cost_of(goal) for trace in runs])
        low, middle, high = (_seconds(float(np.quantile(costs, share, method="nearest"))) for share in (0.1, 0.5, 0.9))
        table.add_row(
            name,
            middle,
            f"{low} to {high}",
            f"{np.isfinite(costs).sum()} of {len(runs)}",
            f"{np.mean([trace.stopped for trace in runs]):.0f}",
            _seconds(float(np.mean([trace.upstream_seconds for trace in runs]))),
            _seconds(float(np.mean([trace.interpolation_seconds for trace in runs]))),
        )
    return table


def _hypervolumes(benchmark: TabularBenchmark, traces: Mapping[str, Sequence[Trace]]) -> Table:
    costs = _cost_grid(traces, COSTS)
    table = Table(
        "device-seconds",
        *traces,
        title="hypervolume as a share of the table's: median (10% to 90%)",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    bands = {name: _bands(benchmark, runs, costs) for name, runs in traces.items()}
    for index, cost in enumerate(costs):
        cells = [f"{band[1][index]:.3f} ({band[0][index]:.3f} to {band[2][index]:.3f})" for band in bands.values()]
        table.add_row(f"{cost:,.0f}", *cells)
    return table


def _cost_grid(traces: Mapping[str, Sequence[Trace]], count: int) -> np.ndarray:
    longest = max(float(trace.seconds[-1]) for runs in traces.values() for trace in runs)
    return np.linspace(longest / count, longest, count)


def _bands(benchmark: TabularBenchmark, runs: Sequence[Trace], costs: np.ndarray) -> np.ndarray:
    shares = np.array([trace.at(costs) for trace in runs]) / benchmark.final_hypervolume()
    return np.quantile(shares, [0.1, 0.5, 0.9], axis=0)


def _draw_hypervolumes(axes: Axes, benchmark: TabularBenchmark, runs: Sequence[Trace], name: str, colour: str) -> None:
    costs = _cost_grid({name: runs}, 200)
    low, middle, high = _bands(benchmark, runs, costs)
    axes.fill_between(costs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(costs, middle, color=colour, label=name)


def _draw_surface(axes: Axes, benchmark: TabularBenchmark, runs: Sequence[Trace], colour: str, seconds: float) -> None:
    fronts = [trace.front_at(seconds) for trace in runs]
    fronts = [front for front in fronts if len(front)]
    if len(fronts) <= len(runs) / 2:
        return  # at most half of the seeds have a point
    surface = attainment_surface(fronts, benchmark.directions, len(runs) / 2 / len(fronts))
    across = surface[np.argsort(surface[:, 1])]
    where: Any = "post" if benchmark.directions[1] == "minimize" else "pre"
    axes.step(across[:, 1], across[:, 0], where=where, color=colour)


def _seconds(value: float) -> str:
    return "never" if np.isinf(value) else f"{value:,.0f}"
