"""Groups of trials whose true fronts are known, with images of different difficulty."""

from dataclasses import dataclass

import moocore
import numpy as np

from analysis.statistics.groups import Group, GroupComparison

CORNER = np.array([-20.0, 0.6])
"""PSNR of 20 dB and LPIPS of 0.6, as losses."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A distribution of group comparisons.

    Attributes:
        images: for validation.
        points: of each group, along its front.
        shift: by how many dB the second group is worse.
        by_group: standard deviation, in dB, of what an image does to all points of a group.
        by_point: of what it does to a single point.
        seeds: each setting is trained with so many.
        by_seed: standard deviation, in dB, of a run's mean.
    """

    images: int = 20
    points: int = 8
    shift: float = 0.1
    by_group: float = 0.2
    by_point: float = 0.1
    seeds: int = 1
    by_seed: float = 0.0

    def comparison(self, random: np.random.Generator) -> GroupComparison:
        """Draw one."""
        hard = random.normal(0, 1, (self.images, 2)) * (2.0, 0.06)
        groups = tuple(self._group(name, hard, random) for name in ("one", "other"))
        return GroupComparison(path="loss.guidance", groups=groups, corner=CORNER, images=self.images)

    def truth(self, random: np.random.Generator) -> float:
        """The difference of hypervolumes over infinitely many images and seeds."""
        return self._expected("one", random) - self._expected("other", random)

    def _front(self, name: str) -> np.ndarray:
        along = np.linspace(0, 1, self.points)
        shift = self.shift if name == "other" else 0.0
        return np.stack([-(29.5 - 1.5 * along**1.5) + shift, 0.45 - 0.2 * along**0.7 + 0.02 * shift], axis=1)

    def _expected(self, name: str, random: np.random.Generator) -> float:
        front, luck = self._front(name), (self.by_seed, 0.05 * self.by_seed)
        draws = 4000 if self.by_seed else 1
        return float(
            np.mean(
                [moocore.hypervolume(front + random.normal(0, 1, front.shape) * luck, ref=CORNER) for _ in range(draws)]
            )
        )

    def _group(self, name: str, hard: np.ndarray, random: np.random.Generator) -> Group:
        scale = np.array([1.0, 0.06])
        base = self._front(name)[:, None] + hard + random.normal(0, 1, (1, self.images, 2)) * self.by_group * scale
        shape = (self.seeds, self.points)
        noise = random.normal(0, 1, (*shape, self.images, 2)) * self.by_point * scale
        luck = random.normal(0, 1, (*shape, 1, 2)) * self.by_seed * (1.0, 0.05)
        number = self.seeds * self.points
        costs = np.full((number, self.seeds), np.inf)
        costs[np.arange(number), np.arange(number) // self.points] = 1.0
        return Group(
            value=name,
            seeds=tuple(range(self.seeds)),
            repeated=(self.points if self.seeds > 1 else 0, self.points),
            settings=np.tile(np.arange(self.points), self.seeds),
            trials=np.arange(number),
            losses=(base + noise + luck).reshape(number, self.images, 2),
            costs=costs,
        )
