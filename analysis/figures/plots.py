"""The trade-off as a figure: fidelity against perception, by group, with the front."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.formatting import path_label, short_text
from analysis.statistics.fronts import (
    beats_reference,
    front_of,
    group_fronts,
    group_names,
    group_values,
    is_candidate,
    is_interpolation,
    is_measured,
    is_of_trial,
    is_reference,
)
from analysis.statistics.tables import Results
from study.files import write_atomically
from study.record.goals import Goals, Objective

# Okabe and Ito's palette, which stays distinguishable with the common kinds of colour blindness; without its
# yellow, which is faint on white, and black, which marks the references; then the clearest of Tol's muted colours.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#332288",
    "#882255",
    "#999933",
    "#777777",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
FRONT_COLOUR = "#333333"
# An SVG of more points than this holds those off the front as one picture: a mark each would make it megabytes.
_MOST_DRAWN_ONE_BY_ONE = 2_000
# Names come from configs and files: "$" in them must not start a formula. The salt makes SVG ids repeatable.
SETTINGS: Any = {
    "text.parse_math": False,
    "svg.hashsalt": "front",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Style:
    """Colours or markers by value of a config path; values beyond the palette's end start again at its beginning."""

    label: str
    values: tuple[str, ...]
    looks: tuple[str, ...]

    def __getitem__(self, value: str) -> str:
        return self.looks[self.values.index(value) % len(self.looks)]


def figure_bytes(figure: Figure, file_format: Literal["png", "svg"], dpi: int = 200) -> bytes:
    """Return a figure as the content of a PNG or SVG file; the same figure gives the same bytes."""
    content = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        metadata = {"Date": None} if file_format == "svg" else None
        figure.savefig(content, dpi=dpi, format=file_format, metadata=metadata)
    return content.getvalue()


def save_figure(figure: Figure, path: Path, file_format: Literal["png", "svg"]) -> None:
    """Write a figure to a file, atomically."""
    write_atomically(path, figure_bytes(figure, file_format))


def draw_front(results: Results) -> Figure:
    """Draw the points and the fronts: the first objective upwards, the second sideways.

    The axes show the region that the hypervolume counts, so that a few diverged points do not squeeze the rest;
    `count_hidden` counts the points outside.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.4, 5.8), layout="constrained")
        axes = figure.add_subplot()
        _label_axes(axes, *results.objectives[:2])
        if is_measured(results.points, results.goals).any():
            _draw_all(axes, results)
        else:
            axes.text(0.5, 0.5, "No point yet", transform=axes.transAxes, ha="center", va="center", color="#555555")
            axes.set(xticks=[], yticks=[])
    return figure


def count_hidden(results: Results) -> int:
    """Count the points that count for the front but lie outside the region that the figure shows."""
    points, goals = results.points, results.goals
    counted = points[is_measured(points, goals) & is_candidate(points)]
    return int((~is_shown(counted, goals, shown_limits(points, goals))).sum()) if len(counted) else 0


def shown_limits(points: pd.DataFrame, goals: Goals) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the axes' ends, (low, high) of the first objective and of the second; there must be a measured point."""
    shown = _shown_region(points[is_measured(points, goals)], goals)
    first, second = (_padded(shown[objective.metric].to_numpy()) for objective in goals.objectives[:2])
    return first, second


