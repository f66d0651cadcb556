"""Which group's front is better at equal budget, and how sure that is.

For each pair of groups: the difference of their fronts' hypervolumes, with an interval and the probability that it is
above 0, and how often the one front dominates the other. What is resampled, with replacement, is the
held-out images, the same for both groups, so that what is hard for both cancels (a paired bootstrap); and, of settings
that were trained with several seeds, which of their runs stands for them.
"""

import itertools
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
        budget: what the cheaper of the two spent, in the contest's budget_unit.
        volumes: the hypervolume of each; of several seeds the mean.
        difference: the first's less the second's, with its 95% interval and the probability that it is above 0.
        dominates, dominated: share of the draws in which every point of the second's front is reached or beaten by the
            first's, and the other way round; NaN where nothing varies.
    """

    one: str
    other: str
    budget: float
    volumes: tuple[float, float]
    difference: Interval
    dominates: float
    dominated: float


def compare_all(contest: GroupComparison, *, draws: int = DRAWS, seed: int = 0) -> tuple[Comparison, ...]:
    """Compare each pair of groups, in the order of their values; fewer than two give nothing.

    Args:
        contest: the groups.
        draws: of the bootstrap.
        seed: of the draws.
    """
    weights = resampled_weights(contest.images, draws, np.random.default_rng(seed))
    races: dict[tuple[str, float], _Race] = {}

    def race(group: Group, budget: float) -> _Race:
        """What a group reached within a budget; most pairs have some of these in common."""
        key = (group.value, budget)
        if key not in races:
            races[key] = _Race(group, budget, contest.corner, weights)
        return races[key]

    def compare(one: Group, other: Group) -> Comparison:
        budget = min(one.total, other.total)
        return _compare(contest, race(one, budget), race(other, budget), np.random.default_rng(seed))

    return tuple(itertools.starmap(compare, itertools.combinations(contest.groups, 2)))


def _compare(contest: GroupComparison, first: "_Race", second: "_Race", random: np.random.Generator) -> Comparison:
    volumes = (first.volume(), second.volume())
    by_images = first.volumes_of_images() - second.volumes_of_images()
    by_seeds = [race.volumes_of_seeds(random) for race in (first, second)]
    sources = [
        Source(by_images, contest.images, contest.images - 1),
        *(Source(found, race.runs, race.freedom) for race, found in zip((first, second), by_seeds, strict=True)),
    ]
    varies = any(source.units > 1 for source in sources)
    wins = _dominance(first, second, random) if varies else (float("nan"), float("nan"))
    return Comparison(
        one=first.value,
        other=second.value,
        budget=first.budget,
        volumes=volumes,
        difference=bootstrap_interval(volumes[0] - volumes[1], sources),
        dominates=wins[0],
        dominated=wins[1],
    )


class _Race:
    """What a group reached within a budget.

    A draw of seeds gives each setting that was trained with several one of its runs, whichever: runs of one seed have
    nothing in common that would make one setting's luck that of another.

    Attributes:
        value, budget: which group, and how many device-seconds.
        runs: how many runs a repeated setting has on average; 1 where none was repeated.
        freedom: degrees of freedom of the variance among runs (Satterthwaite's, by what each setting adds to it).
    """

    def __init__(self, group: Group, budget: float, corner: np.ndarray, weights: np.ndarray) -> None:
        self.value, self.budget = group.value, budget
        self._corner, self._weights = corner, weights
        reached = group.costs.min(axis=1) <= budget
        self._losses = group.losses[reached]
        self._means = self._losses.mean(axis=1)
        self._trials, self._settings = group.trials[reached], group.settings[reached]
        # What stands for each seed: the points of that seed's study.
        self._studies = [(costs <= budget)[reached] for costs in group.costs.T]
        self._fronts = [self._drawn_fronts(self._losses[study]) for study in self._studies]
        self._runs_of = [np.unique(self._trials[self._settings == setting]) for setting in range(self._last + 1)]
        known = [len(runs) for runs in self._runs_of if len(runs) > 1]
        self.runs = float(np.mean(known)) if known else 1.0
        self.freedom = self._freedom() if known else 0.0

    @property
    def draws(self) -> int:
        """How often images were drawn."""
        return len(self._weights)

    def volume(self) -> float:
        """The hypervolume; of several seeds the mean."""
        return float(np.mean([self._volume(self._means[study]) for study in self._studies]))

    def volumes_of_images(self) -> np.ndarray:
        """The same for each draw of images, shape (draws,)."""
        return np.mean([[self._volume(front) for front in fronts] for fronts in self._fronts], axis=0)

    def volumes_of_seeds(self, random: np.random.Generator) -> np.ndarray:
        """The same for as many draws of as many seeds' studies as there are: shape (draws,)."""
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
        """The front of the means for one draw of images and of runs, shape (points, objectives)."""
        if self.runs == 1:
            return self._fronts[0][draw]
        return _front(weighted_means(self._losses[self.drawn(random)], self._weights[draw : draw + 1])[0])

    def _drawn_fronts(self, losses: np.ndarray) -> list[np.ndarray]:
        """For each draw of images, the front of the means."""
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
        """What a setting adds to the variance, all others being as they are, and its degrees of freedom."""
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


def _dominance(first: _Race, second: _Race, random: np.random.Generator) -> tuple[float, float]:
    """How often each front reaches or beats all of the other's."""
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
    """Whether each point of a front is equalled or beaten by some of another's; not if both cover each other."""
    if not len(one) or not len(other):
        return len(one) > len(other)
    reached = (one[:, None] <= other[None]).all(axis=2).any(axis=0).all()
    equal = (other[:, None] <= one[None]).all(axis=2).any(axis=0).all()
    return bool(reached and not equal)
