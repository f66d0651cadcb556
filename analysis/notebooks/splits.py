"""A study seen by the settings that somebody asks about, in place of the study's own groups."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.formatting import count_text, list_text, path_label, short_text
from analysis.notebooks.sources import OpenStudy
from analysis.statistics.compute import Statistics, compute_statistics
from analysis.statistics.dominance import DRAWS
from analysis.statistics.fronts import group_values, is_candidate, is_of_trial, natural_order
from analysis.statistics.tables import Results

NO_SAY = "none"
"""The value of a setting that had no say in a point (`fronts.group_values`)."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A study, split by settings.

    Attributes:
        study: as it was read.
        wanted: the config paths that were asked about.
        results: the study's, with those of them as groups that differ between trials.
        statistics: what was reckoned of these groups.
    """

    study: OpenStudy
    wanted: tuple[str, ...]
    results: Results
    statistics: Statistics

    @property
    def paths(self) -> tuple[str, ...]:
        """The settings that differ."""
        return self.results.facts.groups

    @property
    def refusal(self) -> str:
        """Say why the study does not answer the question; empty where it does."""
        return "" if self.paths else _refusal(self.results, self.wanted)


def ask(study: OpenStudy, wanted: Sequence[str] | None = None, *, draws: int = DRAWS) -> Question:
    """Split a study by settings.

    Args:
        study: which was opened.
        wanted: config paths; None for the study's own groups.
        draws: of the bootstrap.
    """
    asked = study.results.facts.groups if wanted is None else tuple(wanted)
    results = regrouped(study.results, [path for path in asked if len(values_of(study.results, path)) > 1])
    return Question(study=study, wanted=asked, results=results, statistics=compute_statistics(results, draws=draws))


def regrouped(results: Results, paths: Sequence[str]) -> Results:
    """The same results, to be split by other config paths."""
    return replace(results, facts=replace(results.facts, groups=tuple(paths)))


def restricted(results: Results, path: str, value: str) -> Results:
    """The same results without the trials' points of other groups; references stay."""
    points = results.points
    other = np.asarray(group_values(points, path) != value, dtype=bool)
    trained = np.asarray(points["trial"].notna(), dtype=bool)
    return replace(results, points=points[~(trained & other)])


def values_of(results: Results, path: str) -> list[str]:
    """The values of a config path among trials that did not fail, where it had a say, in their order."""
    points = results.points[is_candidate(results.points) & is_of_trial(results.points)]
    return sorted(set(group_values(points, path)) - {NO_SAY}, key=natural_order)


def _refusal(results: Results, wanted: Sequence[str]) -> str:
    if not wanted:
        return "This study names no settings to split its trials by, so there is nothing to compare here."
    known = {path: values_of(results, path) for path in wanted}
    if not any(known.values()):
        trials = count_text(len(results.trials), "trial")
        return f"No point of this study's {trials} has {list_text(wanted)}, so there is nothing to compare here."
    parts = [f"{path_label(path)} is {short_text(values[0])} in all trials" for path, values in known.items() if values]
    return f"There is nothing to compare here: in this study, {list_text(parts)}."
