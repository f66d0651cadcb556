"""The groups of a study's trials as arrays: the losses of each point on each image, and its cost by then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pandas as pd

from analysis.formatting import BudgetUnit
from analysis.statistics.fronts import group_values, is_eligible, is_of_trial, natural_order
from analysis.statistics.image_values import image_values
from analysis.statistics.tables import Results
from study.config import flatten
from study.record.points import Stage
from study.search.front import as_losses

UPSTREAM = "artifact."


@dataclass(frozen=True, kw_only=True)
class Group:
    """The trials that share one value of a config path.

    A study of several seeds counts as one study per seed: the trials of that seed and, of settings that were not
    trained with it, those of their first seed.

    Attributes:
        value: as text.
        seeds: with which the settings were trained.
        repeated: how many of the settings were trained with more than one seed, and how many there are.
        settings, trials: of each point, shape (points,); a setting is a trial's configuration but for its seed.
        losses: the objectives on each image, less is better, shape (points, images, objectives).
        costs: what each seed's study had spent by a point's time, in the comparison's budget unit, shape
            (points, seeds); infinite where a seed's study does not hold the point.
    """

    value: str
    seeds: tuple[int, ...]
    repeated: tuple[int, int]
    settings: np.ndarray
    trials: np.ndarray
    losses: np.ndarray
    costs: np.ndarray

    @property
    def total(self) -> float:
        """What the cheapest seed's study cost in all."""
        return float(np.where(np.isfinite(self.costs), self.costs, 0.0).max(axis=0).min())


@dataclass(frozen=True, kw_only=True)
class GroupComparison:
    """All groups by one config path.

    Attributes:
        path: the config path.
        groups: in the order of their values.
        left_out: values of the groups without a point that counts.
        corner: the reference point, as losses.
        images: how many validation images each point was evaluated on.
        budget_unit: what costs are counted in.
    """

    path: str
    groups: tuple[Group, ...]
    corner: np.ndarray
    images: int
    left_out: tuple[str, ...] = ()
    budget_unit: BudgetUnit = "device_seconds"


def compare_groups(
    results: Results, paths: Sequence[str], *, budget_unit: BudgetUnit = "device_seconds"
) -> dict[str, GroupComparison]:
    """Split a study's trials by each of some config paths.

    Points that do not count for the front (of FAILED trials, beyond a bound, not finite) and points without a value on
    every image are left out; the costs of their trials are not. Tables and metadata of the study are enough.

    Args:
        results: the study.
        paths: each gives a comparison.
        budget_unit: what its costs are counted in.
    """
    points = results.points[is_of_trial(results.points)]
    losses = _losses(points, results)
    counted = is_eligible(points, results.goals) & np.isfinite(losses).all(axis=(1, 2))
    prices = _prices(results.artifacts) if budget_unit == "device_seconds" else {}
    trials = _Trials(points, losses, counted, prices, budget_unit)
    corner = as_losses(np.array([results.goals.corner]), results.goals.directions)[0]
    return {path: _comparison(results, trials, path, corner) for path in paths}


def _comparison(results: Results, trials: "_Trials", path: str, corner: np.ndarray) -> GroupComparison:
    groups = tuple(group for group in _split(trials, path) if len(group.losses))
    every = _started_values(results, trials.points, path).union(group_values(trials.points, path))
    return GroupComparison(
        path=path,
        groups=groups,
        left_out=tuple(sorted(every.difference(group.value for group in groups), key=natural_order)),
        corner=corner,
        images=len(results.metadata.val_images),
        budget_unit=trials.budget_unit,
    )


def _started_values(results: Results, points: pd.DataFrame, path: str) -> set[str]:
    """Return the values of a config path among all trials that were started, also those without a point."""
    artifact = f"{UPSTREAM}{path.partition('.')[0]}"
    started = results.record.trials.values()
    columns = {f"config.{path}": [flatten(trial.config).get(path) for trial in started]}
    if artifact in points:
        columns[artifact] = [trial.upstream.get(cast(Stage, artifact.removeprefix(UPSTREAM))) for trial in started]
    return set(group_values(pd.DataFrame(columns, dtype="object"), path))


@dataclass(frozen=True)
class _Trials:
    """The points of some trials.

    Attributes:
        points: rows of the points table.
        losses: of each, shape (points, images, objectives).
        counted: whether each may be on a front, shape (points,).
        prices: device-seconds of each artifact, by key; empty where upstream stages are not counted.
        budget_unit: what costs are counted in.
    """

    points: pd.DataFrame
    losses: np.ndarray
    counted: np.ndarray
    prices: Mapping[str, float]
    budget_unit: BudgetUnit


