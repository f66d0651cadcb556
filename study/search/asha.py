"""Which trials to stop early: asynchronous successive halving with ranks of several objectives.

Successive halving after ASHA (Li et al., MLSys 2020): a trial that reaches a rung is compared with all that reached it
before, and goes on if it is among the best 1 / reduction_factor of them; nobody waits for others. Ranks are those of non-dominated
sorting (NSGA-II, Deb et al. 2002), and within one front of the hypervolume that only a point has, or of its crowding
distance. Trials that miss a bound come behind all others, by how much they miss it (Deb et al. 2002, section VI).
Syne Tune's MOASHA (Schmucker et al. 2021) has the same rungs, and orders a front by an epsilon-net.

A decision depends on nothing but the order in which points came, so a rule that is told the points of a journal again
is where it was.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import moocore
import numpy as np

from study.search.front import Direction, as_losses

TieBreak = Literal["hypervolume", "crowding"]


@dataclass(frozen=True)
class Rungs:
    """Where trials are compared: at `grace_period`, `grace_period * reduction_factor`, `grace_period * reduction_factor**2` ... iterations, below the budget.

    Attributes:
        grace_period: iterations that every trial is given.
        reduction_factor: at each rung, one of so many goes on; above 1.
        tie_break: what orders trials of one front.
    """

    grace_period: int
    reduction_factor: float = 3.0
    tie_break: TieBreak = "hypervolume"

    def __post_init__(self) -> None:
        """Check what was given; ValueError."""
        if self.grace_period < 1:
            raise ValueError(f"--grace-period must be at least 1 iteration, but got {self.grace_period}")
        if not (math.isfinite(self.reduction_factor) and self.reduction_factor > 1):
            raise ValueError(
                f"--reduction-factor must be above 1, for one trial of reduction_factor goes on at a rung, but got {self.reduction_factor}"
            )

    def of(self, budget: int, spacing: int) -> tuple[int, ...]:
        """The rungs of trials that train for `budget` iterations and are evaluated every `spacing`.

        A rung that falls between two points stands at the later of them. At the budget there is nothing to stop.

        Raises:
            ValueError: not even the first rung is below the budget.
        """
        rungs, at = [], float(self.grace_period)
        while at < budget:
            rungs.append(spacing * math.ceil(at / spacing - 1e-9))
            at *= self.reduction_factor
        below = tuple(dict.fromkeys(rung for rung in rungs if rung < budget))
        if not below:
            raise ValueError(
                f"--grace-period {self.grace_period} leaves no rung below the {budget} iterations of a trial, which is evaluated every "
                f"{spacing}; lower --grace-period, or budget's eval_schedule.evaluate_every"
            )
        return below


@dataclass(frozen=True)
class Decision:
    """What became of a trial at a rung.

    Attributes:
        trial, rung, iteration: who, where, and when its point was taken.
        go_on: whether it goes on.
        position, among: its place, from 1, of so many that have reached the rung by now, itself included.
        reason: in words, for the journal.
    """

    trial: int
    rung: int
    iteration: int
    go_on: bool
    position: int
    among: int
    reason: str


@dataclass
class MultiObjectiveASHA:
    """The state of the rule: who reached which rung with what.

    Attributes:
        rungs: in iterations, ascending.
        reduction_factor: one of so many goes on.
        directions, reference: of the objectives; the reference point bounds the hypervolume.
        tie_break: what orders trials of one front.
        seed: orders those that are equal in that, too.
    """

    rungs: Sequence[int]
    reduction_factor: float
    directions: Sequence[Direction]
    reference: Sequence[float]
    tie_break: TieBreak = "hypervolume"
    seed: int = 0
    _reached: dict[int, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    _missed: dict[int, dict[int, float]] = field(default_factory=dict)
    _stopped: set[int] = field(default_factory=set)

    def take(self, trial: int, iteration: int, values: Sequence[float], violation: float = 0.0) -> Decision | None:
        """Take a trial's point; None where it reaches no rung that the trial has not reached before.

        Points that come late are no news: of a trial that was stopped, or of an iteration below a rung that it has
        passed. A trial that skipped rungs is compared at the highest that it has reached.

        Args:
            trial: its number.
            iteration: of the point.
            values: the objectives; one that is not finite makes the trial the last of its rung.
            violation: by how much it misses its bounds (`constraints.total_violation`).
        """
        if len(values) != len(self.directions):
            raise ValueError(f"a point needs {len(self.directions)} objectives, but trial {trial} has {len(values)}")
        rung = max((rung for rung in self.rungs if rung <= iteration), default=None)
        passed = max((rung for rung, reached in self._reached.items() if trial in reached), default=-1)
        if rung is None or rung <= passed or trial in self._stopped:
            return None
        reached = self._reached.setdefault(rung, {})
        reached[trial] = tuple(map(float, values))
        self._missed.setdefault(rung, {})[trial] = violation
        decision = self._decide(trial, rung, iteration)
        if not decision.go_on:
            self._stopped.add(trial)
        return decision

    def _decide(self, trial: int, rung: int, iteration: int) -> Decision:
        reached = self._reached[rung]
        trials = list(reached)
        missed = np.array([self._missed[rung][number] for number in trials])
        order = self._order(trials, np.array([reached[number] for number in trials]), missed)
        position, among = order.index(trials.index(trial)) + 1, len(trials)
        finite = all(math.isfinite(value) for value in reached[trial])
        kept = max(1, math.floor(among / self.reduction_factor))
        go_on = finite and position <= kept
        why = f"rank {position} of {among} at iteration {rung}, of which {kept} go on"
        if self._missed[rung][trial] > 0:
            why += "; it misses a bound"
        if not finite:
            why = f"its objectives {reached[trial]} at iteration {iteration} are not all finite"
        return Decision(trial, rung, iteration, go_on, position, among, why)

    def _order(self, trials: Sequence[int], values: np.ndarray, missed: np.ndarray) -> list[int]:
        """Indices from best to worst."""
        losses = as_losses(values, self.directions)
        corner = as_losses(np.array([self.reference], dtype=np.float64), self.directions)[0]
        fronts = _front_numbers(np.where(missed[:, None] > 0, np.nan, losses))
        finite = np.isfinite(losses).all(axis=1)
        # Behind every front those that miss a bound, by how much; behind these what is not a number.
        fronts[finite & (missed > 0)] = _MISSES
        merit = np.where(fronts == _MISSES, -missed, 0.0)
        for front in set(fronts.tolist()) - {_MISSES, _LAST}:
            members = np.flatnonzero(fronts == front)
            merit[members] = _merits(losses[members], corner, self.tie_break)
        drawn = [_draw(self.seed, trial) for trial in trials]
        return sorted(range(len(losses)), key=lambda index: (fronts[index], -merit[index], drawn[index]))


_LAST = np.iinfo(np.int64).max
_MISSES = _LAST - 1


def _front_numbers(losses: np.ndarray) -> np.ndarray:
    """Which front each point is on, from 0; `_LAST` for those with a value that is not finite."""
    numbers = np.full(len(losses), _LAST)
    finite = np.isfinite(losses).all(axis=1)
    if finite.any():
        numbers[finite] = moocore.pareto_rank(losses[finite])
    return numbers


def _merits(losses: np.ndarray, corner: np.ndarray, tie_break: TieBreak) -> np.ndarray:
    """What tells the points of one front apart: larger is better."""
    if tie_break == "hypervolume":
        return np.asarray(moocore.hv_contributions(losses, ref=corner), dtype=np.float64)
    return crowding_distances(losses)


def crowding_distances(losses: np.ndarray) -> np.ndarray:
    """How far the neighbours of each point of a front are apart (Deb et al. 2002, section III-B).

    Args:
        losses: shape (n, m), finite.

    Returns:
        Shape (n,): the sum over objectives of the distance between the two neighbours, as a share of the objective's
        range; infinite at an end of an objective's range.
    """
    distances = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distances[order[[0, -1]]] = np.inf
        if span > 0:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distances


def _draw(seed: int, trial: int) -> int:
    """A number for a trial that depends on nothing but the seed and its own."""
    return int.from_bytes(hashlib.sha256(f"{seed} {trial}".encode()).digest()[:8], "big")
