"""Effects of the loss terms' weights: their importances, their ranges on the front, pairs of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.figures.plots import SETTINGS, directed
from analysis.figures.study import LOG_RATIO
from analysis.formatting import NOTHING, metric_name, number_text, path_label
from analysis.page.tables import TextTable
from analysis.statistics.fronts import is_interpolation, is_of_trial, last_points
from analysis.statistics.tables import Results
from study.record.goals import Objective

Importances = Mapping[str, Mapping[str, float]]
"""By objective, then by config path."""
PREFIX = "loss."


def weight_paths(results: Results, importances: Importances) -> list[str]:
    """Return the loss terms' weights that differ between trials, by their largest importance for any objective."""
    trials = last_points(results.points)
    columns = [name for name in trials if name.startswith(f"config.{PREFIX}") and _is_number(trials[name])]
    paths = [name.removeprefix("config.") for name in columns if trials[name].nunique() > 1]
    return sorted(paths, key=lambda path: -max((found.get(path, 0.0) for found in importances.values()), default=0.0))


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def weight_table(results: Results, importances: Importances) -> TextTable:
    """Make a row per weight: its importance for each objective, its range in all trials and in those on the front.

    The last row has the importance of all settings other than loss weights.
    """
    paths, objectives = weight_paths(results, importances), results.objectives
    trials = last_points(results.points)
    chosen = trials[trials["trial"].isin(front_trials(results))]
    rows: list[tuple[str, ...]] = [
        (
            path,
            *(_share(importances.get(axis.metric, {}).get(path)) for axis in objectives),
            *_range(trials[f"config.{path}"]),
            *_range(chosen[f"config.{path}"]),
        )
        for path in paths
    ]
    if rows and any(importances.values()):
        rest = [_rest(importances.get(axis.metric, {}), paths) for axis in objectives]
        rows.append(("all other settings", *map(_share, rest), *[NOTHING] * 4))
    heads = (*(f"explains of {metric_name(axis)}" for axis in objectives), "lowest tried", "highest tried")
    return TextTable(
        caption="The weights of the loss terms",
        columns=("weight", *heads, "lowest on the front", "highest on the front"),
        rows=tuple(rows),
    )


def front_trials(results: Results) -> list[int]:
    """Return the trials that have a point, or an interpolation, on the front."""
    points = results.points
    members = points[(is_of_trial(points) | is_interpolation(points)) & points["front"].to_numpy(dtype=bool)]
    return sorted(int(trial) for trial in members["trial"].dropna().unique())


def _rest(found: Mapping[str, float], paths: Sequence[str]) -> float | None:
    return sum(share for path, share in found.items() if path not in paths) if found else None


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0%}"


def _range(values: pd.Series) -> tuple[str, str]:
    known = values.dropna()
    if not len(known):
        return NOTHING, NOTHING
    return number_text(float(known.min()), 3), number_text(float(known.max()), 3)


def draw_pair(results: Results, across: str, up: str) -> Figure:
    """Draw the last point of each trial by two of its weights, coloured by each objective; brighter is better.

    Trials with a point on the front are ringed.
    """
    trials = last_points(results.points)
    trials = trials[trials[f"config.{across}"].notna() & trials[f"config.{up}"].notna()]
    on_front = trials["trial"].isin(front_trials(results)).to_numpy(dtype=bool)
    objectives = results.objectives[:2]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9.4, 4.0), layout="constrained")
        figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr,call-arg]
        for axes, objective in zip(figure.subplots(1, 2, sharex=True, sharey=True), objectives, strict=True):
            _draw_objective(axes, trials, (across, up), objective, on_front)
            axes.set_xlabel(path_label(across))
            axes.grid(color="#e5e5e5", linewidth=0.6)
            axes.set_axisbelow(True)
        figure.axes[0].set_ylabel(path_label(up))
    return figure


def _draw_objective(
    axes: Axes, trials: pd.DataFrame, paths: tuple[str, str], objective: Objective, on_front: np.ndarray
) -> None:
    right, up = (trials[f"config.{path}"].to_numpy(dtype=np.float64) for path in paths)
    for axis, scale, values in ((axes.xaxis, axes.set_xscale, right), (axes.yaxis, axes.set_yscale, up)):
        if len(values) and values.min() > 0 and values.max() / values.min() >= LOG_RATIO:
            scale("log")
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
    colours: Any = "viridis" if objective.direction == "maximize" else "viridis_r"
    measured = trials[objective.metric].to_numpy(dtype=np.float64)
    marks = axes.scatter(right, up, c=measured, cmap=colours, s=60, edgecolors="white", linewidths=0.5)
    axes.scatter(right[on_front], up[on_front], s=130, facecolors="none", edgecolors="black")
    axes.figure.colorbar(marks, ax=axes, label=directed(objective))
