"""Replays of a recorded study as tables and as a figure: hypervolume against cost, with bands over seeds."""

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
from benchmarks.tabular.recording import Recording
from benchmarks.tabular.replay import Trace
from study.search.front import attainment_surface

COSTS = 8
"""How many costs the table shows."""
_SETTINGS: Any = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "replays"}


def replay_tables(recording: Recording, traces: Mapping[str, Sequence[Trace]], *, target: float) -> list[Table]:
    """What each strategy cost to reach a share of the recording's hypervolume, and its hypervolume along the way.

    Args:
        recording: what was replayed.
        traces: by strategy, one a seed.
        target: share of the recording's final hypervolume.
    """
    return [_costs(recording, traces, target), _course(recording, traces)]


def draw_replays(recording: Recording, traces: Mapping[str, Sequence[Trace]], path: Path) -> None:
    """Draw hypervolume against cost (median, and the band from the 10th to the 90th percentile of the seeds), and what
    half of the seeds had reached after a quarter of the longest replay; as `.png` or `.svg`."""
    early = _cost_steps(traces, 4)[0]
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for colour, (name, runs) in zip(COLOURS * len(traces), traces.items(), strict=False):
            _draw_course(left, recording, runs, name, colour)
            _draw_surface(right, recording, runs, colour, early)
        left.set(xlabel="device-seconds, upstream stages included", ylabel="hypervolume, share of the recording's")
        left.axhline(1.0, color="#999999", linewidth=0.8)
        left.legend(frameon=False, loc="lower right")
        right.set(
            xlabel=recording.metrics[1],
            ylabel=recording.metrics[0],
            title=f"median attainment surfaces after {early:,.0f} device-seconds",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150, format=path.suffix.removeprefix("."))


def _costs(recording: Recording, traces: Mapping[str, Sequence[Trace]], target: float) -> Table:
    table = Table(
        "strategy",
        "median",
        "10% to 90%",
        "arrived",
        "stopped",
        "upstream",
        "interpolations",
        title=f"device-seconds to reach {target:.0%} of the recording's hypervolume",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    goal = target * recording.final_hypervolume()
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


def _course(recording: Recording, traces: Mapping[str, Sequence[Trace]]) -> Table:
    costs = _cost_steps(traces, COSTS)
    table = Table(
        "device-seconds",
        *traces,
        title="hypervolume as a share of the recording's: median (10% to 90%)",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    bands = {name: _bands(recording, runs, costs) for name, runs in traces.items()}
    for index, cost in enumerate(costs):
        cells = [f"{band[1][index]:.3f} ({band[0][index]:.3f} to {band[2][index]:.3f})" for band in bands.values()]
        table.add_row(f"{cost:,.0f}", *cells)
    return table


def _cost_steps(traces: Mapping[str, Sequence[Trace]], count: int) -> np.ndarray:
    longest = max(float(trace.seconds[-1]) for runs in traces.values() for trace in runs)
    return np.linspace(longest / count, longest, count)


def _bands(recording: Recording, runs: Sequence[Trace], costs: np.ndarray) -> np.ndarray:
    shares = np.array([trace.at(costs) for trace in runs]) / recording.final_hypervolume()
    return np.quantile(shares, [0.1, 0.5, 0.9], axis=0)


def _draw_course(axes: Axes, recording: Recording, runs: Sequence[Trace], name: str, colour: str) -> None:
    costs = _cost_steps({name: runs}, 200)
    low, middle, high = _bands(recording, runs, costs)
    axes.fill_between(costs, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(costs, middle, color=colour, label=name)


def _draw_surface(axes: Axes, recording: Recording, runs: Sequence[Trace], colour: str, seconds: float) -> None:
    fronts = [trace.front_at(seconds) for trace in runs]
    fronts = [front for front in fronts if len(front)]
    if len(fronts) <= len(runs) / 2:
        return  # half of the seeds had found nothing yet
    surface = attainment_surface(fronts, recording.directions, len(runs) / 2 / len(fronts))
    across = surface[np.argsort(surface[:, 1])]
    where: Any = "post" if recording.directions[1] == "minimize" else "pre"
    axes.step(across[:, 1], across[:, 0], where=where, color=colour)


def _seconds(value: float) -> str:
    return "never" if np.isinf(value) else f"{value:,.0f}"
