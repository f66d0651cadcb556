"""The statistics of a study's report, computed once: groups compared, bands, importances of settings."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.formatting import BudgetUnit
from analysis.statistics.bands import Band, image_bands
from analysis.statistics.dominance import DRAWS, Comparison, compare_all
from analysis.statistics.fronts import last_points
from analysis.statistics.groups import GroupComparison, compare_groups
from analysis.statistics.tables import Results
from study.record.tables import DISTRIBUTIONS


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All by the config path of a group, except for the importances.

    Attributes:
        budget_unit: groups are compared at equal amounts of it.
        groups: the groups as arrays.
        comparisons: each pair of groups at equal budget.
        bands: of each group's front, by its value.
        importances: share of the variance of each objective at the trials' ends that each setting explains.
    """

    budget_unit: BudgetUnit
    groups: Mapping[str, GroupComparison]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    bands: Mapping[str, Mapping[str, Band]]
    importances: Mapping[str, Mapping[str, float]]


def compute_statistics(
    results: Results, *, draws: int = DRAWS, seed: int = 0, budget_unit: BudgetUnit = "device_seconds"
) -> Statistics:
    """Compute all statistics of a study.

    Args:
        results: the study.
        draws: of each bootstrap.
        seed: of the draws.
        budget_unit: groups are compared at equal amounts of it.
    """
    signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in results.goals.directions])
    groups = compare_groups(results, results.groups, budget_unit=budget_unit)
    return Statistics(
        budget_unit=budget_unit,
        groups=groups,
        comparisons={path: compare_all(each, draws=draws, seed=seed) for path, each in groups.items()},
        bands={path: image_bands(each, signs, draws=draws, seed=seed) for path, each in groups.items()},
        importances=_importances(results, seed),
    )


def _importances(results: Results, seed: int) -> dict[str, dict[str, float]]:
    with warnings.catch_warnings():
        # In a notebook, Optuna's import warns that the widgets of its progress bars are missing.
        warnings.filterwarnings("ignore", "IProgress not found")
        from study.search.importance import importances, joint_distributions

    points = last_points(results.points)
    trials = results.trials.set_index("trial").loc[points["trial"]]
    sampled = [column for column in trials if column.startswith("param.")]
    params = [
        {name.removeprefix("param."): value for name, value in row.items() if pd.notna(value)}
        for row in trials[sampled].to_dict("records")
    ]
    texts = trials.get("distributions", pd.Series(dtype="string")).dropna().unique()
    distributions = {
        name: joint
        for name, joint in joint_distributions(map(DISTRIBUTIONS.validate_json, texts)).items()
        # A choice that is a list may be stored in the table in another form.
        if joint.kind != "categorical" or all(each.get(name, joint.choices[0]) in joint.choices for each in params)
    }
    found = {}
    for objective in results.objectives:
        values = points[objective.metric].to_numpy(dtype=np.float64)
        measured = np.isfinite(values)
        known = [each for each, is_known in zip(params, measured, strict=True) if is_known]
        found[objective.metric] = importances(known, values[measured].tolist(), distributions, seed=seed)
    return found
