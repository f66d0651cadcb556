"""The data of the page's chart, as plain types for JSON: `templates/chart.js` draws it and formats nothing."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.crops import HR_SAMPLES, CropRow, embed, sample_name, spread
from analysis.figures.plots import (
    COLOURS,
    FRONT_COLOUR,
    MARKERS,
    Style,
    axis_text,
    is_shown,
    shown_limits,
    style_of,
)
from analysis.formatting import (
    NOTHING,
    count_text,
    metric_head,
    metric_name,
    metric_text,
    path_heads,
    path_label,
    point_name,
    short_text,
)
from analysis.statistics.fronts import (
    NO_VALUE,
    front_of,
    group_fronts,
    group_values,
    is_allowed,
    is_candidate,
    is_interpolation,
    is_measured,
    is_of_trial,
    is_reference,
)
from analysis.statistics.tables import Results, metric_columns, sampled_paths
from study.record.goals import Goals, Objective

Bands = Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""By (config path, value): x, low and high of the band around that group's front, each of shape (n,)."""

# Beyond these, the fronts, last points and references, points are drawn without details.
MAX_OTHERS = 300
MAX_CROPPED_POINTS = 40
_MAX_CROP_BYTES = 2_000_000
_STEPS = 20_000  # of an axis: finer than any screen

_Limits = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class _Frame:
    """The axes.

    Attributes:
        goals: of the study.
        limits: (low, high) upwards, then sideways.
    """

    goals: Goals
    limits: _Limits

    def xy(self, points: pd.DataFrame) -> list[tuple[float, float]]:
        """Return points as rounded pairs; far ones are moved to just outside, so that lines keep their direction."""
        up, across = (objective.metric for objective in self.goals.objectives[:2])
        y = self._rounded(points[up].to_numpy(dtype=float), self.limits[0])
        x = self._rounded(points[across].to_numpy(dtype=float), self.limits[1])
        return list(zip(x, y, strict=True))

    def band(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, list[float]]:
        """Return a band without the places where it is unknown."""
        known = ~(np.isnan(x) | np.isnan(low) | np.isnan(high))
        up, across = self.limits
        return {
            "x": self._rounded(x[known], across),
            "low": self._rounded(low[known], up),
            "high": self._rounded(high[known], up),
        }

    @staticmethod
    def _rounded(values: np.ndarray, limits: tuple[float, float]) -> list[float]:
        low, high = limits
        width = high - low
        digits = max(0, math.ceil(-math.log10(width / _STEPS)))
        near: np.ndarray = np.clip(values, low - width, high + width).round(digits)
        return near.tolist()


def chart_data(
    run_dir: Path, results: Results, *, crop_rows: Sequence[CropRow] = (), bands: Bands | None = None
) -> dict[str, Any] | None:
    """Collect the interactive chart's data; None where no point was measured.

    Points on a front, each trial's last point, references and up to `MAX_OTHERS` more have details; the others are flat
    arrays. All values are text or rounded numbers, also where a study has NaN.

    Args:
        run_dir: of the study, with its sample crops.
        results: the study.
        crop_rows: pictures that the page embeds anyway; the chart adds only others.
        bands: uncertainty of the groups' fronts, where known.
    """
    goals = results.goals
    measured = results.points[is_measured(results.points, goals)]
    if not len(measured):
        return None
    frame = _Frame(goals, shown_limits(results.points, goals))
    groupings = [_Grouping(measured, goals, path) for path in results.groups or ("",)]
    detailed = _detailed(measured, goals, frame.limits, groupings)
    pictures = _pictures(run_dir, results, crop_rows, groupings)
    settings = sampled_paths(results)
    return {
        "axes": {name: _axis(results.objectives[place], frame.limits[place]) for name, place in (("x", 1), ("y", 0))},
        "metrics": [metric_head(results.objectives, metric) or NOTHING for metric in metric_columns(results)],
        "settings": list(path_heads(settings)),
        "trials": _trials(results, detailed, settings),
        "points": _points(results, detailed, frame, groupings),
        "background": _background(measured, frame, groupings, detailed),
        "groupings": [grouping.data(frame, bands or {}) for grouping in groupings],
        "front": frame.xy(front_of(results.points, goals)),
        "front_colour": FRONT_COLOUR,
        "images": [row.image for row in crop_rows],
        "hr": HR_SAMPLES,
        "pictures": pictures,
        "note": _note(measured, goals, frame.limits, detailed),
    }


