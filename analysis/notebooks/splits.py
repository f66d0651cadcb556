"""A study split by chosen settings in place of its own groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.formatting import count_text, list_text, path_label, short_text
from analysis.notebooks.sources import OpenStudy
from analysis.statistics.compute import Statistics, compute_statistics
from analysis.statistics.dominance import DRAWS
from analysis.statistics.fronts import NO_VALUE, group_values, is_candidate, is_of_trial, natural_order
from analysis.statistics.tables import Results, regrouped


@dataclass(frozen=True, kw_only=True)
class Split:
    """A study, split by settings.

    Attributes:
        study: as it was read.
        wanted: the config paths to split by.
        results: the study's, with those of them as groups that differ between trials.
        statistics: of these groups.
    """

    study: OpenStudy
    wanted: tuple[str, ...]
    results: Results
    statistics: Statistics

    @property
    def paths(self) -> tuple[str, ...]:
        """The settings that differ."""
        return self.results.groups

    @property
    def refusal(self) -> str:
        """Why there is nothing to compare; empty if there is."""
        return "" if self.paths else _refusal(self.results, self.wanted)


def split_study(study: OpenStudy, wanted: Sequence[str] | None = None, *, draws: int = DRAWS) -> Split:
    """Split a study by settings.

    Args:
        study: an open study.
        wanted: config paths; None for the study's own groups.
        draws: of the bootstrap.
    """
    paths = study.results.groups if wanted is None else tuple(wanted)
    results = regrouped(study.results, [path for path in paths if len(values_of(study.results, path)) > 1])
    return Split(study=study, wanted=paths, results=results, statistics=compute_statistics(results, draws=draws))


def restricted(results: Results, path: str, value: str) -> Results:
    """Return the same results without the trials' points of other groups; references stay."""
    points = results.points
    other = np.asarray(group_values(points, path) != value, dtype=bool)
    trained = np.asarray(points["trial"].notna(), dtype=bool)
    return replace(results, points=points[~(trained & other)])


def values_of(results: Results, path: str) -> list[str]:
    """Return the values of a config path among trials that did not fail and that it has an effect on, in order."""
    points = results.points[is_candidate(results.points) & is_of_trial(results.points)]
    return sorted(set(group_values(points, path)) - {NO_VALUE}, key=natural_order)


def _refusal(results: Results, wanted: Sequence[str]) -> str:
    if not wanted:
        return "This study has no settings to split its trials by, so there is nothing to compare here."
    known = {path: values_of(results, path) for path in wanted}
    if not any(known.values()):
        trials = count_text(len(results.trials), "trial")
        return f"No point of this study's {trials} has {list_text(wanted)}, so there is nothing to compare here."
    parts = [f"{path_label(path)} is {short_text(values[0])} in all trials" for path, values in known.items() if values]
    return f"There is nothing to compare here: in this study, {list_text(parts)}."
