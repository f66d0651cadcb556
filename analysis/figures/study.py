"""Figures of a whole study: anytime curves, effects of settings, use of compute, bands of fronts."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.figures.plots import COLOURS, SETTINGS, directed
from analysis.formatting import COST_TEXT, metric_name, path_label, short_text
from analysis.statistics.anytime import group_curve, study_curve
from analysis.statistics.bands import Band, seed_surfaces
from analysis.statistics.fronts import group_values, last_points, natural_order
from analysis.statistics.groups import GroupComparison
from analysis.statistics.tables import Results
from study.record.goals import Goals, Objective

MOST_SLICES = 8
FEW_VALUES = 6
LOG_RATIO = 20
GREY = "#333333"


def draw_anytime(results: Results, comparison: GroupComparison | None) -> Figure:
    """Draw hypervolume against device-seconds: of the study, and of each group as if it had been alone.

    Args:
        results: the study.
        comparison: its main groups; None where it has none.
    """
    with matplotlib.rc_context(SETTINGS):
        groups = comparison is not None and len(comparison.groups) > 1
        figure = Figure(figsize=(9.6 if groups else 5.4, 3.9), layout="constrained")
        left, *rest = figure.subplots(1, 2 if groups else 1, sharey=True, squeeze=False)[0].tolist()
        whole = study_curve(results)
        left.step(whole.costs, whole.hypervolumes, where="post", color=GREY)
        left.set(title="the whole study", xlabel="device-seconds", ylabel="hypervolume")
        if groups and comparison is not None:
            _draw_group_curves(rest[0], comparison)
            rest[0].set_xlabel(COST_TEXT[comparison.budget_unit])
        for axes in (left, *rest):
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_xlim(left=0)
        if not len(whole.costs):
            _mark_empty(left)
    return figure


def draw_pixel_anytime(comparison: GroupComparison) -> Figure:
    """Draw hypervolume against the pixels that each group's trials had seen, as if the group had been alone.

    Args:
        comparison: with its costs in pixels.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(5.8, 3.9), layout="constrained")
        axes = figure.add_subplot()
        _draw_group_curves(axes, comparison)
        axes.set(xlabel="pixels seen by the trials [million]", ylabel="hypervolume")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:g}"))
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_xlim(left=0)
    return figure


def _draw_group_curves(axes: Axes, comparison: GroupComparison) -> None:
    for group, colour in zip(comparison.groups, COLOURS * len(comparison.groups), strict=False):
        curve = group_curve(comparison, group)
        axes.step(curve.costs, curve.hypervolumes, where="post", color=colour, label=short_text(group.value))
    # All groups have spent this much: up to here they compare at equal cost.
    equal = min(group.total for group in comparison.groups)
    axes.axvline(equal, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_title(f"each {path_label(comparison.path)} alone")
    axes.legend(frameon=False, loc="lower right", fontsize=9)


def draw_bands(comparison: GroupComparison, bands: Mapping[str, Band], goals: Goals) -> Figure:
    """Draw each group's front with its band over validation images; of several seeds, what all, half and any reach."""
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in goals.directions])
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        axes = figure.add_subplot()
        vertical, horizontal = goals.objectives[:2]
        axes.set(xlabel=directed(horizontal), ylabel=directed(vertical))
        axes.grid(color="#dddddd", linewidth=0.6)
        for group, colour in zip(comparison.groups, COLOURS * len(comparison.groups), strict=False):
            band, surfaces = bands.get(group.value), seed_surfaces(group, signs)
            if band is not None:
                axes.fill_between(band.across, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
                middle = (band.low + band.high) / 2
                axes.plot(band.across, middle, color=colour, label=short_text(group.value))
            for surface, style in zip(surfaces or (), ("--", "-.", ":"), strict=False):
                corners = surface[np.argsort(surface[:, 1])]
                where: Any = "post" if horizontal.direction == "minimize" else "pre"
                axes.step(corners[:, 1], corners[:, 0], where=where, color=colour, linestyle=style, linewidth=1)
        if comparison.groups and bands:
            axes.legend(title=path_label(comparison.path), frameon=False, fontsize=9)
        else:
            _mark_empty(axes)
    return figure


def draw_slices(
    results: Results, importances: Mapping[str, Mapping[str, float]], names: Sequence[str] | None = None
) -> Figure:
    """Draw each objective of every trial's last point against each sampled setting, the most important first.

    Args:
        results: the study.
        importances: of each setting, by objective (`search.importance`); empty where unknown.
        names: the settings to show; None for all that were sampled and differ.
    """
    trials = last_points(results.points)
    objectives = results.objectives[:2]
    names = list(ranked_settings(results, importances) if names is None else names)[:MOST_SLICES]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(max(3.0, 2.3 * len(names)) + 0.6, 4.6), layout="constrained")
        grid = figure.subplots(2, max(1, len(names)), squeeze=False, sharey="row")
        for row, objective in zip(grid, objectives, strict=True):
            row[0].set_ylabel(f"{metric_name(objective)} [{objective.unit}]".replace(" []", ""))
            for axes, name in zip(row, names, strict=False):
                _draw_slice(axes, trials, name, objective, importances.get(objective.metric, {}).get(name))
        for axes, name in zip(grid[1], names, strict=False):
            axes.set_xlabel(path_label(name))
        if not names:
            _mark_empty(grid[0, 0])
    return figure