class _Grouping:
    """The points split by one config path, with the style of each part.

    Attributes:
        positions: each point's group, by its place among the values; -1 for none.
        on_front: rows of the points on the fronts of the groups.
    """

    def __init__(self, points: pd.DataFrame, goals: Goals, path: str) -> None:
        trials = points[is_candidate(points) & is_of_trial(points)]
        self.path = path
        self.colours: Style = style_of(trials, goals, path, COLOURS)
        self.markers: Style = style_of(trials, goals, path, MARKERS)
        self.fronts = [group.front for group in group_fronts(trials, goals, path)] if path else []
        values = group_values(points, path) if path else pd.Series(NO_VALUE, index=points.index)
        positions = {value: position for position, value in enumerate(self.colours.values)}
        self.positions = values.map(positions).fillna(-1).astype(int)
        self.on_front = frozenset(index for front in self.fronts for index in front.index)

    def data(self, frame: _Frame, bands: Bands) -> dict[str, Any]:
        groups = [self._group(frame, bands, position) for position in range(len(self.colours.values))]
        return {"path": self.path, "label": path_label(self.path) if self.path else "", "groups": groups}

    def _group(self, frame: _Frame, bands: Bands, position: int) -> dict[str, Any]:
        value = self.colours.values[position]
        band = bands.get((self.path, value))
        return {
            "value": value,
            "label": short_text(value) if self.path else "all trials",
            "colour": self.colours[value],
            "marker": self.markers[value],
            "front": frame.xy(self.fronts[position]) if self.fronts else [],
            "band": frame.band(*band) if band is not None else None,
        }


def point_id(point: pd.Series) -> str:
    """Return a point's name for links: the same in every page of a study, and safe in a URL."""
    if point["kind"] == "trial":
        return f"t{point['trial']}.{point['iteration']}"
    return f"{point['kind'][0]}{hashlib.sha256(str(point['name']).encode('utf-8', 'replace')).hexdigest()[:10]}"


def _detailed(measured: pd.DataFrame, goals: Goals, limits: _Limits, groupings: Sequence[_Grouping]) -> pd.DataFrame:
    """Choose the points with details, of those that are drawn."""
    drawn = measured[(is_candidate(measured) | is_reference(measured)) & is_shown(measured, goals, limits)]
    trials = drawn[is_of_trial(drawn)]
    last = trials.loc[trials.groupby("trial")["iteration"].idxmax()].index
    on_front = frozenset(index for grouping in groupings for index in grouping.on_front)
    wanted = (
        drawn["front"].to_numpy(dtype=bool) | drawn.index.isin(last) | drawn.index.isin(on_front) | is_reference(drawn)
    )
    return pd.concat([drawn[wanted], spread(drawn[~wanted], MAX_OTHERS)]).sort_index()


def _axis(objective: Objective, limits: tuple[float, float]) -> dict[str, Any]:
    low, high = limits
    name, better = axis_text(objective), "high" if objective.direction == "maximize" else "low"
    return {"title": name, "name": metric_name(objective), "better": better, "low": low, "high": high}


def _trials(results: Results, detailed: pd.DataFrame, settings: Sequence[str]) -> dict[str, Any]:
    """Return state, cause and settings of each trial that has a point with details, by number."""
    rows = detailed[detailed["trial"].notna()].drop_duplicates("trial")
    values = [group_values(rows, path) for path in settings]
    causes = results.trials.set_index("trial")["cause"]
    trials = {}
    for index, row in rows.iterrows():
        cause = causes.get(row["trial"])
        trials[str(row["trial"])] = {
            "state": row["state"],
            "cause": short_text(cause, 300) if isinstance(cause, str) else "",
            "settings": [short_text(column[index]) for column in values],
        }
    return trials


