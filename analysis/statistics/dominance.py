"""Which group's front is better at equal budget, and how certain that is.

For each pair of groups: the difference of their fronts' hypervolumes, with an interval and the probability that it is
above 0, and how often one front dominates the other. Validation images are resampled with replacement, the same for
both groups, so that the difficulty of an image cancels (a paired bootstrap); of settings that were trained with
several seeds, the run that represents them is resampled as well.
"""

import itertools
import math
from dataclasses import dataclass

import moocore
import numpy as np

from analysis.statistics.groups import Group, GroupComparison
from analysis.statistics.resampling import (
    Interval,
    Source,
    bootstrap_interval,
    may_be_best,
    resampled_weights,
    weighted_means,
)

DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two groups at equal budget.

    Attributes:
        one, other: their values.
        budget: what the cheaper of the two spent, in the comparison's budget unit.
        runs: how many trials of each had a point by then.
        volumes: the hypervolume of each; the mean over several seeds; NaN without a point.
        difference: the first's less the second's, with its 95% interval and the probability that it is above 0; NaN
            where one of them has no point.
        dominates, dominated: share of the draws in which every point of the second's front is reached or beaten by the
            first's, and the other way round; NaN where nothing varies, or one of them has no point.
    """

    one: str
    other: str
    budget: float
    runs: tuple[int, int]
    volumes: tuple[float, float]
    difference: Interval
    dominates: float
    dominated: float

    @property
    def likelihoods(self) -> tuple[float, float, float]:
        """Probability that the first's hypervolume is larger, `dominates` and `dominated`.

        NaN where a group is one run: how much runs differ is unknown, and without that nothing is likely or sure.
        """
        if min(self.runs) < 2:
            return math.nan, math.nan, math.nan
        return self.difference.positive, self.dominates, self.dominated


def compare_all(comparison: GroupComparison, *, draws: int = DRAWS, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare each pair of groups, in the order of their values; fewer than two give nothing.

    Args:
        comparison: the groups.
        draws: of the bootstrap.
        seed: of the draws.
    """
    weights = resampled_weights(comparison.images, draws, np.random.default_rng(seed))
    known: dict[tuple[str, float], _Reached] = {}

    def reached(group: Group, budget: float) -> _Reached:
        key = (group.value, budget)
        if key not in known:  # most pairs share some of these
            known[key] = _Reached(group, budget, comparison.corner, weights)
        return known[key]

    def compare(one: Group, other: Group) -> Comparison:
        budget = min(one.total, other.total)
        return _compare(comparison, reached(one, budget), reached(other, budget), np.random.default_rng(seed))

    return tuple(itertools.starmap(compare, itertools.combinations(comparison.groups, 2)))


def _compare(
    comparison: GroupComparison, first: "_Reached", second: "_Reached", random: np.random.Generator
) -> Comparison:
    difference, wins = Interval(*[math.nan] * 4), (math.nan, math.nan)
    if first.has_points and second.has_points:
        difference, wins = _difference(comparison, first, second, random)
    return Comparison(
        one=first.value,
        other=second.value,
        budget=first.budget,
        runs=(first.trials, second.trials),
        volumes=(first.volume(), second.volume()),
        difference=difference,
        dominates=wins[0],
        dominated=wins[1],
    )


def _difference(
    comparison: GroupComparison, first: "_Reached", second: "_Reached", random: np.random.Generator
) -> tuple[Interval, tuple[float, float]]:
    """Return the difference of the hypervolumes, and the shares of draws in which either front dominates."""
    by_images = first.volumes_of_images() - second.volumes_of_images()
    by_seeds = [each.volumes_of_seeds(random) for each in (first, second)]
    sources = [
        Source(by_images, comparison.images, comparison.images - 1),
        *(Source(found, each.runs, each.freedom) for each, found in zip((first, second), by_seeds, strict=True)),
    ]
    varies = any(source.units > 1 for source in sources)
    wins = _dominance(first, second, random) if varies else (math.nan, math.nan)
    return bootstrap_interval(first.volume() - second.volume(), sources), wins


