"""The tables of a study: their columns, their rows, and the only code that reads and writes their Parquet files."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from study.config import flatten
from study.files import write_atomically
from study.record.events import InterpolationEvaluated, PointEvaluated, ReferenceEvaluated
from study.record.goals import Goals
from study.record.metadata import RunDirectoryError
from study.record.points import Distribution, FidelityPoint, Spent
from study.record.state import StudyRecord

Evaluated = ReferenceEvaluated | PointEvaluated | InterpolationEvaluated
DISTRIBUTIONS: TypeAdapter[dict[str, Distribution]] = TypeAdapter(dict[str, Distribution])
"""Reads and writes the column `distributions` of the trials: JSON by config path."""
_COST = {"iterations": "Int64", "pixels_seen": "Int64", "device_seconds": "float64", "peak_gib": "float64"}
"""Of a trial's or an artifact's own stage, upstream stages not included; null where nothing was recorded."""
_UPSTREAM = {"artifact.fidelity": "string", "artifact.autoencoder": "string"}


@dataclass(frozen=True)
class TableSchema:
    """A table's file and columns.

    Attributes:
        file: its name in the folder of a report.
        columns: those that every study has, in order, with their pandas types.
        prefixes: of further columns, typed by their values; lists are JSON.
        metrics: whether each metric has a column of its own name as well, float64, NaN where it is missing.
    """

    file: str
    columns: Mapping[str, str]
    prefixes: tuple[str, ...] = ()
    metrics: bool = False


POINTS = TableSchema(
    "points.parquet",
    {
        "trial": "Int64",  # null for references and for interpolations between fidelity generators
        "kind": "string",  # trial, interpolation, fidelity, bicubic or input
        "name": "string",  # of a reference or an interpolation
        "state": "string",  # of the trial
        "iteration": "Int64",
        "front": "boolean",
        "group_front": "string",  # the group on whose own front a trial's point is
        **_COST,
        "samples": "string",  # folder of the sample crops, relative to the run directory
        "interpolation.space": "string",
        "interpolation.share": "float64",  # of the point that the row names by trial and iteration
        "interpolation.with": "string",  # the other parent
    },
    ("term.", "artifact.", "config."),
    metrics=True,
)
"""A row per point: references first, then trials by number and iteration, then interpolations."""
IMAGES = TableSchema(
    "images.parquet",
    {
        "point": "int64",  # row of the points table
        "trial": "Int64",
        "kind": "string",
        "name": "string",
        "iteration": "Int64",
        "image": "string",
    },
    metrics=True,
)
"""A row per point and validation image."""
TRIALS = TableSchema(
    "trials.parquet",
    {
        "trial": "Int64",
        "state": "string",
        "cause": "string",
        "points": "Int64",
        **_COST,
        "overhead_seconds": "float64",
        "warm": "boolean",
        "waited": "boolean",
        "distributions": "string",  # JSON by config path
    },
    ("best.", "artifact.", "param."),
)
"""A row per trial, by number, whether or not it reached a point; the cost is that of its last point."""
ARTIFACTS = TableSchema(
    "artifacts.parquet",
    {
        "key": "string",
        "stage": "string",
        "state": "string",
        "cause": "string",
        "trained": "Int64",  # how often in this study
        "uses": "Int64",  # trials that start from it
        **_COST,  # in this study
        "training_seconds": "float64",  # device-seconds of its training, here or in another study
    },
)
"""A row per artifact."""


def write_table(folder: Path, schema: TableSchema, table: pd.DataFrame) -> Path:
    """Write a table atomically and return its file; StorageError if the file system refuses."""
    path = folder / schema.file
    write_atomically(path, table.to_parquet(index=False))
    return path


def read_table(folder: Path, schema: TableSchema, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table, or some of its columns.

    Raises:
        RunDirectoryError: the file is missing or lacks one of the columns, and how to make it.
    """
    import pyarrow.parquet as parquet

    path = folder / schema.file
    remedy = f"make it with: python analysis/report.py {shlex.quote(str(folder))}"
    if not path.is_file():
        raise RunDirectoryError(f"{path} does not exist; {remedy}")
    missing = set(columns or schema.columns) - set(parquet.read_schema(path).names)
    if missing:
        raise RunDirectoryError(f"{path} lacks {', '.join(sorted(missing))}: an older version wrote it; {remedy}")
    return pd.read_parquet(path, columns=None if columns is None else list(columns))


