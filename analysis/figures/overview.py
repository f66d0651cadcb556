"""A study in one figure: the groups' fronts with their bands, and the references with their interpolations."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.plots import COLOURS, SETTINGS, directed, draw_references
from analysis.formatting import path_label, short_text
from analysis.statistics.bands import Band
from analysis.statistics.fronts import (
    group_fronts,
    group_values,
    is_candidate,
    is_interpolation,
    is_measured,
    is_of_trial,
)
from analysis.statistics.groups import GroupComparison
from analysis.statistics.tables import Results
from study.record.goals import Goals

GREY = "#555555"


def draw_overview(results: Results, comparison: GroupComparison, bands: Mapping[str, Band]) -> Figure:
    """Draw the trade-off twice: with bicubic, the fidelity generators and their interpolations; and the groups alone.

    Args:
        results: the study.
        comparison: its main groups.
        bands: of their fronts (`bands.image_bands`).
    """
    goals = results.goals
    points = results.points[is_measured(results.points, goals)]
    trials = points[is_of_trial(points) & is_candidate(points)]
    values = group_values(trials, comparison.path)
    fronts = {group.value: group.front for group in group_fronts(points, goals, comparison.path)}
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(11.0, 4.8), layout="constrained")
        whole, near = figure.subplots(1, 2)
        for axes in (whole, near):
            axes.set(xlabel=directed(goals.objectives[1]), ylabel=directed(goals.objectives[0]))
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            for group, colour in zip(comparison.groups, COLOURS * len(comparison.groups), strict=False):
                _plot(axes, trials[np.asarray(values == group.value, dtype=bool)], goals, marker="o", color=colour)
        for group, colour in zip(comparison.groups, COLOURS * len(comparison.groups), strict=False):
            _draw_front(near, fronts[group.value], goals, _legend_text(group.value), colour)
        limits = near.axis()  # of the points: bands are wide at their ends
        for group, colour in zip(comparison.groups, COLOURS * len(comparison.groups), strict=False):
            if (band := bands.get(group.value)) is not None:
                near.fill_between(band.across, band.low, band.high, color=colour, alpha=0.12, linewidth=0)
        near.axis(limits)
        _draw_interpolations(whole, points[is_interpolation(points) & is_candidate(points)], goals)
        draw_references(whole, points, goals)
        whole.set_title("with bicubic (x), the fidelity generator (*) and interpolations", fontsize=10)
        near.set_title(f"each {path_label(comparison.path)}: trials, front, 95% band over images", fontsize=10)
        if whole.get_legend_handles_labels()[0]:
            whole.legend(frameon=False, fontsize=9)
        near.legend(frameon=False, fontsize=9, ncols=2, loc="lower right")
    return figure


def _legend_text(name: str) -> str:
    """Return a name as a label; matplotlib leaves labels that begin with `_` out of a legend."""
    text = short_text(name)
    return f" {text}" if text.startswith("_") else text


def _draw_front(axes: Axes, front: pd.DataFrame, goals: Goals, label: str, colour: str) -> None:
    first, second = goals.objectives[:2]
    front = front.sort_values(second.metric)
    where: Any = "post" if second.direction == "minimize" else "pre"
    axes.step(front[second.metric], front[first.metric], where=where, color=colour, linewidth=1.6, label=label)


def _draw_interpolations(axes: Axes, interpolations: pd.DataFrame, goals: Goals) -> None:
    for space, fill in (("weights", GREY), ("images", "none")):
        part = interpolations[np.asarray(interpolations["interpolation.space"] == space, dtype=bool)]
        if len(part):
            look = {
                "marker": "D",
                "markeredgecolor": GREY,
                "markerfacecolor": fill,
                "label": f"interpolation of {space}",
            }
            _plot(axes, part, goals, **look)


def _plot(axes: Axes, points: pd.DataFrame, goals: Goals, **look: Any) -> None:
    first, second = goals.objectives[:2]
    axes.plot(points[second.metric], points[first.metric], linestyle="none", markersize=4, alpha=0.75, **look)