def is_shown(points: pd.DataFrame, goals: Goals, limits: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
    """Mark the points that lie within these ends of the axes."""
    inside = np.ones(len(points), dtype=bool)
    for objective, (low, high) in zip(goals.objectives, limits, strict=False):
        inside &= points[objective.metric].between(low, high).to_numpy()
    return inside


def _draw_all(axes: Axes, results: Results) -> None:
    points, goals = results.points, results.goals
    measured = points[is_measured(points, goals)]
    trial_points = measured[is_candidate(measured) & is_of_trial(measured)]
    main, second, *_ = (*results.groups, "", "")
    colours, markers = (style_of(trial_points, goals, *each) for each in ((main, COLOURS), (second, MARKERS)))
    _draw_steps(axes, front_of(points, goals), goals, colour=FRONT_COLOUR, width=4.5, alpha=0.3)
    _draw_trials(axes, trial_points, goals, colours, markers)
    _draw_interpolations(axes, measured, goals)
    _draw_group_fronts(axes, points, goals, colours)
    draw_references(axes, measured, goals)
    up, across = shown_limits(measured, goals)
    axes.set_xlim(*across)
    axes.set_ylim(*up)
    _draw_legend(axes, measured, colours, markers)


def style_of(points: pd.DataFrame, goals: Goals, path: str, looks: tuple[str, ...]) -> Style:
    """Return the style of each group of a config path, by the drawn points of trials; "" for no path is one group."""
    drawn = points[is_measured(points, goals)]
    values = tuple(group_names(drawn, path)) if path else ("none",)
    return Style(path, values, looks)


def _shown_region(measured: pd.DataFrame, goals: Goals) -> pd.DataFrame:
    """Return the points that the axes must show: those that beat the reference point, the front, the references."""
    if not beats_reference(measured, goals).any():
        return measured
    on_front = measured["front"].to_numpy(dtype=bool)
    return measured[beats_reference(measured, goals) | on_front | is_reference(measured)]


def _draw_trials(axes: Axes, points: pd.DataFrame, goals: Goals, colours: Style, markers: Style) -> None:
    vertical, horizontal = (objective.metric for objective in goals.objectives[:2])
    raster = len(points) > _MOST_DRAWN_ONE_BY_ONE
    points = points.assign(colour=group_values(points, colours.label), marker=group_values(points, markers.label))
    for _, trial in points.sort_values("iteration").groupby("trial"):
        colour = colours[trial["colour"].iloc[0]]
        line: Any = {"color": colour, "alpha": 0.25, "linewidth": 0.8, "zorder": 2, "rasterized": raster}
        axes.plot(trial[horizontal], trial[vertical], **line)
    for (colour_value, marker_value), part in points.groupby(["colour", "marker"]):
        on_front = part["front"].to_numpy(dtype=bool)
        look: Any = {"color": colours[colour_value], "marker": markers[marker_value], "linestyle": "none"}
        off, on = part[~on_front], part[on_front]
        axes.plot(off[horizontal], off[vertical], **look, markersize=4.5, alpha=0.45, zorder=3, rasterized=raster)
        axes.plot(on[horizontal], on[vertical], **look, markersize=8, markeredgecolor="black", zorder=6)


def _draw_interpolations(axes: Axes, points: pd.DataFrame, goals: Goals) -> None:
    """Draw small diamonds, larger on the front: full for weights, empty for images."""
    vertical, horizontal = (objective.metric for objective in goals.objectives[:2])
    interpolations = points[is_interpolation(points) & is_candidate(points)]
    for space, fill in (("weights", FRONT_COLOUR), ("images", "none")):
        part = interpolations[np.asarray(interpolations["interpolation.space"] == space, dtype=bool)]
        on_front = part["front"].to_numpy(dtype=bool)
        look: Any = {"marker": "D", "linestyle": "none", "markerfacecolor": fill, "markeredgecolor": FRONT_COLOUR}
        off, on = part[~on_front], part[on_front]
        axes.plot(off[horizontal], off[vertical], **look, markersize=2.5, alpha=0.25, zorder=2)
        axes.plot(on[horizontal], on[vertical], **look, markersize=5, zorder=5)


def _draw_group_fronts(axes: Axes, points: pd.DataFrame, goals: Goals, colours: Style) -> None:
    if not colours.label:
        return
    for group in group_fronts(points, goals, colours.label):
        if len(group.front):
            _draw_steps(axes, group.front, goals, colour=colours[group.value], width=1.4, alpha=0.8)


def _draw_steps(axes: Axes, front: pd.DataFrame, goals: Goals, *, colour: str, width: float, alpha: float) -> None:
    """Draw the border of the region that a front dominates."""
    vertical, horizontal = goals.objectives[:2]
    front = front.sort_values(horizontal.metric)
    across, up = front[horizontal.metric].to_numpy(), front[vertical.metric].to_numpy()
    where: Literal["pre", "post"] = "post" if horizontal.direction == "minimize" else "pre"
    axes.step(across, up, where=where, color=colour, linewidth=width, alpha=alpha, zorder=1)


def draw_references(axes: Axes, points: pd.DataFrame, goals: Goals) -> None:
    """Mark fidelity generators, and bicubic interpolation or the input."""
    vertical, horizontal = (objective.metric for objective in goals.objectives[:2])
    for kind, marker, size in (("fidelity", "*", 15), ("bicubic", "x", 9), ("input", "x", 9)):
        part = points[points["kind"] == kind]
        axes.plot(part[horizontal], part[vertical], marker, color="black", markersize=size, zorder=7)


def _label_axes(axes: Axes, vertical: Objective, horizontal: Objective) -> None:
    """Name the axes; an arrow shows which way is better."""
    axes.set_xlabel(directed(horizontal))
    axes.set_ylabel(directed(vertical))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def directed(objective: Objective) -> str:
    """Return an axis's label: name, unit, and an arrow to where it is better."""
    name = axis_text(objective)
    if objective.direction == "maximize":
        return f"{name}   better \N{RIGHTWARDS ARROW}"
    return f"\N{LEFTWARDS ARROW} better   {name}"


def axis_text(objective: Objective) -> str:
    """Return an axis's title: the metric in full, with its unit."""
    name = short_text(objective.label or objective.metric)
    return f"{name} [{objective.unit}]" if objective.unit else name


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _draw_legend(axes: Axes, points: pd.DataFrame, colours: Style, markers: Style) -> None:
    handles = [Line2D([], [], color=FRONT_COLOUR, linewidth=4.5, alpha=0.3, label="front of all points")]
    if (points["kind"] == "trial").any():
        handles += _group_handles(colours, markers)
    for space, fill in (("weights", FRONT_COLOUR), ("images", "none")):
        if (points["interpolation.space"] == space).any():
            handles.append(
                Line2D(
                    [],
                    [],
                    marker="D",
                    linestyle="none",
                    markersize=5,
                    markerfacecolor=fill,
                    markeredgecolor=FRONT_COLOUR,
                    label=f"interpolation of {space}",
                )
            )
    labels = (("fidelity", "*", "fidelity generator"), ("bicubic", "x", "bicubic"), ("input", "x", "input"))
    for kind, marker, label in labels:
        if (points["kind"] == kind).any():
            handles.append(Line2D([], [], color="black", marker=marker, linestyle="none", markersize=9, label=label))
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=_columns(handles), frameon=False, fontsize=9)


def _group_handles(colours: Style, markers: Style) -> list[Line2D]:
    handles = []
    if colours.label:
        handles += [
            Line2D(
                [],
                [],
                color=colours[value],
                linewidth=1.6,
                marker="o",
                label=f"{path_label(colours.label)}: {short_text(value)}",
            )
            for value in colours.values
        ]
    if markers.label:
        handles += [
            Line2D(
                [],
                [],
                color="#777777",
                linestyle="none",
                marker=markers[value],
                label=f"{path_label(markers.label)}: {short_text(value)}",
            )
            for value in markers.values
        ]
    return handles


def _columns(handles: Sequence[Line2D]) -> int:
    """Return the columns of a legend with rows of equal length, at most four entries wide."""
    return math.ceil(len(handles) / math.ceil(len(handles) / 4))