def points_table(record: StudyRecord, objectives: Sequence[str]) -> pd.DataFrame:
    """Make the rows of `POINTS`, with `front` and `group_front` still null.

    Args:
        record: the study's.
        objectives: metrics that have a column even without a point; they come first.
    """
    events = evaluated(record)
    table = _typed_table([_point_row(record, event) for event in events], POINTS.columns)
    names = dict.fromkeys([*objectives, *(name for event in events for name in event.metrics)])
    # A metric keeps its own name as column, so one that is named like another column cannot have one.
    metrics = [name for name in names if name not in (*POINTS.columns, *_UPSTREAM)]
    values = {name: [event.metrics.get(name, np.nan) for event in events] for name in metrics}
    inputs = _inputs_table(_inputs(record, events))
    table = pd.concat([table, pd.DataFrame(values, index=table.index, dtype="float64"), inputs], axis=1)
    lead = ["trial", "kind", "name", "state", "iteration", *metrics]
    return table[[*lead, *(column for column in table.columns if column not in lead)]]


def images_table(record: StudyRecord, points: pd.DataFrame) -> pd.DataFrame:
    """Make the rows of `IMAGES`.

    Args:
        record: the study's.
        points: its `points_table`.
    """
    rows = [
        {**metrics, "point": index, "image": image}
        for index, event in enumerate(evaluated(record))
        for image, metrics in event.images.items()
    ]
    table = pd.DataFrame(rows, columns=None if rows else ["point", "image"])
    identity = ["trial", "kind", "name", "iteration"]
    of_points = points[identity].loc[table["point"].astype("int64")].reset_index(drop=True)
    metrics = [name for name in table.columns if name not in IMAGES.columns]
    types = {"point": "int64", "image": "string", **dict.fromkeys(metrics, "float64")}
    return pd.concat([table[["point"]], of_points, table[["image", *metrics]]], axis=1).astype(types)


def trials_table(record: StudyRecord, goals: Goals) -> pd.DataFrame:
    """Make the rows of `TRIALS`."""
    points: dict[int, list[PointEvaluated]] = {trial: [] for trial in (*record.trials, *record.ends)}
    for event in _trial_points(record):
        points.setdefault(event.point.trial, []).append(event)
    return _typed_table([_trial_row(record, goals, trial, points[trial]) for trial in sorted(points)], TRIALS.columns)


def artifacts_table(record: StudyRecord) -> pd.DataFrame:
    """Make the rows of `ARTIFACTS`."""
    rows: dict[str, dict[str, Any]] = {}
    for event in record.artifacts:
        row = rows.setdefault(event.key, {"trained": 0, **dict.fromkeys(_COST), "uses": record.uses[event.key]})
        row |= {"key": event.key, "stage": event.stage, "state": event.state, "cause": event.cause}
        row["training_seconds"] = event.spent.device_seconds or row.get("training_seconds")
        if not event.reused:
            row["trained"] += event.state == "COMPLETE"
            row |= _cost(event.spent)
    return _typed_table(list(rows.values()), ARTIFACTS.columns)


def evaluated(record: StudyRecord) -> list[Evaluated]:
    """Return the event of each row of the points table."""
    return [*record.references.values(), *_trial_points(record), *record.interpolations.values()]


def _trial_points(record: StudyRecord) -> list[PointEvaluated]:
    return [record.points[point] for point in sorted(record.points, key=lambda each: (each.trial, each.iteration))]