def ranked_settings(results: Results, importances: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the sampled settings that differ between trials, by their largest importance for any objective."""
    sampled = [column.removeprefix("param.") for column in results.trials if column.startswith("param.")]
    varied = [name for name in sampled if results.trials[f"param.{name}"].nunique(dropna=False) > 1]
    return sorted(varied, key=lambda name: -max((found.get(name, 0.0) for found in importances.values()), default=0.0))


def _draw_slice(axes: Axes, points: pd.DataFrame, name: str, objective: Objective, share: float | None) -> None:
    values = np.asarray(group_values(points, name), dtype=object)
    numbers = pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(dtype=np.float64)
    if np.isfinite(numbers).all() and len(set(values)) > FEW_VALUES:
        across = numbers
        if across.min() > 0 and across.max() / across.min() >= LOG_RATIO:
            axes.set_xscale("log")
            # The usual labels of powers are formulas, which are off: names may hold "$".
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        kinds = sorted(set(values), key=natural_order)
        across = np.array([kinds.index(value) for value in values], dtype=np.float64)
        axes.set_xticks(range(len(kinds)), [short_text(kind, 12) for kind in kinds])
        axes.set_xlim(-0.5, len(kinds) - 0.5)
    axes.plot(across, points[objective.metric], "o", color=COLOURS[0], alpha=0.6, markersize=4)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    if share is not None:
        axes.set_title(f"explains {share:.0%}", fontsize=9)


def draw_compute(results: Results) -> Figure:
    """Draw the device time by use: shared stages, trials by how they ended, evaluation of interpolations."""
    parts = compute_parts(results)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(7.2, 0.55 * max(1, len(parts)) + 0.9), layout="constrained")
        axes = figure.add_subplot()
        total = sum(parts.values())
        unit, name = (3600.0, "device-hours") if total > 3600 else (1.0, "device-seconds")
        bars = axes.barh(list(parts), [value / unit for value in parts.values()], color=[*map(_colour, parts)])
        axes.bar_label(bars, [f" {value / total:.0%}" for value in parts.values()], fontsize=9)
        axes.set_xlabel(name)
        axes.margins(x=0.12)
        axes.invert_yaxis()
        if not parts:
            _mark_empty(axes)
    return figure


def compute_parts(results: Results) -> dict[str, float]:
    """Return device-seconds by use; uses without any are left out."""
    artifacts, trials = results.artifacts, results.trials
    parts = {f"stage {stage}": _sum(part) for stage, part in artifacts.groupby("stage", sort=True)}
    parts |= {f"trials {state}": _sum(part) for state, part in trials.groupby("state", sort=True)}
    parts["evaluation of interpolations"] = _sum(results.points[results.points["kind"] == "interpolation"])
    return {name: seconds for name, seconds in parts.items() if seconds > 0}


def _sum(part: pd.DataFrame) -> float:
    return float(part["device_seconds"].sum())


def _colour(name: str) -> str:
    return COLOURS[2] if name.startswith("stage") else COLOURS[0] if name.startswith("trials") else COLOURS[5]


def _mark_empty(axes: Axes) -> None:
    axes.text(0.5, 0.5, "no data yet", transform=axes.transAxes, ha="center", va="center", color="#555555")
