"""From the journal to tables: a row per point, per trial and per artifact."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.journal import Event, Journal, StudyFacts, read_facts, read_journal
from analysis.statistics.fronts import front_mask, group_front_names

_POINT_TYPES = {
    "trial": "Int64",
    "kind": "string",
    "name": "string",
    "state": "string",
    "iteration": "Int64",
    "front": "boolean",
    "group_front": "string",
    "iterations": "Int64",
    "pixels_seen": "Int64",
    "device_seconds": "float64",
    "peak_gib": "float64",
    "samples": "string",
    "interpolation.space": "string",
    "interpolation.share": "float64",
    "interpolation.with": "string",
}
_MADE_TYPES = {
    "artifact.fidelity": "string",
    "artifact.autoencoder": "string",
}
_PARTS = ("metrics", "made")
"""Of a point's row: what stands in columns of its own."""
_NOTHING_KNOWN: Mapping[str, Any] = {}
_TRIAL_TYPES = {
    "trial": "Int64",
    "state": "string",
    "cause": "string",
    "points": "Int64",
    "iterations": "Int64",
    "pixels_seen": "Int64",
    "device_seconds": "float64",
    "peak_gib": "float64",
    "overhead_seconds": "float64",
    "warm": "boolean",
    "waited": "boolean",
}
_ARTIFACT_TYPES = {
    "key": "string",
    "stage": "string",
    "state": "string",
    "cause": "string",
    "trained": "Int64",
    "uses": "Int64",
    "iterations": "Int64",
    "pixels_seen": "Int64",
    "device_seconds": "float64",
    "peak_gib": "float64",
    "training_seconds": "float64",
}
_BUDGET = ("iterations", "pixels_seen", "device_seconds", "peak_gib")


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that is known of a study."""

    facts: StudyFacts
    journal: Journal
    points: pd.DataFrame
    """A row per point; columns in `points_table`."""
    trials: pd.DataFrame
    """A row per trial, also of those without a point; columns in `trials_table`."""
    artifacts: pd.DataFrame
    """A row per artifact; columns in `artifacts_table`."""


def load_results(run_dir: Path) -> Results:
    """Read a run directory into tables.

    Raises:
        RunDirectoryError: the directory holds no usable study.json.
    """
    return tables_of(read_facts(run_dir), read_journal(run_dir))


def tables_of(facts: StudyFacts, journal: Journal) -> Results:
    """Make all tables of a study."""
    return Results(
        facts=facts,
        journal=journal,
        points=points_table(facts, journal),
        trials=trials_table(facts, journal),
        artifacts=artifacts_table(journal),
    )


def points_table(facts: StudyFacts, journal: Journal) -> pd.DataFrame:
    """Make a row per point: references first, then trials by number and iteration, then interpolations.

    Columns: `trial` (null for references), `kind` (trial, interpolation, fidelity, bicubic or input), `name` (of a reference or
    interpolation), `state`, `iteration`, a column per metric, `front`, `group_front` (the group on whose front a trial's point
    is), the budget (`iterations`, `pixels_seen`, `device_seconds`, `peak_gib`: of its own stage, upstream stages
    not included), `samples`, `term.<loss term>`, `artifact.<stage>` and `config.<path>`. What an interpolation is of stands in
    `interpolation.space` (weights or pixels), `interpolation.share` (of the trial's point that the row names) and `interpolation.with` (the
    rest's origin). Lists in a config are JSON strings; a missing metric is NaN.
    """
    trained = {event["key"]: event for event in journal.artifacts if not event.get("reused")}
    rows = [_reference_row(event, trained.get(name, {})) for name, event in journal.references.items()]
    made_of = {number: _made_of(trial) for number, trial in journal.trials.items()}
    rows += [
        _point_row(journal, journal.points[key], made_of.get(key[0], _NOTHING_KNOWN)) for key in sorted(journal.points)
    ]
    rows += [_blend_row(journal, event, made_of) for event in journal.interpolations.values()]
    objectives = [objective.metric for objective in facts.objectives]
    metrics = _in_order(objectives, (name for row in rows for name in row["metrics"]))
    # Metrics are stored under their bare names; one that is called like a column of ours cannot be.
    metrics = [name for name in metrics if name not in (*_POINT_TYPES, *_MADE_TYPES)]
    table = _typed_table(rows, _POINT_TYPES)
    values = {name: [_number(row["metrics"].get(name)) for row in rows] for name in metrics}
    table = pd.concat([table, pd.DataFrame(values, index=table.index, dtype="float64"), _made_table(rows)], axis=1)
    table["front"] = pd.array(front_mask(table, facts), dtype="boolean")
    table["group_front"] = group_front_names(table, facts)
    lead = ["trial", "kind", "name", "state", "iteration", *metrics]
    return table[[*lead, *(column for column in table.columns if column not in lead)]]


def trials_table(facts: StudyFacts, journal: Journal) -> pd.DataFrame:
    """Make a row per trial, by number, whether or not it reached a point.

    Columns: `trial`, `state` (RUNNING without an end), `cause`, `points`, the budget of its last point, the
    orchestration's `overhead_seconds` with `warm` and `waited`, `best.<objective>`, `artifact.<stage>` and
    `param.<path>`.
    """
    points: dict[int, list[Event]] = {trial: [] for trial in (*journal.trials, *journal.ends)}
    for (trial, _), event in sorted(journal.points.items(), key=lambda item: item[0]):
        points.setdefault(trial, []).append(event)
    rows = [_trial_row(facts, journal, trial, points[trial]) for trial in sorted(points)]
    return _typed_table(rows, _TRIAL_TYPES)


def artifacts_table(journal: Journal) -> pd.DataFrame:
    """Make a row per artifact: how often it was trained (1 is right), how many trials use it, what it cost here.

    `training_seconds` is what its training took, in device-seconds, also where that was in another study.
    """
    rows: dict[str, dict[str, Any]] = {}
    for event in journal.artifacts:
        row = rows.setdefault(event["key"], {"trained": 0, **dict.fromkeys(_BUDGET)})
        row |= {name: event.get(name) for name in ("key", "stage", "state", "cause")}
        row["training_seconds"] = _budget(event)["device_seconds"] or row.get("training_seconds")
        if not event.get("reused"):
            row["trained"] += event["state"] == "COMPLETE"
            row |= _budget(event)
    used = [key for event in journal.trials.values() for key in _mapping(event, "upstream").values()]
    for key, row in rows.items():
        row["uses"] = used.count(key)
    return _typed_table(list(rows.values()), _ARTIFACT_TYPES)


def flatten(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Turn a nested config into dotted paths: {"loss": {"pixel": 1}} gives {"config.loss.pixel": 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}.{name}"
        flat |= flatten(value, path) if isinstance(value, dict) else {path: value}
    return flat


def sampled_paths(results: Results) -> list[str]:
    """The config paths that tell trials apart: those of the groups, then all others that were sampled."""
    sampled = [column.removeprefix("param.") for column in results.trials if column.startswith("param.")]
    known = [path for path in (*results.facts.groups, *sampled) if f"config.{path}" in results.points]
    return list(dict.fromkeys(known))


def metric_columns(results: Results) -> list[str]:
    """The names of all measured metrics, objectives first."""
    columns = list(results.points.columns)
    return columns[columns.index("iteration") + 1 : columns.index("front")]


def trial_state(journal: Journal, trial: int) -> str:
    """How a trial ended, or RUNNING."""
    return str(journal.ends.get(trial, {}).get("state", "RUNNING"))


def _reference_row(event: Event, artifact: Event) -> dict[str, Any]:
    is_stage = event["kind"] == "fidelity"
    return {
        "kind": event["kind"],
        "name": event["name"],
        "state": "COMPLETE",
        "samples": event.get("samples"),
        "metrics": event["metrics"],
        **_budget(artifact),
        "made": ({"artifact.fidelity": event["name"]} if is_stage else {})
        | flatten(_mapping(artifact, "config"), "config"),
    }


def _made_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What each point was made of. All points of a trial share one mapping, which is looked at once."""
    distinct = {id(row["made"]): row["made"] for row in rows}
    places = {key: place for place, key in enumerate(distinct)}
    table = _typed_table(list(distinct.values()), _MADE_TYPES)
    return table.take([places[id(row["made"])] for row in rows]).reset_index(drop=True)


def _made_of(trial: Event) -> dict[str, Any]:
    """A trial's configuration, and what it started from."""
    artifacts = {f"artifact.{stage}": key for stage, key in _mapping(trial, "upstream").items()}
    return artifacts | flatten(_mapping(trial, "config"), "config")


def _point_row(journal: Journal, event: Event, made_of: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trial": event["trial"],
        "kind": "trial",
        "state": trial_state(journal, event["trial"]),
        "iteration": event["iteration"],
        "samples": event.get("samples"),
        "metrics": event["metrics"],
        **_budget(event),
        **{f"term.{name}": _number(value) for name, value in _mapping(event, "terms").items()},
        "made": made_of,
    }


def _blend_row(journal: Journal, event: Event, made_of: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """An interpolation belongs to the trial of its second parent, if that is one; else to its first's."""
    parents = event["parents"]
    own, other = (parents[1], parents[0]) if parents[1]["trial"] is not None else (parents[0], parents[1])
    share = event["share"] if own is parents[1] else 1 - event["share"]
    return {
        "trial": own["trial"],
        "kind": "interpolation",
        "name": f"{event['pair']} {event['name']}",
        "state": trial_state(journal, own["trial"]),
        "iteration": own["iteration"],
        "samples": event.get("samples"),
        "metrics": event["metrics"],
        "interpolation.space": event["space"],
        "interpolation.share": share,
        "interpolation.with": "fidelity" if other["trial"] is None else other["label"],
        **_budget(event),
        "made": made_of.get(own["trial"], _NOTHING_KNOWN),
    }


def _trial_row(facts: StudyFacts, journal: Journal, trial: int, points: Sequence[Event]) -> dict[str, Any]:
    begun, end = journal.trials.get(trial, {}), journal.ends.get(trial, {})
    best = {
        f"best.{objective.metric}": _best(
            [event["metrics"].get(objective.metric) for event in points], objective.direction
        )
        for objective in facts.objectives
    }
    return {
        "trial": trial,
        "state": trial_state(journal, trial),
        "points": len(points),
        **{name: end.get(name) for name in ("cause", "overhead_seconds", "warm", "waited")},
        **(_budget(points[-1]) if points else {}),
        **best,
        **{f"artifact.{stage}": key for stage, key in _mapping(begun, "upstream").items()},
        **{f"param.{path}": value for path, value in _mapping(begun, "params").items()},
    }


def _best(values: Iterable[Any], direction: str) -> float:
    finite = [number for number in map(_number, values) if np.isfinite(number)]
    if not finite:
        return float("nan")
    return max(finite) if direction == "maximize" else min(finite)


def _budget(event: Event) -> dict[str, Any]:
    budget = _mapping(event, "budget")
    return {name: budget.get(name) for name in _BUDGET}


def _mapping(event: Event, name: str) -> Mapping[str, Any]:
    """An optional part of an event, empty where it is absent or null."""
    value = event.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float:
    """A metric as written in JSON, where a value that is not a number may also be null."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _in_order(first: Sequence[str], rest: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*first, *rest]))


def _typed_table(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    """Make a table that has all columns of `types`, also without rows, and whatever else the rows hold."""
    names = _in_order(list(types), (name for row in rows for name in row if name not in _PARTS))
    columns = {name: _column([row.get(name) for row in rows], types.get(name)) for name in names}
    return pd.DataFrame(columns)


def _column(values: list[Any], dtype: str | None) -> pd.Series:
    """Give a column one type: the declared one, or the narrowest that holds every value."""
    known = [value for value in values if value is not None]
    dtype = dtype or _narrowest_type(known)
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