def _point_row(record: StudyRecord, event: Evaluated) -> dict[str, Any]:
    row: dict[str, Any] = {"state": "COMPLETE", "samples": event.samples}
    if isinstance(event, ReferenceEvaluated):
        return {**row, "kind": event.kind, "name": event.name, **_reference_cost(record, event.name)}
    row |= _cost(event.spent)
    if isinstance(event, PointEvaluated):
        terms = {f"term.{name}": value for name, value in event.terms.items()}
        state = record.trial_state(event.point.trial)
        identity = {"trial": event.point.trial, "kind": "trial", "state": state, "iteration": event.point.iteration}
        return {**row, **terms, **identity}
    point, other = event.point, event.point.other
    return {
        **row,
        "trial": point.trial,
        "kind": "interpolation",
        "name": point.label,
        "state": "RUNNING" if point.trial is None else record.trial_state(point.trial),
        "iteration": None if isinstance(point.owner, FidelityPoint) else point.owner.iteration,
        "interpolation.space": point.space,
        "interpolation.share": point.share_of_owner,
        "interpolation.with": "fidelity" if isinstance(other, FidelityPoint) else other.label,
    }


def _trial_row(record: StudyRecord, goals: Goals, trial: int, points: Sequence[PointEvaluated]) -> dict[str, Any]:
    started, end = record.trials.get(trial), record.ends.get(trial)
    best = {
        f"best.{name}": _best([event.metrics.get(name, np.nan) for event in points], direction)
        for name, direction in zip(goals.metrics, goals.directions, strict=True)
    }
    return {
        "trial": trial,
        "state": record.trial_state(trial),
        "points": len(points),
        **{name: getattr(end, name, None) for name in ("cause", "overhead_seconds", "warm", "waited")},
        **(_cost(points[-1].spent) if points else {}),
        "distributions": DISTRIBUTIONS.dump_json(dict(started.distributions) if started else {}).decode(),
        **best,
        **{f"artifact.{stage}": key for stage, key in (started.upstream if started else {}).items()},
        **{f"param.{path}": value for path, value in (started.params if started else {}).items()},
    }


def _best(values: Iterable[float], direction: str) -> float:
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return float("nan")
    return max(finite) if direction == "maximize" else min(finite)


def _cost(spent: Spent) -> dict[str, Any]:
    """Return what was spent by column; nulls where nothing was recorded."""
    return {name: None if spent == Spent() else getattr(spent, name) for name in _COST}


def _reference_cost(record: StudyRecord, name: str) -> dict[str, Any]:
    """Return what a fidelity generator cost that was trained in this study."""
    trained = [event for event in record.artifacts if event.key == name and not event.reused]
    return _cost(trained[-1].spent) if trained else {}


def _inputs(record: StudyRecord, events: Sequence[Evaluated]) -> list[Mapping[str, Any]]:
    """Return for each point the configuration and the artifacts that it was made with; a trial's points share one."""
    trials = {
        number: {
            **{f"artifact.{stage}": key for stage, key in trial.upstream.items()},
            **flatten(trial.config, "config"),
        }
        for number, trial in record.trials.items()
    }
    trained = {event.key: event for event in record.artifacts if not event.reused}
    nothing: dict[str, Any] = {}
    found: list[Mapping[str, Any]] = []
    for event in events:
        if isinstance(event, ReferenceEvaluated):
            artifact = {"artifact.fidelity": event.name} if event.kind == "fidelity" else {}
            config = flatten(trained[event.name].config, "config") if event.name in trained else {}
            found.append({**artifact, **config})
        else:
            found.append(trials.get(event.point.trial, nothing) if event.point.trial is not None else nothing)
    return found


def _inputs_table(inputs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make the columns of `_inputs`; each distinct mapping is converted once."""
    distinct = {id(each): each for each in inputs}
    places = {key: place for place, key in enumerate(distinct)}
    table = _typed_table(list(distinct.values()), _UPSTREAM)
    return table.take([places[id(each)] for each in inputs]).reset_index(drop=True)


def _typed_table(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """Make a table that has all columns of `types`, also without rows, and those that the rows add."""
    names = dict.fromkeys([*types, *(name for row in rows for name in row)])
    return pd.DataFrame({name: _column([row.get(name) for row in rows], types.get(name)) for name in names})


def _column(values: list[Any], dtype: str | None) -> pd.Series:
    """Give a column one type: the declared one, or the narrowest that holds every value."""
    dtype = dtype or _narrowest_type([value for value in values if value is not None])
    if dtype == "string":
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pd.Series(values, dtype=dtype)


def _narrowest_type(values: list[Any]) -> str:
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and all(abs(value) < 2**63 for value in values):
        return "Int64"
    if kinds and kinds <= {int, float}:
        return "float64"
    return "string"
