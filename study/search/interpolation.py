"""More front between the points that a study has trained: which pairs of them to interpolate, and how.

Networks that were trained on from the same weights can be interpolated weight by weight (network interpolation of ESRGAN,
Wang et al. 2018, section 3.4), which costs a evaluation and no training. Interpolating the two images pixel by pixel needs no
common ancestor; it is the baseline that weights have to beat.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

InterpolationSpace = Literal["weights", "images"]


@dataclass(frozen=True)
class Parent:
    """Weights that a study has trained: a trial's point, or (without a trial) a fidelity generator.

    Attributes:
        trial, iteration: of the point.
        fidelity: key of the fidelity generator that it started from, or that it is; None for a trial from scratch.
        form: what its weights must share with others to be interpolated: all that determines the network.
    """

    trial: int | None
    iteration: int | None
    fidelity: str | None
    form: str

    @property
    def label(self) -> str:
        """How the front calls it."""
        if self.trial is None:
            assert self.fidelity is not None
            return fidelity_label(self.fidelity)
        return point_label(self.trial, self.iteration or 0)


@dataclass(frozen=True)
class Pair:
    """Two parents to interpolate, and in which spaces that can be done."""

    first: Parent
    second: Parent

    @property
    def spaces(self) -> tuple[InterpolationSpace, ...]:
        """Weights only where both descend from the same ones and are the same network."""
        first, second = self.first, self.second
        related = first.fidelity is not None and first.fidelity == second.fidelity and first.form == second.form
        return ("weights", "images") if related else ("images",)


def point_label(trial: int, iteration: int) -> str:
    """How the front calls a trial's point."""
    return f"trial {trial} at {iteration}"


def fidelity_label(key: str) -> str:
    """How the front calls a fidelity generator."""
    return f"fidelity {key[-6:]}"


def shares_of(count: int) -> tuple[float, ...]:
    """How much of the second parent each of `count` interpolations takes, evenly: 1/4, 1/2, 3/4 for three."""
    return tuple(index / (count + 1) for index in range(1, count + 1))


def with_own_generators(points: Iterable[Parent], generators: Iterable[Parent]) -> list[Pair]:
    """Each trial's point with the fidelity generator that it started from, where that was evaluated, too."""
    by_key = {generator.fidelity: generator for generator in generators}
    return [
        Pair(by_key[point.fidelity], point) for point in points if point.trial is not None and point.fidelity in by_key
    ]


def neighbours(front: Sequence[Parent]) -> list[Pair]:
    """A front's members, in the order of an objective, each with the next."""
    return [Pair(one, other) for one, other in pairwise(front)]
