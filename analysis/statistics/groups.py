"""The groups of a study's trials as arrays: what each point scored on each image, and what it had cost by then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.formatting import Currency
from analysis.journal import StudyFacts
from analysis.statistics.fronts import group_values, is_allowed, is_candidate, is_measured, is_of_trial, natural_order
from analysis.statistics.image_values import image_values
from analysis.statistics.tables import Results
from study.search.front import as_losses

UPSTREAM = "artifact."


@dataclass(frozen=True, kw_only=True)
class Group:
    """The trials that share one value of a config path.

    A study of several seeds is, for this purpose, one study a seed: the trials of that seed, and of settings that were
    not trained with it, those of their first seed.

    Attributes:
        value: as text.
        seeds: with which the settings were trained.
        repeated: how many of the settings were trained with more than one seed, and how many there are.
        settings, trials: of each point, shape (points,); a setting is a trial's configuration but for its seed.
        losses: the objectives on each image, less is better, shape (points, images, objectives).
        costs: what each seed's study had spent by a point's time, in the contest's budget_unit, shape (points, seeds);
            infinite where a seed's study does not hold the point.
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
        groups: in the order of their values; groups without a point that counts are left out.
        corner: the reference point, as losses.
        images: on how many held-out images each point was evaluated.
        budget_unit: what costs are counted in.
    """

    path: str
    groups: tuple[Group, ...]
    corner: np.ndarray
    images: int
    budget_unit: Currency = "device_seconds"


def contests(
    results: Results, paths: Sequence[str], *, budget_unit: Currency = "device_seconds"
) -> dict[str, GroupComparison]:
    """Split a study's trials by each of some config paths.

    Points that do not count for the front (of FAILED trials, beyond a bound, not finite) and points without a value on
    every image are left out; what their trials cost is not.

    Args:
        results: the study.
        paths: each gives a contest.
        budget_unit: what its costs are counted in.
    """
    facts = results.facts
    points = results.points[is_of_trial(results.points)]
    losses = _losses(points, results)
    counts = is_candidate(points) & is_measured(points, facts) & is_allowed(points, facts)
    counts &= np.isfinite(losses).all(axis=(1, 2))
    return {path: _split(points, losses, counts, results, path, budget_unit) for path in paths}


def _split(
    points: pd.DataFrame, losses: np.ndarray, counts: np.ndarray, results: Results, path: str, budget_unit: Currency
) -> GroupComparison:
    facts = results.facts
    values = np.asarray(group_values(points, path), dtype=object)
    groups = [
        _contender(
            value, points[values == value], losses[values == value], counts[values == value], results, budget_unit
        )
        for value in sorted(set(values), key=natural_order)
    ]
    return GroupComparison(
        path=path,
        groups=tuple(one for one in groups if len(one.losses)),
        corner=as_losses(np.array([facts.corner]), facts.directions)[0],
        images=len(facts.test_images),
        budget_unit=budget_unit,
    )


def _losses(points: pd.DataFrame, results: Results) -> np.ndarray:
    facts: StudyFacts = results.facts
    values = image_values(points, results.journal, facts)
    flat = as_losses(values.reshape(-1, values.shape[2]), facts.directions)
    return flat.reshape(values.shape)


def _contender(
    value: str, points: pd.DataFrame, losses: np.ndarray, counts: np.ndarray, results: Results, budget_unit: Currency
) -> Group:
    trials = points.drop_duplicates("trial", keep="last").sort_values("trial")
    settings = _settings(trials)
    seeds = _seeds(trials)
    by_setting: dict[str, dict[int, int]] = {}
    for setting, seed, trial in zip(settings, seeds, trials["trial"], strict=True):
        by_setting.setdefault(setting, {}).setdefault(seed, int(trial))
    repeated = [known for known in by_setting.values() if len(known) > 1]
    every = sorted({seed for known in repeated for seed in known}) or [min(seeds)]
    order = list(by_setting)
    numbers = {int(trial): order.index(setting) for setting, trial in zip(settings, trials["trial"], strict=True)}
    prices = _prices(results.artifacts) if budget_unit == "device_seconds" else {}
    costs = np.column_stack([_costs(points, trials, _chosen(by_setting, seed), prices, budget_unit) for seed in every])
    return Group(
        value=value,
        seeds=tuple(every),
        repeated=(len(repeated), len(by_setting)),
        settings=np.array([numbers[int(trial)] for trial in points["trial"]])[counts],
        trials=points["trial"].to_numpy(dtype=np.int64)[counts],
        losses=losses[counts],
        costs=costs[counts],
    )


def _chosen(by_setting: dict[str, dict[int, int]], seed: int) -> set[int]:
    """The trial of each setting in a seed's study."""
    return {known.get(seed, known[min(known)]) for known in by_setting.values()}


def _settings(trials: pd.DataFrame) -> list[str]:
    """What tells a trial's configuration, seeds aside."""
    columns = [name for name in trials if name.startswith("config.") and name.rpartition(".")[2] != "seed"]
    return [repr(tuple(row)) for row in trials[columns].itertuples(index=False)]


def _seeds(trials: pd.DataFrame) -> list[int]:
    if "config.seed" not in trials:
        return [0] * len(trials)
    return [int(seed) if pd.notna(seed) else 0 for seed in trials["config.seed"]]


def _prices(artifacts: pd.DataFrame) -> dict[str, float]:
    """What each artifact's training took, in device-seconds."""
    return dict(zip(artifacts["key"], artifacts["training_seconds"].fillna(0.0), strict=True))


def _costs(
    points: pd.DataFrame, trials: pd.DataFrame, chosen: set[int], prices: Mapping[str, float], budget_unit: Currency
) -> np.ndarray:
    """The cost by the time of each point, one trial after the other, each artifact charged when first needed."""
    needed = [column for column in trials if column.startswith(UPSTREAM)]
    own = dict(zip(trials["trial"].astype(int), _spent(trials, budget_unit), strict=True))
    before: dict[int, float] = {}
    spent, paid = 0.0, set[str]()
    for row in trials[trials["trial"].isin(list(chosen))].to_dict("records"):
        new = {row[column] for column in needed if isinstance(row[column], str)} - paid
        spent += sum(float(prices.get(key, 0.0)) for key in new)
        paid |= new
        before[int(row["trial"])] = spent
        spent += float(own[int(row["trial"])])
    start = np.array([before.get(int(trial), np.inf) for trial in points["trial"]])
    return start + _spent(points, budget_unit).to_numpy(dtype=np.float64)


def _spent(points: pd.DataFrame, budget_unit: Currency) -> pd.Series:
    """What a trial's own stage had spent by the time of each point; unrecorded costs are none."""
    if budget_unit == "trials":
        whole = points["config.budget.iterations"] if "config.budget.iterations" in points else points["iterations"]
        return (points["iterations"] / whole).astype("float64").fillna(0.0)
    column = "pixels_seen" if budget_unit == "pixels_seen" else "device_seconds"
    return points[column].astype("float64").fillna(0.0)
