"""A finished study as a table that can be searched again: its trials' curves, their costs, what they started from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from study.search.asha import Rungs
from study.search.front import Direction, hypervolume, non_dominated

TABLES = ("points.parquet", "trials.parquet", "artifacts.parquet")
FEW_VALUES = 8
"""Numbers that take no more values than this are choices."""
LOG_RANGE = 30.0
"""A positive parameter that spans more than this factor was drawn on a log scale."""


_KEPT_COLUMNS = (
    "trial",
    "kind",
    "name",
    "state",
    "iteration",
    "front",
    "device_seconds",
    "training_seconds",
    "key",
    "stage",
)
_KEPT_FACTS = (
    "name",
    "space",
    "recipe",
    "size",
    "trials",
    "seed",
    "objectives",
    "reference",
    "constraints",
    "notes",
    "scale",
    "code_version",
    "groups",
)


class RecordingError(ValueError):
    """A run directory that cannot be replayed: names the file and what is missing in it."""


@dataclass(frozen=True)
class Curve:
    """A trial as it was recorded.

    Attributes:
        number: of the trial.
        params: what was drawn, by config path.
        iterations: of its points, ascending, shape (points,).
        seconds: device-seconds of its own stage by then, shape (points,).
        values: the objectives, shape (points, objectives).
        upstream: keys of its artifacts, each before what starts from it.
        interpolations: for each point the objectives of its interpolations with the fidelity generator, shape (interpolations, objectives).
        interpolation_seconds: device-seconds of these, by point.
    """

    number: int
    params: Mapping[str, Any]
    iterations: np.ndarray
    seconds: np.ndarray
    values: np.ndarray
    upstream: tuple[str, ...]
    interpolations: tuple[np.ndarray, ...]
    interpolation_seconds: np.ndarray


@dataclass(frozen=True)
class Recording:
    """A finished study.

    Attributes:
        name: of the study.
        curves: its trials with points; failed ones are left out.
        artifacts: device-seconds by key.
        generators: objectives of the fidelity generators, by key.
        metrics, directions, reference: the objectives.
    """

    name: str
    curves: tuple[Curve, ...]
    artifacts: Mapping[str, float]
    generators: Mapping[str, np.ndarray]
    metrics: tuple[str, ...]
    directions: tuple[Direction, ...]
    reference: tuple[float, ...]

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The space that was searched, as far as what was drawn tells."""
        names = sorted({name for curve in self.curves for name in curve.params})
        return {name: _distribution([c.params[name] for c in self.curves if name in c.params]) for name in names}

    @cached_property
    def always(self) -> tuple[str, ...]:
        """The parameters that every trial has."""
        return tuple(name for name in self.distributions if all(name in curve.params for curve in self.curves))

    @cached_property
    def conditions(self) -> dict[str, set[tuple[Any, ...]]]:
        """For each other parameter, the choices (of those that every trial has) with which it occurred."""
        rest = [name for name in self.distributions if name not in self.always]
        return {name: {self.choices(c.params) for c in self.curves if name in c.params} for name in rest}

    def choices(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """What was chosen for the categorical parameters that every trial has."""
        chosen = (name for name in self.always if isinstance(self.distributions[name], CategoricalDistribution))
        return tuple(params[name] for name in chosen)

    def place(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters in [0, 1], by name, where they are numbers; choices as they are."""
        return {name: _scaled(value, self.distributions[name]) for name, value in params.items()}

    def rungs(self, rungs: Rungs) -> tuple[int, ...]:
        """Where trials of the recording are compared; ValueError if no rung is below their budget."""
        iterations = max((curve.iterations for curve in self.curves), key=len)
        return rungs.of(int(iterations[-1]), int(iterations[0]))

    def final_front(self) -> np.ndarray:
        """Of all points of all trials and the fidelity generators, shape (points, objectives); interpolations are left out."""
        values = [curve.values for curve in self.curves] + [value[None] for value in self.generators.values()]
        points = np.concatenate(values)
        return points[non_dominated(points, self.directions)]

    def nadir(self) -> tuple[float, ...]:
        """The worst of each objective on the final front, and a tenth of its range: a reference point that counts all
        of the front and little else (Ishibuchi et al., Evolutionary Computation 2018)."""
        front = self.final_front()
        signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in self.directions])
        worst, best = (front * signs).max(axis=0), (front * signs).min(axis=0)
        return tuple(((worst + 0.1 * (worst - best)) * signs).tolist())

    def final_hypervolume(self) -> float:
        """Of the final front."""
        return hypervolume(self.final_front(), self.reference, self.directions)


def distance(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """How far two places are apart: Euclidean, with 1 for each other choice and for what only one of them has."""
    total = 0.0
    for name in set(first) | set(second):
        one, other = first.get(name), second.get(name)
        both = isinstance(one, float) and isinstance(other, float)
        total += (one - other) ** 2 if both else float(one != other)  # type: ignore[operator]
    return math.sqrt(total)


def load_recording(run_dir: Path, reference: Mapping[str, float] | None = None) -> Recording:
    """Read a run directory's tables.

    Args:
        run_dir: what study/sweep.py wrote, or a copy of its study.json and tables.
        reference: the hypervolume's reference point by metric, where it is to be another than the study's.

    Raises:
        RecordingError: a table is missing or lacks something, no trial has a point, an objective is constant or not
            known, or the reference point lies inside the front.
    """
    facts = _facts(run_dir)
    metrics = tuple(objective["metric"] for objective in facts["objectives"])
    points, trials, artifacts = (_rows(run_dir, name) for name in TABLES)
    costs = {row["key"]: float(row["training_seconds"] or 0) for row in artifacts}
    by_trial: dict[int, list[dict[str, Any]]] = {}
    for row in points:
        if row["kind"] in ("trial", "interpolation") and row["trial"] is not None:
            by_trial.setdefault(row["trial"], []).append(row)
    kept = [trial for trial in trials if trial["state"] in ("COMPLETE", "PRUNED")]
    curves = [_curve(trial, by_trial.get(trial["trial"], []), metrics, run_dir) for trial in kept]
    curves = [curve for curve in curves if len(curve.values)]
    if len(curves) < 2:
        raise RecordingError(f"{run_dir} has {len(curves)} trials with points; a replay needs 2 at least")
    generators = {row["name"]: _values(row, metrics) for row in points if row["kind"] == "fidelity"}
    recording = Recording(
        name=facts["name"],
        curves=tuple(curves),
        artifacts=costs,
        generators=generators,
        metrics=metrics,
        directions=tuple(objective["direction"] for objective in facts["objectives"]),
        reference=_corner(facts, metrics, reference or {}),
    )
    _check(recording, run_dir)
    return recording


def save_recording(run_dir: Path, target: Path) -> None:
    """Copy what a replay needs of a run directory, which is a small part of it.

    Raises:
        RecordingError: it cannot be replayed, or the target is there already.
    """
    load_recording(run_dir)
    if target.exists():
        raise RecordingError(f"--save {target} is there already; name another")
    target.mkdir(parents=True)
    facts = _facts(run_dir)
    kept = {name: facts[name] for name in _KEPT_FACTS if name in facts}
    (target / "study.json").write_text(json.dumps(kept, indent=1) + "\n")
    metrics = [objective["metric"] for objective in facts["objectives"]]
    for name in TABLES:
        table = parquet.read_table(run_dir / name)
        columns = [column for column in table.column_names if column in (*_KEPT_COLUMNS, *metrics) or _is_kept(column)]
        parquet.write_table(table.select(columns).replace_schema_metadata(None), target / name, compression="zstd")


def _is_kept(column: str) -> bool:
    return column.startswith(("param.", "artifact.", "interpolation."))


def _corner(facts: Mapping[str, Any], metrics: Sequence[str], given: Mapping[str, float]) -> tuple[float, ...]:
    unknown = [name for name in given if name not in metrics]
    if unknown:
        raise RecordingError(f"--reference: {unknown[0]} is no objective of the study; these are {', '.join(metrics)}")
    reference = {**facts["reference"], **given}
    return tuple(float(reference[metric]) for metric in metrics)


def _check(recording: Recording, run_dir: Path) -> None:
    """Refuse what cannot be compared: a constant objective, a reference point that cuts the front."""
    values = np.concatenate([curve.values for curve in recording.curves])
    for name, column in zip(recording.metrics, values.T, strict=True):
        if np.nanmax(column) == np.nanmin(column):
            raise RecordingError(
                f"{run_dir}: every point has the same {name}, {column[0]:g}: there is no trade-off to search for"
            )
    front = recording.final_front()
    for name, column, corner, direction in zip(
        recording.metrics, front.T, recording.reference, recording.directions, strict=True
    ):
        worst = column.min() if direction == "maximize" else column.max()
        inside = worst <= corner if direction == "maximize" else worst >= corner
        if inside:
            better = worst - 0.1 * abs(worst) if direction == "maximize" else worst + 0.1 * abs(worst)
            raise RecordingError(
                f"the reference point's {name} {corner:g} lies inside the front of {run_dir}, whose worst is "
                f"{worst:g}: points beyond it would not count; name a worse one: --reference {name}={better:.3g}"
            )


def _facts(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "study.json"
    if not path.is_file():
        raise RecordingError(f"{path} does not exist: name a directory that study/sweep.py wrote with --output")
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def _rows(run_dir: Path, name: str) -> list[dict[str, Any]]:
    path = run_dir / name
    if not path.is_file():
        raise RecordingError(f"{path} does not exist; make the tables with: python analysis/report.py {run_dir}")
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def _curve(trial: dict[str, Any], rows: Sequence[dict[str, Any]], metrics: Sequence[str], run_dir: Path) -> Curve:
    own = sorted((row for row in rows if row["kind"] == "trial"), key=lambda row: row["iteration"])
    if any(row["device_seconds"] is None for row in own):
        raise RecordingError(f"{run_dir}/points.parquet: a point of trial {trial['trial']} has no device_seconds")
    interpolations: dict[int, list[dict[str, Any]]] = {row["iteration"]: [] for row in own}
    for row in rows:
        if (
            row["kind"] == "interpolation"
            and row["interpolation.space"] == "weights"
            and row["interpolation.with"] == "fidelity"
        ):
            interpolations[row["iteration"]].append(row)
    prefix = "artifact."
    return Curve(
        number=trial["trial"],
        params={name.removeprefix("param."): value for name, value in trial.items() if _is_param(name, value)},
        iterations=np.array([row["iteration"] for row in own]),
        seconds=np.array([row["device_seconds"] for row in own], dtype=np.float64),
        values=np.array([_values(row, metrics) for row in own]).reshape(-1, len(metrics)),
        upstream=tuple(value for name, value in trial.items() if name.startswith(prefix) and value is not None),
        interpolations=tuple(
            np.array([_values(row, metrics) for row in interpolations[point["iteration"]]]).reshape(-1, len(metrics))
            for point in own
        ),
        interpolation_seconds=np.array(
            [sum(row["device_seconds"] for row in interpolations[point["iteration"]]) for point in own]
        ),
    )


def _is_param(name: str, value: Any) -> bool:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return name.startswith("param.") and not missing


def _values(row: Mapping[str, Any], metrics: Sequence[str]) -> np.ndarray:
    return np.array([math.nan if row[name] is None else row[name] for name in metrics], dtype=np.float64)


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    distinct = sorted(set(values), key=lambda value: (str(type(value)), value))
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct):
        return CategoricalDistribution(distinct)
    if len(distinct) <= FEW_VALUES:
        return CategoricalDistribution(distinct)
    low, high = float(distinct[0]), float(distinct[-1])
    return FloatDistribution(low, high, log=low > 0 and high / low > LOG_RANGE)


def _scaled(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution):
        return value
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low))
