"""The tables of a report as text cells: of the page, of LaTeX files and of notebooks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.formatting import (
    NOTHING,
    count_text,
    duration_text,
    interpolation_text,
    metric_head,
    metric_name,
    metric_text,
    number_text,
    path_heads,
    path_label,
    short_text,
)
from analysis.statistics.dominance import Comparison
from analysis.statistics.fronts import front_of, group_fronts, group_values, is_interpolation
from analysis.statistics.tables import Results, metric_columns
from study.record.metadata import ImageSetInfo, StudyMetadata


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table ready to print: a caption, column heads and rows of text; the first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def front_table(results: Results, paths: Sequence[str]) -> TextTable:
    """Make a row per point of the front, highest fidelity first: its config at these paths, and every metric."""
    front = front_of(results.points, results.goals)
    metrics = metric_columns(results)
    settings = {path: group_values(front, path) for path in paths}
    interpolated = bool(is_interpolation(front).any())
    rows = [
        (
            *_point_cells(point),
            *([interpolation_text(point)] if interpolated else []),
            *(_setting_text(point, settings[path][index]) for path in paths),
            *(metric_text(point[metric]) for metric in metrics),
        )
        for index, point in front.iterrows()
    ]
    heads = (*(["interpolation"] if interpolated else []), *path_heads(paths))
    return TextTable(
        caption="The front",
        columns=("trial", "iteration", *heads, *(metric_head(results.objectives, metric) for metric in metrics)),
        rows=tuple(rows),
    )


def group_table(results: Results, path: str) -> TextTable:
    """Make a row per group of trials that share a value: their front, its hypervolume, and what they cost."""
    rows = [
        (
            short_text(group.value),
            str(group.trials),
            str(group.points),
            str(len(group.front)),
            metric_text(group.hypervolume),
            duration_text(group.seconds_per_iteration),
            duration_text(group.device_seconds),
        )
        for group in group_fronts(results.points, results.goals, path)
    ]
    heads = ("trials", "points", "on own front", "hypervolume", "time per iteration", "device time")
    return TextTable(caption=f"By {path_label(path)}", columns=(path_label(path), *heads), rows=tuple(rows))


def comparison_table(comparisons: Sequence[Comparison], caption: str = "Groups at equal budget") -> TextTable:
    """Make a row per pair of groups: the difference with its interval and probability."""
    rows = tuple(
        (
            f"{short_text(each.one)} against {short_text(each.other)}",
            *map(metric_text, each.volumes),
            _signed(each.difference.estimate),
            _range(each),
            *map(percent, each.likelihoods),
        )
        for each in comparisons
    )
    heads = ("hypervolume of the first", "of the second", "difference", "95% interval", "first larger")
    return TextTable(caption=caption, columns=("pair", *heads, "first dominates", "second dominates"), rows=rows)


def trial_table(results: Results) -> TextTable:
    """Make a row per trial: its state with the cause, what was sampled, its best values."""
    trials, objectives = results.trials, results.objectives
    params = [column for column in trials if column.startswith("param.")]
    rows = [
        (
            str(trial["trial"]),
            trial["state"],
            _cell(trial["cause"]),
            *(_cell(trial[column]) for column in params),
            str(trial["points"]),
            *(
                metric_text(trial[f"best.{objective.metric}"]) if trial["points"] else NOTHING
                for objective in objectives
            ),
            duration_text(_seconds(trial["device_seconds"])),
        )
        for _, trial in trials.iterrows()
    ]
    heads = ("trial", "state", "cause", *path_heads([column.removeprefix("param.") for column in params]), "points")
    best = tuple(f"best {metric_name(objective)}" for objective in objectives)
    return TextTable(
        caption="State, settings and best values of every trial",
        columns=(*heads, *best, "device time"),
        rows=tuple(rows),
    )


def artifact_table(results: Results) -> TextTable:
    """Make a row per artifact: how often it was trained, how many trials use it, what it cost."""
    rows = [
        (
            artifact["key"],
            artifact["stage"],
            artifact["state"],
            _cell(artifact["cause"]),
            str(artifact["trained"]),
            str(artifact["uses"]),
            _cell(artifact["iterations"]),
            duration_text(_seconds(artifact["device_seconds"])),
        )
        for _, artifact in results.artifacts.iterrows()
    ]
    heads = ("artifact", "stage", "state", "cause", "trained here", "uses", "iterations", "device time")
    return TextTable(caption="Shared artifacts", columns=heads, rows=tuple(rows))


def provenance_table(metadata: StudyMetadata) -> TextTable:
    """Make a row per fact about where the numbers come from."""
    rows = (
        ("study", metadata.name),
        ("search space", metadata.search.space),
        ("recipe", metadata.recipe),
        ("size", metadata.size),
        ("task", metadata.task),
        ("seed", str(metadata.search.seed)),
        ("code version", metadata.code_version),
        ("training images", _image_set_text(metadata.images["train"])),
        ("validation images", _image_set_text(metadata.images["val"])),
    )
    return TextTable(caption="Study and data", columns=("what", "value"), rows=rows)


def percent(share: float) -> str:
    """Return a probability; one that a thousand draws cannot distinguish from 0 or 1 as a bound."""
    if math.isnan(share):
        return NOTHING
    return "> 99.9%" if share > 0.999 else "< 0.1%" if share < 0.001 else f"{share:.1%}"


def _image_set_text(info: ImageSetInfo) -> str:
    return f"{info.name}, {count_text(len(info.images), 'image')}, fingerprint {info.fingerprint}"


def _point_cells(point: pd.Series) -> tuple[str, str]:
    return ("fidelity", NOTHING) if pd.isna(point["trial"]) else (str(point["trial"]), _cell(point["iteration"]))


def _setting_text(point: pd.Series, value: str) -> str:
    # What a study varies after the fidelity stage does not apply to a fidelity generator, whatever its config.
    return NOTHING if pd.isna(point["trial"]) else short_text(value)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return NOTHING
    if isinstance(value, str):
        return short_text(value, 300)
    return number_text(value if isinstance(value, int | bool) else float(value))


def _seconds(value: Any) -> float:
    return float("nan") if pd.isna(value) else float(value)


def _signed(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:+.3g}"


def _range(each: Comparison) -> str:
    low, high = _signed(each.difference.low), _signed(each.difference.high)
    return NOTHING if NOTHING in (low, high) else f"{low} to {high}"