def _split(trials: _Trials, path: str) -> list[Group]:
    values = np.asarray(group_values(trials.points, path), dtype=object)
    groups = []
    for value in sorted(set(values), key=natural_order):
        rows = values == value
        part = replace(trials, points=trials.points[rows], losses=trials.losses[rows], counted=trials.counted[rows])
        groups.append(_group(value, part))
    return groups


def _losses(points: pd.DataFrame, results: Results) -> np.ndarray:
    values = image_values(points, results.images, results.metadata)
    flat = as_losses(values.reshape(-1, values.shape[2]), results.goals.directions)
    return flat.reshape(values.shape)


def _group(value: str, part: _Trials) -> Group:
    points, counted = part.points, part.counted
    trials = points.drop_duplicates("trial", keep="last").sort_values("trial")
    settings, seeds = _settings(trials), _seeds(trials)
    by_setting: dict[str, dict[int, int]] = {}
    for setting, seed, trial in zip(settings, seeds, trials["trial"], strict=True):
        by_setting.setdefault(setting, {}).setdefault(seed, int(trial))
    repeated = [known for known in by_setting.values() if len(known) > 1]
    every = sorted({seed for known in repeated for seed in known}) or [min(seeds)]
    order = list(by_setting)
    numbers = {int(trial): order.index(setting) for setting, trial in zip(settings, trials["trial"], strict=True)}
    costs = np.column_stack([_costs(part, trials, _chosen(by_setting, seed)) for seed in every])
    return Group(
        value=value,
        seeds=tuple(every),
        repeated=(len(repeated), len(by_setting)),
        settings=np.array([numbers[int(trial)] for trial in points["trial"]])[counted],
        trials=points["trial"].to_numpy(dtype=np.int64)[counted],
        losses=part.losses[counted],
        costs=costs[counted],
    )


def _chosen(by_setting: dict[str, dict[int, int]], seed: int) -> set[int]:
    """Return the trial of each setting in a seed's study."""
    return {known.get(seed, known[min(known)]) for known in by_setting.values()}


def _settings(trials: pd.DataFrame) -> list[str]:
    """Return each trial's configuration without its seeds, as text."""
    columns = [name for name in trials if name.startswith("config.") and name.rpartition(".")[2] != "seed"]
    return [repr(tuple(row)) for row in trials[columns].itertuples(index=False)]


def _seeds(trials: pd.DataFrame) -> list[int]:
    if "config.seed" not in trials:
        return [0] * len(trials)
    return [int(seed) if pd.notna(seed) else 0 for seed in trials["config.seed"]]


def _prices(artifacts: pd.DataFrame) -> dict[str, float]:
    """Return the device-seconds of each artifact's training."""
    return dict(zip(artifacts["key"], artifacts["training_seconds"].fillna(0.0), strict=True))


def _costs(part: _Trials, trials: pd.DataFrame, chosen: set[int]) -> np.ndarray:
    """Compute the cost by the time of each point, trial after trial, each artifact charged when first needed."""
    needed = [column for column in trials if column.startswith(UPSTREAM)]
    own = dict(zip(trials["trial"].astype(int), _spent(trials, part.budget_unit), strict=True))
    before: dict[int, float] = {}
    spent, paid = 0.0, set[str]()
    for row in trials[trials["trial"].isin(list(chosen))].to_dict("records"):
        new = {row[column] for column in needed if isinstance(row[column], str)} - paid
        spent += sum(float(part.prices.get(key, 0.0)) for key in new)
        paid |= new
        before[int(row["trial"])] = spent
        spent += float(own[int(row["trial"])])
    start = np.array([before.get(int(trial), np.inf) for trial in part.points["trial"]])
    return start + _spent(part.points, part.budget_unit).to_numpy(dtype=np.float64)


def _spent(points: pd.DataFrame, budget_unit: BudgetUnit) -> pd.Series:
    """Return what a trial's own stage had spent by the time of each point; unrecorded costs are 0."""
    if budget_unit == "trials":
        whole = points["config.budget.iterations"] if "config.budget.iterations" in points else points["iterations"]
        return (points["iterations"] / whole).astype("float64").fillna(0.0)
    column = "pixels_seen" if budget_unit == "pixels_seen" else "device_seconds"
    return points[column].astype("float64").fillna(0.0)