class _Reached:
    """What a group reached within a budget.

    A draw of seeds gives each setting that was trained with several seeds one of its runs, independently of other
    settings: runs with the same seed share nothing that would correlate them.

    Attributes:
        value, budget: of the group, and in the comparison's budget unit.
        runs: how many runs a repeated setting has on average; 1 where none was repeated.
        freedom: degrees of freedom of the variance among runs (Satterthwaite's, by the variance of each setting).
    """

    def __init__(self, group: Group, budget: float, corner: np.ndarray, weights: np.ndarray) -> None:
        self.value, self.budget = group.value, budget
        self._corner, self._weights = corner, weights
        reached = group.costs.min(axis=1) <= budget
        self._losses = group.losses[reached]
        self._means = self._losses.mean(axis=1)
        self._trials, self._settings = group.trials[reached], group.settings[reached]
        # A seed is represented by the points of its study.
        self._studies = [(costs <= budget)[reached] for costs in group.costs.T]
        self._fronts = [self._drawn_fronts(self._losses[study]) for study in self._studies]
        self._runs_of = [np.unique(self._trials[self._settings == setting]) for setting in range(self._last + 1)]
        known = [len(runs) for runs in self._runs_of if len(runs) > 1]
        self.runs = float(np.mean(known)) if known else 1.0
        self.freedom = self._freedom() if known else 0.0

    @property
    def draws(self) -> int:
        """Number of draws of images."""
        return len(self._weights)

    @property
    def trials(self) -> int:
        """Number of trials with a point."""
        return len(set(self._trials.tolist()))

    @property
    def has_points(self) -> bool:
        """Whether the study of each seed has a point."""
        return all(study.any() for study in self._studies)

    def volume(self) -> float:
        """Return the hypervolume; the mean over several seeds; NaN without a point."""
        if not self.has_points:
            return math.nan
        return float(np.mean([self._volume(self._means[study]) for study in self._studies]))

    def volumes_of_images(self) -> np.ndarray:
        """Return the hypervolume for each draw of images, shape (draws,)."""
        return np.mean([[self._volume(front) for front in fronts] for fronts in self._fronts], axis=0)

    def volumes_of_seeds(self, random: np.random.Generator) -> np.ndarray:
        """Return the mean hypervolume for each draw of as many studies as there are seeds, shape (draws,)."""
        if self.runs == 1:
            return np.full(len(self._weights), self.volume())
        found = [[self._volume(self._means[self.drawn(random)]) for _ in self._studies] for _ in self._weights]
        return np.mean(found, axis=1)

    def drawn(self, random: np.random.Generator) -> np.ndarray:
        """Mark the points of one run of each setting, drawn at random."""
        chosen = np.array([runs[random.integers(len(runs))] if len(runs) else -1 for runs in self._runs_of])
        mask: np.ndarray = chosen[self._settings] == self._trials
        return mask

    def front(self, draw: int, random: np.random.Generator) -> np.ndarray:
        """Return the front of the means for one draw of images and of runs, shape (points, objectives)."""
        if self.runs == 1:
            return self._fronts[0][draw]
        return _front(weighted_means(self._losses[self.drawn(random)], self._weights[draw : draw + 1])[0])

    def _drawn_fronts(self, losses: np.ndarray) -> list[np.ndarray]:
        """Return the front of the means for each draw of images."""
        return [_front(means) for means in weighted_means(losses[may_be_best(losses)], self._weights)]

    @property
    def _last(self) -> int:
        return int(self._settings.max(initial=-1))

    def _freedom(self) -> float:
        parts = np.array([self._variance_of(setting) for setting in range(self._last + 1)])
        if not parts[:, 0].any():
            return 1.0
        return float(parts[:, 0].sum() ** 2 / (parts[:, 0] ** 2 / np.maximum(parts[:, 1], 1)).sum())

    def _variance_of(self, setting: int) -> tuple[float, int]:
        """Return what a setting adds to the variance with all others fixed, and its degrees of freedom."""
        runs = self._runs_of[setting]
        if len(runs) < 2:
            return 0.0, 0
        others = self._settings != setting
        found = [
            [self._volume(self._means[(study & others) | (self._trials == run)]) for run in runs]
            for study in self._studies
        ]
        return float(np.var(found, axis=1).mean()), len(runs) - 1

    def _volume(self, values: np.ndarray) -> float:
        return float(moocore.hypervolume(values, ref=self._corner)) if len(values) else 0.0


def _dominance(first: _Reached, second: _Reached, random: np.random.Generator) -> tuple[float, float]:
    """Return the share of draws in which each front reaches or beats all of the other."""
    wins = []
    for draw in range(first.draws):
        one, other = first.front(draw, random), second.front(draw, random)
        wins.append((_covers(one, other), _covers(other, one)))
    shares = np.mean(wins, axis=0)
    return float(shares[0]), float(shares[1])


def _front(means: np.ndarray) -> np.ndarray:
    front: np.ndarray = means[moocore.is_nondominated(means, keep_weakly=False)] if len(means) else means
    return front


def _covers(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether `one` equals or beats each point of `other`; False if both cover each other."""
    reached = (one[:, None] <= other[None]).all(axis=2).any(axis=0).all()
    equal = (other[:, None] <= one[None]).all(axis=2).any(axis=0).all()
    return bool(reached and not equal)
