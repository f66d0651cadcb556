"""Tables of groups side by side: metrics of their front members, pairwise comparisons, the cost of an iteration."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.formatting import (
    NOTHING,
    duration_text,
    metric_head,
    metric_text,
    number_text,
    path_label,
    short_text,
)
from analysis.page.tables import TextTable, percent
from analysis.statistics.dominance import Comparison
from analysis.statistics.fronts import GroupFront, group_fronts, group_values, last_points, natural_order
from analysis.statistics.tables import Results, metric_columns
from study.record.events import ArtifactEnded


def metrics_table(results: Results, path: str) -> TextTable:
    """Make a row per group: mean and range of every metric of the members of its own front."""
    names = metric_columns(results)
    rows = [
        (short_text(group.value), str(len(group.front)), *(_spread(group.front[name]) for name in names))
        for group in _with_front(results, path)
    ]
    heads = ("on own front", *(metric_head(results.objectives, name) for name in names))
    caption = f"Front members by {path_label(path)}: mean (lowest to highest) of each metric"
    return TextTable(caption=caption, columns=(path_label(path), *heads), rows=tuple(rows))


def _with_front(results: Results, path: str) -> list[GroupFront]:
    return [group for group in group_fronts(results.points, results.goals, path) if len(group.front)]


def _spread(values: pd.Series) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return NOTHING
    if len(known) == 1:
        return metric_text(float(known.iloc[0]))
    low, high = metric_text(float(known.min())), metric_text(float(known.max()))
    return f"{metric_text(float(known.mean()))} ({low} to {high})"


def win_table(comparisons: Sequence[Comparison], path: str) -> TextTable:
    """Make a square of probabilities that the row's hypervolume is larger than the column's, at equal cost."""
    caption = f"Probability that the row's hypervolume is larger than the column's, by {path_label(path)}"
    return _matrix(comparisons, path, caption, lambda each: (each.likelihoods[0], 1 - each.likelihoods[0]))


def dominance_table(comparisons: Sequence[Comparison], path: str) -> TextTable:
    """Make a square of the shares of draws in which the row's front dominates the column's, at equal cost."""
    caption = f"Share of draws in which the row's front dominates the column's, by {path_label(path)}"
    return _matrix(comparisons, path, caption, lambda each: each.likelihoods[1:])


def _matrix(
    comparisons: Sequence[Comparison], path: str, caption: str, shares: Callable[[Comparison], tuple[float, float]]
) -> TextTable:
    """Make a square from pairs, with dashes on its diagonal."""
    cells: dict[tuple[str, str], float] = {}
    for each in comparisons:
        cells[each.one, each.other], cells[each.other, each.one] = shares(each)
    names = sorted({name for pair in cells for name in pair}, key=natural_order)
    rows = [
        (short_text(row), *(NOTHING if row == column else percent(cells[row, column]) for column in names))
        for row in names
    ]
    return TextTable(caption=caption, columns=(path_label(path), *map(short_text, names)), rows=tuple(rows))


def iteration_cost_table(results: Results, path: str) -> TextTable:
    """Make a row per group: the cost of an iteration, over the trials that did not fail."""
    trials = last_points(results.points)
    values = np.asarray(group_values(trials, path), dtype=object)
    rows = [_iteration_cost_row(value, trials[values == value]) for value in sorted(set(values), key=natural_order)]
    heads = ("trials", "batch", "pixels per iteration", "time per iteration", "million pixels per second")
    caption = f"Cost of an iteration, by {path_label(path)}"
    return TextTable(caption=caption, columns=(path_label(path), *heads), rows=tuple(rows))


def _iteration_cost_row(value: str, trials: pd.DataFrame) -> tuple[str, ...]:
    batches = sorted(set(group_values(trials, "budget.batch")), key=natural_order)
    timed = trials[trials[["iterations", "pixels_seen", "device_seconds"]].notna().all(axis=1)]
    iterations, pixels, seconds = (float(timed[name].sum()) for name in ("iterations", "pixels_seen", "device_seconds"))
    return (
        short_text(value),
        str(len(trials)),
        short_text(", ".join(batches)),
        number_text(round(pixels / iterations)) if iterations else NOTHING,
        duration_text(seconds / iterations if iterations else math.nan),
        number_text(pixels / seconds / 1e6, 3) if seconds else NOTHING,
    )


def cross_table(results: Results, path: str, second: str) -> TextTable:
    """Count the trials that did not fail by group and by the values of a second setting."""
    trials = last_points(results.points)
    counts = pd.crosstab(group_values(trials, path).to_numpy(), group_values(trials, second).to_numpy())
    values = sorted(counts.columns, key=natural_order)
    rows = [
        (short_text(group), *(str(counts.loc[group, value]) for value in values))
        for group in sorted(counts.index, key=natural_order)
    ]
    heads = (f"{path_label(second)} {short_text(value)}" for value in values)
    caption = f"Trials by {path_label(path)} and {path_label(second)}"
    return TextTable(caption=caption, columns=(path_label(path), *heads), rows=tuple(rows))


def autoencoder_table(results: Results) -> TextTable:
    """Make a row per auto-encoder: its bottleneck, metrics of auto-encoded validation HR images, uses and cost.

    Their PSNR is the fidelity that an image loses in the auto-encoder.
    """
    last = results.record.last_artifacts
    artifacts = results.artifacts[results.artifacts["stage"] == "autoencoder"].to_dict("records")
    measured = list(dict.fromkeys(name for artifact in artifacts for name in last[artifact["key"]].metrics))
    rows = [_autoencoder_row(artifact, last[artifact["key"]], measured) for artifact in artifacts]
    rows.sort(key=lambda row: (natural_order(row[1]), natural_order(row[2])))
    heads = ("bottleneck channels", "factor", *(metric_head(results.objectives, name) for name in measured))
    return TextTable(
        caption="Auto-encoded HR images against the HR images",
        columns=("auto-encoder", *heads, "trials", "training"),
        rows=tuple(rows),
    )


def _autoencoder_row(artifact: dict[str, Any], event: ArtifactEnded, measured: Sequence[str]) -> tuple[str, ...]:
    config = event.config.get("autoencoder") or {}
    return (
        short_text(str(artifact["key"]), 24),
        *(short_text(str(config.get(name, NOTHING))) for name in ("bottleneck_channels", "factor")),
        *(metric_text(event.metrics.get(name, math.nan)) for name in measured),
        str(artifact["uses"]),
        duration_text(float(artifact["training_seconds"])),
    )
