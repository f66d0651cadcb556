"""Early stopping of trials: asynchronous successive halving (ASHA) with ranks of several objectives.

A trial that reaches a rung is compared with all that reached it before, and goes on if it is among the best
1 / reduction_factor of them; no trial waits for others (ASHA, Li et al., MLSys 2020, Algorithm 2). Ranks are those of
non-dominated sorting (NSGA-II, Deb et al. 2002, section III-A), and within one front of the hypervolume that a point
contributes alone, or of its crowding distance. Trials that violate a constraint rank behind all others, by total
violation (Deb et al. 2002, section VI). Syne Tune's MOASHA (Schmucker et al. 2021) has the same rungs and orders a
front by an epsilon-net.

Decisions depend only on the order of the points: replaying a journal's points restores the state.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import moocore
import numpy as np

from study.record.events import RungDecided
from study.record.goals import Direction
from study.search.front import as_losses

TieBreak = Literal["hypervolume", "crowding"]


@dataclass(frozen=True)
class Rungs:
    """Iterations at which trials are compared: `grace_period * reduction_factor ** k`, below the budget.

    Attributes:
        grace_period: iterations before the first comparison, at least 1.
        reduction_factor: one in so many trials goes on at each rung; above 1.
        tie_break: criterion that orders trials of one front.
    """

    grace_period: int
    reduction_factor: float = 3.0
    tie_break: TieBreak = "hypervolume"

    def __post_init__(self) -> None:
        """Check the values; ValueError."""
        if self.grace_period < 1:
            raise ValueError(f"--grace-period must be at least 1 iteration, but got {self.grace_period}")
        if not (math.isfinite(self.reduction_factor) and self.reduction_factor > 1):
            raise ValueError(f"--reduction-factor must be above 1 and finite, but got {self.reduction_factor}")

    def of(self, budget: int, spacing: int) -> tuple[int, ...]:
        """Return the rungs of trials that train for `budget` iterations and are evaluated every `spacing`.

        A rung between two points moves to the later of them; a rung at the budget is left out.

        Raises:
            ValueError: not even the first rung is below the budget.
        """
        rungs, at = [], float(self.grace_period)
        while at < budget:
            rungs.append(spacing * math.ceil(at / spacing - 1e-9))
            at *= self.reduction_factor
        below = tuple(dict.fromkeys(rung for rung in rungs if rung < budget))
        if not below:
            latest = spacing * ((budget - 1) // spacing)
            remedy = (
                f"lower --grace-period to {latest} or less"
                if latest
                else "lower eval_schedule.evaluate_every, and raise eval_schedule.evaluate_share"
            )
            raise ValueError(
                f"--grace-period {self.grace_period} leaves no rung below the {budget} iterations of a trial, which is "
                f"evaluated every {spacing}; {remedy}"
            )
        return below


@dataclass
class MultiObjectiveASHA:
    """The stopping rule and its state: the points of the trials at each rung.

    Attributes:
        rungs: in iterations, ascending.
        reduction_factor: one in so many trials goes on.
        directions, reference: of the objectives; the reference point bounds the hypervolume.
        tie_break: criterion that orders trials of one front.
        seed: orders trials that are equal in that as well.
    """

    rungs: Sequence[int]
    reduction_factor: float
    directions: Sequence[Direction]
    reference: Sequence[float]
    tie_break: TieBreak = "hypervolume"
    seed: int = 0
    _reached: dict[int, dict[int, tuple[float, ...]]] = field(default_factory=dict)
    _violations: dict[int, dict[int, float]] = field(default_factory=dict)
    _stopped: set[int] = field(default_factory=set)

    def on_result(
        self, trial: int, iteration: int, values: Sequence[float], violation: float = 0.0
    ) -> RungDecided | None:
        """Add a trial's point; return the decision, or None where the trial reaches no new rung.

        Points of a stopped trial, and of an iteration below a rung that the trial has passed, are ignored. A trial that
        skipped rungs is compared at the highest that it has reached.

        Args:
            trial: its number.
            iteration: of the point.
            values: the objectives; a value that is not finite ranks the trial last at its rung.
            violation: of the constraints, in total (`record.goals.total_violation`).
        """
        if len(values) != len(self.directions):
            raise ValueError(f"a point needs {len(self.directions)} objectives, but trial {trial} has {len(values)}")
        rung = max((rung for rung in self.rungs if rung <= iteration), default=None)
        passed = max((rung for rung, reached in self._reached.items() if trial in reached), default=-1)
        if rung is None or rung <= passed or trial in self._stopped:
            return None
        reached = self._reached.setdefault(rung, {})
        reached[trial] = tuple(map(float, values))
        self._violations.setdefault(rung, {})[trial] = violation
        decision = self._decide(trial, rung, iteration)
        if not decision.go_on:
            self._stopped.add(trial)
        return decision

    def _decide(self, trial: int, rung: int, iteration: int) -> RungDecided:
        reached = self._reached[rung]
        trials = list(reached)
        violations = np.array([self._violations[rung][number] for number in trials])
        order = self._order(trials, np.array([reached[number] for number in trials]), violations)
        position, among = order.index(trials.index(trial)) + 1, len(trials)
        finite = all(math.isfinite(value) for value in reached[trial])
        kept = max(1, math.floor(among / self.reduction_factor))
        reason = f"rank {position} of {among} at iteration {rung}, of which {kept} go on"
        if self._violations[rung][trial] > 0:
            reason += "; it violates a constraint"
        if not finite:
            reason = f"its objectives {reached[trial]} at iteration {iteration} are not all finite"
        return RungDecided(
            trial=trial,
            rung=rung,
            iteration=iteration,
            go_on=finite and position <= kept,
            position=position,
            among=among,
            reason=reason,
        )

    def _order(self, trials: Sequence[int], values: np.ndarray, violations: np.ndarray) -> list[int]:
        """Return indices from best to worst."""
        losses = as_losses(values, self.directions)
        corner = as_losses(np.array([self.reference], dtype=np.float64), self.directions)[0]
        fronts = _front_numbers(np.where(violations[:, None] > 0, np.nan, losses))
        finite = np.isfinite(losses).all(axis=1)
        # Violating trials rank behind every front, and trials with a value that is not finite behind those.
        fronts[finite & (violations > 0)] = _VIOLATING
        merit = np.where(fronts == _VIOLATING, -violations, 0.0)
        for front in set(fronts.tolist()) - {_VIOLATING, _LAST}:
            members = np.flatnonzero(fronts == front)
            merit[members] = _merits(losses[members], corner, self.tie_break)
        lots = [_lot(self.seed, trial) for trial in trials]
        return sorted(range(len(losses)), key=lambda index: (fronts[index], -merit[index], lots[index]))


_LAST = np.iinfo(np.int64).max
_VIOLATING = _LAST - 1


def _front_numbers(losses: np.ndarray) -> np.ndarray:
    """Return each point's front, from 0; `_LAST` for those with a value that is not finite."""
    numbers = np.full(len(losses), _LAST)
    finite = np.isfinite(losses).all(axis=1)
    if finite.any():
        numbers[finite] = moocore.pareto_rank(losses[finite])
    return numbers


def _merits(losses: np.ndarray, corner: np.ndarray, tie_break: TieBreak) -> np.ndarray:
    """Return the tie-break of the points of one front: larger is better."""
    if tie_break == "hypervolume":
        return np.asarray(moocore.hv_contributions(losses, ref=corner), dtype=np.float64)
    return crowding_distances(losses)


def crowding_distances(losses: np.ndarray) -> np.ndarray:
    """Compute the crowding distance of each point of a front (Deb et al. 2002, section III-B).

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


def _lot(seed: int, trial: int) -> int:
    """Return a number that depends only on the seed and the trial."""
    return int.from_bytes(hashlib.sha256(f"{seed} {trial}".encode()).digest()[:8], "big")
