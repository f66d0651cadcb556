"""Figures of groups side by side: metrics of their front members, and the time of an iteration."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.plots import COLOURS, MARKERS, SETTINGS
from analysis.formatting import metric_head, path_label, short_text
from analysis.statistics.fronts import group_fronts, group_values, last_points, natural_order
from analysis.statistics.tables import Results, metric_columns

MOST_PANELS = 8
_IN_A_ROW = 4
_REACH = 0.22
"""Half-width over which a group's points are spread, so that equal ones do not hide each other."""


def draw_metrics(results: Results, path: str) -> Figure:
    """Draw each metric of the members of each group's own front, with a line at the mean."""
    names = metric_columns(results)[:MOST_PANELS]
    groups = [group for group in group_fronts(results.points, results.goals, path) if len(group.front)]
    lines = math.ceil(len(names) / _IN_A_ROW)
    columns = math.ceil(len(names) / lines)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(2.7 * columns + 0.4, 2.7 * lines + 0.3), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            _name_groups(axes, [group.value for group in groups], path)
            axes.set_ylabel(metric_head(results.objectives, name))
            for place, (group, colour) in enumerate(zip(groups, COLOURS * len(groups), strict=False)):
                values = group.front[name].to_numpy(dtype=np.float64)
                axes.plot(_beside(place, len(values)), values, "o", color=colour, alpha=0.75, markersize=5)
                if np.isfinite(values).any():
                    axes.hlines(np.nanmean(values), place - _REACH - 0.1, place + _REACH + 0.1, color=colour)
        for axes in grid[len(names) :]:
            axes.set_axis_off()
    return figure


def draw_iteration_times(results: Results, path: str, second: str = "") -> Figure:
    """Draw the seconds per iteration of every trial that did not fail, by group; marks by a second setting."""
    trials = last_points(results.points)
    trials = trials[trials["iterations"].notna() & trials["device_seconds"].notna()]
    trials = trials.assign(
        seconds=trials["device_seconds"] / trials["iterations"].astype("float64"),
        group=group_values(trials, path),
        kind=group_values(trials, second) if second else "",
    )
    groups, kinds = (sorted(set(trials[name]), key=natural_order) for name in ("group", "kind"))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(5.8, 3.8), layout="constrained")
        axes = figure.add_subplot()
        _name_groups(axes, groups, path)
        axes.set_ylabel("device-seconds per iteration")
        for index, kind in enumerate(kinds):
            _draw_kind(axes, trials[trials["kind"] == kind], groups, index, f"{path_label(second)}: {short_text(kind)}")
        axes.set_ylim(bottom=0)
        if second and kinds:
            figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _draw_kind(axes: Axes, trials: pd.DataFrame, groups: Sequence[str], index: int, label: str) -> None:
    across = np.zeros(len(trials))
    for place, group in enumerate(groups):
        rows = np.asarray(trials["group"] == group, dtype=bool)
        across[rows] = _beside(place, int(rows.sum()))
    marker = MARKERS[index % len(MARKERS)]
    colour = COLOURS[index % len(COLOURS)]
    axes.plot(across, trials["seconds"], marker, color=colour, alpha=0.75, markersize=6, label=label)


def _name_groups(axes: Axes, groups: Sequence[str], path: str) -> None:
    axes.set_xticks(range(len(groups)), [short_text(group, 14) for group in groups])
    if len(groups) > _IN_A_ROW:
        axes.tick_params(axis="x", rotation=60)
    axes.set_xlim(-0.6, max(1, len(groups)) - 0.4)
    axes.set_xlabel(path_label(path))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)


def _beside(place: int, count: int) -> np.ndarray:
    return place + (np.linspace(-_REACH, _REACH, count) if count > 1 else np.zeros(count))