def _points(
    results: Results, detailed: pd.DataFrame, frame: _Frame, groupings: Sequence[_Grouping]
) -> list[dict[str, Any]]:
    metrics = metric_columns(results)
    allowed = is_allowed(detailed, results.goals)
    points = []
    for place, (row, (index, point)) in enumerate(zip(frame.xy(detailed), detailed.iterrows(), strict=True)):
        fronts = [position for position, grouping in enumerate(groupings) if index in grouping.on_front]
        points.append(
            {
                "id": point_id(point),
                "kind": point["interpolation.space"] if point["kind"] == "interpolation" else point["kind"],
                "label": point_name(point),
                "x": row[0],
                "y": row[1],
                "trial": None if pd.isna(point["trial"]) else str(point["trial"]),
                "groups": [int(grouping.positions[index]) for grouping in groupings],
                "front": bool(point["front"]),
                "fronts": fronts,
                "status": _status(point, [groupings[position] for position in fronts], allowed=allowed[place]),
                "metrics": [metric_text(point[metric]) for metric in metrics],
                "samples": point["samples"] if isinstance(point["samples"], str) else None,
            }
        )
    return points


def _status(point: pd.Series, groupings: Sequence[_Grouping], *, allowed: bool) -> str:
    """Return which fronts a point is on."""
    if point["kind"] in ("bicubic", "input"):
        return "for comparison"
    if not allowed:
        return "violates a constraint of the study"
    groups = " and ".join(path_label(grouping.path) for grouping in groupings)
    if point["front"]:
        return "on the front of all points"
    return f"on the front of its {groups} alone" if groups else "off the front"


def _background(
    measured: pd.DataFrame, frame: _Frame, groupings: Sequence[_Grouping], detailed: pd.DataFrame
) -> dict[str, Any]:
    """Return the path of each trial, and the points without details."""
    drawn = measured[is_candidate(measured)]
    trials = []
    for _, rows in drawn[is_of_trial(drawn)].groupby("trial", sort=True):
        trials.append(
            {
                "groups": [int(grouping.positions[rows.index[0]]) for grouping in groupings],
                "xy": [value for pair in frame.xy(rows) for value in pair],
                "detailed": np.flatnonzero(rows.index.isin(detailed.index)).tolist(),
            }
        )
    rest = drawn[is_interpolation(drawn) & ~drawn.index.isin(detailed.index)]
    rest = rest[is_shown(rest, frame.goals, frame.limits)]
    return {"trials": trials, "interpolations": [value for pair in frame.xy(rest) for value in pair]}


def _pictures(
    run_dir: Path, results: Results, crop_rows: Sequence[CropRow], groupings: Sequence[_Grouping]
) -> dict[str, str]:
    """Embed the samples of all fronts that the page lacks, one image of all points after the other, while they fit."""
    there = {crop.sample for row in crop_rows for crop in row.crops}
    members = spread(front_of(results.points, results.goals), MAX_CROPPED_POINTS)
    references = results.points[is_reference(results.points)]
    on_groups = sorted({index for grouping in groupings for index in grouping.on_front})
    groups = spread(results.points.loc[on_groups], MAX_CROPPED_POINTS)
    pictures: dict[str, str] = {}
    room = _MAX_CROP_BYTES
    for image in (row.image for row in crop_rows):
        for directory in dict.fromkeys(pd.concat([members, references, groups])["samples"].dropna()):
            name = sample_name(directory, image)
            uri = embed(run_dir, directory, image) if name not in there else None
            if uri is not None and len(uri) <= room:
                pictures[name] = uri
                room -= len(uri)
    return pictures


def _note(measured: pd.DataFrame, goals: Goals, limits: _Limits, detailed: pd.DataFrame) -> str:
    """Say how many points the chart shows without details."""
    others = measured[is_candidate(measured) & ~measured.index.isin(detailed.index)]
    count = int(is_shown(others, goals, limits).sum())
    return f"{count_text(count, 'point')} off the fronts are small dots without details." if count else ""
