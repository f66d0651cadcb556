"""Syne Tune's MOASHA, written down from its source (syne-tune 0.15, Apache-2.0) to be compared with.

Its rungs are those of ASHA; a trial that reaches one is compared with all that reached it before. Points are ordered by
non-dominated sorting, and within a front by an epsilon-net: the point that is best in the first objective, then always
the one that is farthest from those taken. `MOASHA` stops a trial by its place in that order, as the paper has it
(Schmucker et al. 2021). `MOASHA_AS_CODED` does what the released code computes: there the net's ranks are taken for its
order, and the order's last entry, the index of the worst point, for the new point's rank.
"""

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Moasha:
    """A bracket of it; trials of one bracket are what it uses by default.

    Attributes:
        grace_period, budget, reduction_factor: iterations of the first rung, iterations of a trial, one of reduction_factor goes on.
        as_coded: decide as the released code does.
    """

    grace_period: int
    budget: int
    reduction_factor: float
    as_coded: bool = False
    _reached: dict[float, dict[int, np.ndarray]] = field(default_factory=dict)

    def goes_on(self, trial: int, iteration: int, losses: np.ndarray) -> bool:
        """Take a trial's point (less is better) and decide."""
        count = int(math.log(self.budget / self.grace_period) / math.log(self.reduction_factor) + 1)
        for rung in [self.grace_period * self.reduction_factor**power for power in reversed(range(count))]:
            reached = self._reached.setdefault(rung, {})
            if iteration < rung or trial in reached:
                continue
            reached[trial] = losses
            if len(reached) == 1:
                return True
            return self._rank(np.array(list(reached.values()))) / len(reached) <= 1 / self.reduction_factor
        return True

    def _rank(self, losses: np.ndarray) -> int:
        """The newest point's place, from 0."""
        order = self._order(losses)
        return order[-1] if self.as_coded else order.index(len(losses) - 1)

    def _order(self, losses: np.ndarray) -> list[int]:
        left, order = np.arange(len(losses)), []
        while len(left):
            on = np.array([not _is_beaten(losses[index], losses[left]) for index in left])
            front = left[on]
            net = epsilon_net(losses[front])
            order += front[np.argsort(net) if self.as_coded else net].tolist()
            left = left[~on]
        return order


def epsilon_net(losses: np.ndarray) -> list[int]:
    """Indices: the best in the first objective, then always the one that is farthest from those before."""
    order = [int(losses[:, 0].argmin())]
    left = [index for index in range(len(losses)) if index != order[0]]
    while left:
        nearest = [min(float(np.linalg.norm(losses[index] - losses[other])) for other in order) for index in left]
        order.append(left.pop(int(np.argmax(nearest))))
    return order


def _is_beaten(point: np.ndarray, others: np.ndarray) -> bool:
    return bool(((others <= point).all(axis=1) & (others < point).any(axis=1)).any())
