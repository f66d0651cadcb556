"""Syne Tune's MOASHA (Schmucker et al. 2021), as a peer: rewritten from the source of syne-tune 0.15 (Apache-2.0).

The rungs are ASHA's; a trial at a rung is compared with all trials that reached it before. Points are ordered by
non-dominated sorting, within a front by an epsilon-net: first the best point in the first objective, then always the
one farthest from those chosen before. The paper stops a trial by its rank in that order. With `as_coded` the class
computes what the released code computes: it uses the net's ranks as its order, and the last entry of the order, which
is the index of the worst point, as the rank of the new point.
"""

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Moasha:
    """One bracket, Syne Tune's default.

    Attributes:
        grace_period: iterations of the first rung.
        budget: iterations of a trial.
        reduction_factor: one of so many trials continues at a rung.
        as_coded: decide as the released code, not as the paper.
    """

    grace_period: int
    budget: int
    reduction_factor: float
    as_coded: bool = False
    _reached: dict[float, dict[int, np.ndarray]] = field(default_factory=dict)

    def continues(self, trial: int, iteration: int, losses: np.ndarray) -> bool:
        """Decide by a trial's point; less is better."""
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
        """Return the rank of the newest point, from 0."""
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
    """Return indices: the best in the first objective, then always the one farthest from those before."""
    order = [int(losses[:, 0].argmin())]
    left = [index for index in range(len(losses)) if index != order[0]]
    while left:
        nearest = [min(float(np.linalg.norm(losses[index] - losses[other])) for other in order) for index in left]
        order.append(left.pop(int(np.argmax(nearest))))
    return order


def _is_beaten(point: np.ndarray, others: np.ndarray) -> bool:
    return bool(((others <= point).all(axis=1) & (others < point).any(axis=1)).any())
