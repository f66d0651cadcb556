"""What is reckoned of a study for its report, once: groups compared, bands, shares of each setting."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.formatting import Currency
from analysis.statistics.bands import Band, image_bands
from analysis.statistics.dominance import DRAWS, Comparison, compare_all
from analysis.statistics.fronts import last_points
from analysis.statistics.groups import GroupComparison, contests
from analysis.statistics.tables import Results


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Everything by the config path of a group (`facts.groups`), but for the shares.

    Attributes:
        budget_unit: what the groups are compared at equal amounts of.
        contests: the groups as arrays.
        comparisons: each pair of groups at equal budget.
        bands: of each group's front, by its value.
        shares: how much of the variance of each objective at the trials' ends each setting explains.
    """

    budget_unit: Currency
    contests: Mapping[str, GroupComparison]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    bands: Mapping[str, Mapping[str, Band]]
    shares: Mapping[str, Mapping[str, float]]


def compute_statistics(
    results: Results, *, draws: int = DRAWS, seed: int = 0, budget_unit: Currency = "device_seconds"
) -> Statistics:
    """Reckon.

    Args:
        results: the study.
        draws: of each bootstrap.
        seed: of the draws.
        budget_unit: what groups are compared at equal amounts of.
    """
    facts = results.facts
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in facts.directions])
    found = contests(results, facts.groups, budget_unit=budget_unit)
    return Statistics(
        budget_unit=budget_unit,
        contests=found,
        comparisons={path: compare_all(each, draws=draws, seed=seed) for path, each in found.items()},
        bands={path: image_bands(each, signs, draws=draws, seed=seed) for path, each in found.items()},
        shares=_shares(results, seed),
    )


def _shares(results: Results, seed: int) -> dict[str, dict[str, float]]:
    with warnings.catch_warnings():
        # In a notebook, Optuna's import misses the widgets of progress bars that nobody asked for.
        warnings.filterwarnings("ignore", "IProgress not found")
        from study.search.importance import importances

    points = last_points(results.points)
    trials = results.trials.set_index("trial").loc[points["trial"]]
    sampled = [column for column in trials if column.startswith("param.")]
    params = [
        {name.removeprefix("param."): value for name, value in row.items() if value == value}
        for row in trials[sampled].to_dict("records")
    ]
    shares = {}
    for objective in results.facts.objectives:
        values = points[objective.metric].to_numpy(dtype=np.float64)
        measured = np.isfinite(values)
        known = [each for each, is_known in zip(params, measured, strict=True) if is_known]
        shares[objective.metric] = importances(known, values[measured].tolist(), seed=seed)
    return shares
