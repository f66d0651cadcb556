"""The table of a tabular benchmark: a finished study's trials, their points, their costs and their search space.

As in Syne Tune's blackbox repository and YAHPO Gym, a search on the table needs seconds, for nothing is trained. The
table is three Parquet files (points, trials, artifacts) and study.json, as `study/sweep.py` and `analysis/report.py`
write them.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.record.tables import DISTRIBUTIONS
from study.search.asha import Rungs
from study.search.distributions import to_optuna
from study.search.front import Direction, hypervolume, non_dominated
from study.search.importance import joint_distributions

TABLES = ("points.parquet", "trials.parquet", "artifacts.parquet")
FEW_VALUES = 8
"""A number with at most this many values is a choice, where the table states no distribution."""
LOG_RANGE = 30.0
"""A positive number with a range above this factor is on a log scale, where the table states no distribution."""

_COLUMNS = {"trial", "kind", "name", "state", "iteration", "front", "key", "stage", "distributions"}
_COST_COLUMNS = {"device_seconds", "training_seconds"}
_COLUMN_PREFIXES = ("param.", "artifact.", "interpolation.")
_METADATA = [
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
]


class TabularBenchmarkError(ValueError):
    """A run directory that is no usable table: the file, and what is missing in it."""


@dataclass(frozen=True)
class Curve:
    """A trial of the table.

    Attributes:
        number: of the trial.
        params: the sampled values, by config path.
        iterations: of its points, ascending, shape (points,).
        seconds: device-seconds of its last stage by then, shape (points,).
        values: the objectives, shape (points, objectives).
        upstream: keys of its artifacts, in the order of training.
        interpolations: for each point, the objectives of its interpolations with the fidelity generator, shape
            (interpolations, objectives).
        interpolation_seconds: device-seconds of these, shape (points,).
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
class TabularBenchmark:
    """A finished study as a table.

    Attributes:
        name: of the study.
        curves: its trials with points, without FAILED ones.
        artifacts: device-seconds by key.
        generators: objectives of the fidelity generators, by key.
        metrics, directions, reference: the objectives.
        stated: the search space, as far as the table states it; `distributions` completes it.
    """

    name: str
    curves: tuple[Curve, ...]
    artifacts: Mapping[str, float]
    generators: Mapping[str, np.ndarray]
    metrics: tuple[str, ...]
    directions: tuple[Direction, ...]
    reference: tuple[float, ...]
    stated: Mapping[str, BaseDistribution] = field(default_factory=dict)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The search space, by parameter."""
        values: dict[str, list[Any]] = {}
        for curve in self.curves:
            for name, value in curve.params.items():
                values.setdefault(name, []).append(value)
        # The committed tables are older than the column `distributions`: guess from the sampled values.
        return {name: self.stated.get(name) or _guessed_distribution(values[name]) for name in sorted(values)}

    @cached_property
    def always(self) -> tuple[str, ...]:
        """The parameters of every trial."""
        return tuple(name for name in self.distributions if all(name in curve.params for curve in self.curves))

    @cached_property
    def conditions(self) -> dict[str, set[tuple[Any, ...]]]:
        """For each other parameter, the `choices` with which it occurs."""
        rest = [name for name in self.distributions if name not in self.always]
        return {name: {self.choices(c.params) for c in self.curves if name in c.params} for name in rest}

    def choices(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the values of the categorical parameters of every trial."""
        chosen = (name for name in self.always if isinstance(self.distributions[name], CategoricalDistribution))
        return tuple(params[name] for name in chosen)

    def scale(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Map numbers into [0, 1], on their own scale; leave choices unchanged."""
        return {name: _scaled(value, self.distributions[name]) for name, value in params.items()}

    def rungs(self, rungs: Rungs) -> tuple[int, ...]:
        """Return the iterations at which trials of the table are compared; ValueError if none is below the budget."""
        iterations = max((curve.iterations for curve in self.curves), key=len)
        return rungs.of(int(iterations[-1]), int(iterations[0]))

    def final_front(self) -> np.ndarray:
        """Return the front of points and fidelity generators, without interpolations: shape (points, objectives)."""
        values = [curve.values for curve in self.curves] + [value[None] for value in self.generators.values()]
        points = np.concatenate(values)
        return points[non_dominated(points, self.directions)]

    def nadir(self) -> tuple[float, ...]:
        """Return the worst of each objective on the final front, moved outwards by a tenth of its range.

        As a reference point it counts the front and little else (Ishibuchi et al., Evolutionary Computation 2018).
        """
        front = self.final_front()
        signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in self.directions])
        worst, best = (front * signs).max(axis=0), (front * signs).min(axis=0)
        return tuple(((worst + 0.1 * (worst - best)) * signs).tolist())

    def final_hypervolume(self) -> float:
        """Return the hypervolume of the final front."""
        return hypervolume(self.final_front(), self.reference, self.directions)


def distance(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Return the Euclidean distance of scaled parameters; another choice, or a parameter of one side only, counts 1."""
    total = 0.0
    for name in set(first) | set(second):
        one, other = first.get(name), second.get(name)
        both = isinstance(one, float) and isinstance(other, float)
        total += (one - other) ** 2 if both else float(one != other)  # type: ignore[operator]
    return math.sqrt(total)


def load_benchmark(run_dir: Path, reference: Mapping[str, float] | None = None) -> TabularBenchmark:
    """Read a table.

    Args:
        run_dir: a run directory of study/sweep.py, or a copy by `save_benchmark`.
        reference: replaces the study's reference point, by metric.

    Raises:
        TabularBenchmarkError: a table is missing or lacks something, fewer than two trials have points, an objective is
            constant or unknown, or the reference point lies inside the front.
    """
    metadata = _metadata(run_dir)
    metrics = tuple(objective["metric"] for objective in metadata["objectives"])
    points, trials, artifacts = (_rows(run_dir, name) for name in TABLES)
    by_trial: dict[int, list[dict[str, Any]]] = {}
    for row in points:
        if row["kind"] in ("trial", "interpolation") and row["trial"] is not None:
            by_trial.setdefault(row["trial"], []).append(row)
    kept = [trial for trial in trials if trial["state"] in ("COMPLETE", "PRUNED")]
    curves = [_curve(trial, by_trial.get(trial["trial"], []), metrics, run_dir) for trial in kept]
    curves = [curve for curve in curves if len(curve.values)]
    if len(curves) < 2:
        raise TabularBenchmarkError(f"{run_dir} has {len(curves)} trials with points; a simulation needs at least 2")
    benchmark = TabularBenchmark(
        name=metadata["name"],
        curves=tuple(curves),
        artifacts={row["key"]: float(row["training_seconds"] or 0) for row in artifacts},
        generators={row["name"]: _values(row, metrics) for row in points if row["kind"] == "fidelity"},
        metrics=metrics,
        directions=tuple(objective["direction"] for objective in metadata["objectives"]),
        reference=_corner(metadata, metrics, reference or {}),
        stated=_stated_distributions(trial["distributions"] for trial in kept if trial.get("distributions")),
    )
    _check(benchmark, run_dir)
    return benchmark


def save_benchmark(run_dir: Path, target: Path) -> None:
    """Copy the columns and fields of a run directory that a simulation needs, a small part of it.

    Raises:
        TabularBenchmarkError: the run directory is no usable table, or the target exists.
    """
    load_benchmark(run_dir)
    if target.exists():
        raise TabularBenchmarkError(f"--save {target} exists already; name another folder")
    target.mkdir(parents=True)
    metadata = _metadata(run_dir)
    kept = {name: metadata[name] for name in _METADATA if name in metadata}
    (target / "study.json").write_text(json.dumps(kept, indent=1) + "\n")
    columns = _COLUMNS | _COST_COLUMNS | {objective["metric"] for objective in metadata["objectives"]}
    for name in TABLES:
        table = parquet.read_table(run_dir / name)
        chosen = [each for each in table.column_names if each in columns or each.startswith(_COLUMN_PREFIXES)]
        parquet.write_table(table.select(chosen).replace_schema_metadata(None), target / name, compression="zstd")


def _corner(metadata: Mapping[str, Any], metrics: Sequence[str], given: Mapping[str, float]) -> tuple[float, ...]:
    unknown = [name for name in given if name not in metrics]
    if unknown:
        raise TabularBenchmarkError(
            f"--reference: {unknown[0]} is no objective of the study; its objectives are {', '.join(metrics)}"
        )
    reference = {**metadata["reference"], **given}
    return tuple(float(reference[metric]) for metric in metrics)


def _check(benchmark: TabularBenchmark, run_dir: Path) -> None:
    """Refuse a constant objective, and a reference point that cuts the front."""
    values = np.concatenate([curve.values for curve in benchmark.curves])
    for name, column in zip(benchmark.metrics, values.T, strict=True):
        if np.nanmax(column) == np.nanmin(column):
            raise TabularBenchmarkError(
                f"{run_dir}: every point has the same {name}, {column[0]:g}: there is no trade-off to search for"
            )
    axes = zip(benchmark.metrics, benchmark.final_front().T, benchmark.reference, benchmark.directions, strict=True)
    for name, column, corner, direction in axes:
        sign = 1 if direction == "maximize" else -1
        worst = float(min(column * sign)) * sign
        if worst * sign <= corner * sign:
            better = worst - 0.1 * sign * abs(worst)
            raise TabularBenchmarkError(
                f"the reference point's {name} {corner:g} lies inside the front of {run_dir}, whose worst is "
                f"{worst:g}: points beyond it would not count; give a worse one: --reference {name}={better:.3g}"
            )


def _metadata(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "study.json"
    if not path.is_file():
        raise TabularBenchmarkError(f"{path} does not exist: name a directory that study/sweep.py wrote with --output")
    metadata: dict[str, Any] = json.loads(path.read_text())
    return {**metadata, **metadata.get("goals", {})}  # the committed tables have the goals' fields at the top


def _rows(run_dir: Path, name: str) -> list[dict[str, Any]]:
    path = run_dir / name
    if not path.is_file():
        raise TabularBenchmarkError(f"{path} does not exist; make the tables with: python analysis/report.py {run_dir}")
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


def _curve(trial: dict[str, Any], rows: Sequence[dict[str, Any]], metrics: Sequence[str], run_dir: Path) -> Curve:
    points = sorted((row for row in rows if row["kind"] == "trial"), key=lambda row: row["iteration"])
    if any(row["device_seconds"] is None for row in points):
        raise TabularBenchmarkError(
            f"{run_dir}/points.parquet: a point of trial {trial['trial']} has no device_seconds"
        )
    interpolations: dict[int, list[dict[str, Any]]] = {row["iteration"]: [] for row in points}
    for row in rows:
        if row["interpolation.space"] == "weights" and row["interpolation.with"] == "fidelity":
            interpolations[row["iteration"]].append(row)
    by_point = [interpolations[row["iteration"]] for row in points]

    def objectives(of: Sequence[dict[str, Any]]) -> np.ndarray:
        return np.array([_values(row, metrics) for row in of]).reshape(-1, len(metrics))

    return Curve(
        number=trial["trial"],
        params={name.removeprefix("param."): value for name, value in trial.items() if _is_param(name, value)},
        iterations=np.array([row["iteration"] for row in points]),
        seconds=np.array([row["device_seconds"] for row in points], dtype=np.float64),
        values=objectives(points),
        upstream=tuple(value for name, value in trial.items() if name.startswith("artifact.") and value is not None),
        interpolations=tuple(objectives(each) for each in by_point),
        interpolation_seconds=np.array([sum(row["device_seconds"] for row in each) for each in by_point]),
    )


def _is_param(name: str, value: Any) -> bool:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return name.startswith("param.") and not missing


def _values(row: Mapping[str, Any], metrics: Sequence[str]) -> np.ndarray:
    return np.array([math.nan if row[name] is None else row[name] for name in metrics], dtype=np.float64)


def _stated_distributions(texts: Iterable[str]) -> dict[str, BaseDistribution]:
    """Read the column `distributions`: JSON of `Distribution`s by config path."""
    found = joint_distributions(DISTRIBUTIONS.validate_json(text) for text in texts)
    return {name: to_optuna(distribution) for name, distribution in found.items()}


def _guessed_distribution(values: Sequence[Any]) -> BaseDistribution:
    distinct = sorted(set(values), key=lambda value: (str(type(value)), value))
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct):
        return CategoricalDistribution(distinct)
    if len(distinct) <= FEW_VALUES:
        return CategoricalDistribution(distinct)
    low, high = float(distinct[0]), float(distinct[-1])
    return FloatDistribution(low, high, log=low > 0 and high / low > LOG_RANGE)


def _scaled(value: Any, distribution: BaseDistribution) -> Any:
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        return value
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return float((value - low) / (high - low)) if high > low else 0.0
