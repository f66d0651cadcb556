"""Which pairs of trained points a study interpolates, and in which spaces.

Networks that were trained on from the same weights can be interpolated weight by weight (network interpolation, ESRGAN,
Wang et al. 2018, section 3.4), which costs an evaluation and no training. Interpolating the two images pixel by pixel
needs no common ancestor; it is the baseline for interpolated weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from study.config import digest, from_dict
from study.record.points import (
    ConfigValues,
    FidelityPoint,
    InterpolatedPoint,
    InterpolationSpace,
    TrialPoint,
    pair_name,
)
from study.record.state import StudyRecord
from study.search.pareto_archive import ParetoArchive

Extent = Literal["front", "all"]


@dataclass(frozen=True)
class Parent:
    """Weights that a study has trained.

    Attributes:
        point: a trial's point, or a fidelity generator.
        fidelity: key of the fidelity generator that it started from, or that it is; None for a trial from scratch.
        form: hash of the network; weights are interpolated only between equal ones.
    """

    point: TrialPoint | FidelityPoint
    fidelity: str | None
    form: str

    @property
    def label(self) -> str:
        """Label of its point."""
        return self.point.label


@dataclass(frozen=True)
class Pair:
    """Two parents to interpolate.

    Attributes:
        first, second: the parents, in the order in which shares count.
        weights_only: leave out the interpolation of images.
    """

    first: Parent
    second: Parent
    weights_only: bool = False

    @property
    def name(self) -> str:
        """Name of the pair in the journal."""
        return pair_name(self.first.point, self.second.point)

    @property
    def spaces(self) -> tuple[InterpolationSpace, ...]:
        """Weights, if both parents have one architecture and one fidelity generator; images, unless `weights_only`."""
        first, second = self.first, self.second
        related = first.fidelity is not None and first.fidelity == second.fidelity and first.form == second.form
        weights: tuple[InterpolationSpace, ...] = ("weights",) if related else ()
        return weights if self.weights_only else (*weights, "images")


class InterpolationPlan:
    """Chooses the pairs that a study interpolates.

    When a trial has ended, the last of its points on the front is paired with the fidelity generator that it started
    from. Once no trial trains any more, all points on the front are, and each is paired with its neighbour.
    """

    def __init__(self, record: StudyRecord, archive: ParetoArchive, count: int, extent: Extent = "front") -> None:
        """Plan for a record that grows.

        Args:
            record, archive: the study, and its front.
            count: interpolations of each pair; 0 for none at all.
            extent: `all` pairs every point with its fidelity generator, in weights alone, for a tabular benchmark.
        """
        self._record, self._archive = record, archive
        self._count, self._extent = count, extent
        self._chosen: tuple[tuple[int, ...], list[Pair]] | None = None

    @property
    def shares(self) -> tuple[float, ...]:
        """The second parent's share in each interpolation of a pair."""
        return shares_of(self._count)

    def pairs(self, last: bool) -> list[Pair]:
        """Return the pairs that are due and not done; `last` once no trial trains any more."""
        if not self._count:
            return []
        record = self._record
        state = (last, len(record.points), len(record.references), len(record.interpolations), len(record.ends))
        if self._chosen is None or self._chosen[0] != state:
            self._chosen = (state, self._choose(last))
        return [pair for pair in self._chosen[1] if pair.name not in record.pairs]

    def config_of(self, parent: Parent) -> ConfigValues:
        """Return the run that a parent belongs to: of a fidelity generator, the first that starts from it."""
        point = parent.point
        trial = point.trial if isinstance(point, TrialPoint) else self._trial_from(point.key)
        return self._record.trials[trial].config

    def _choose(self, last: bool) -> list[Pair]:
        front = [
            self._parent(point)
            for point in self._archive.points
            if not isinstance(point, InterpolatedPoint) and self._has_ended(point)
        ]
        if self._extent == "all":
            points = [self._parent(point) for point in self._record.live_points() if self._has_ended(point)]
        else:
            points = front if last else _last_of_each(front)
        pairs = with_own_generators(points, self._generators(), weights_only=self._extent == "all")
        pairs += neighbours(front, weights_only=self._extent == "all") if last else []
        unique: dict[frozenset[Parent], Pair] = {}
        for pair in pairs:
            unique.setdefault(frozenset((pair.first, pair.second)), pair)
        return list(unique.values())

    def _has_ended(self, point: TrialPoint | FidelityPoint) -> bool:
        return isinstance(point, FidelityPoint) or self._record.trial_state(point.trial) in ("COMPLETE", "PRUNED")

    def _generators(self) -> list[Parent]:
        """Return the evaluated fidelity generators that a trial starts from."""
        used = {trial.upstream.get("fidelity") for trial in self._record.trials.values()}
        return [self._parent(FidelityPoint(key)) for key in self._record.references if key in used]

    def _parent(self, point: TrialPoint | FidelityPoint) -> Parent:
        if isinstance(point, TrialPoint):
            trial = self._record.trials[point.trial]
            return Parent(point, trial.upstream.get("fidelity"), _form(trial.config))
        config = self._record.trials[self._trial_from(point.key)].config
        generator = from_dict(config).generator
        # SPSR's fidelity generator is a part of its network: only its images can be interpolated.
        form = _form(config) if generator.fidelity_form == generator else "a part"
        return Parent(point, point.key, form)

    def _trial_from(self, key: str) -> int:
        return next(number for number, trial in self._record.trials.items() if trial.upstream.get("fidelity") == key)


def shares_of(count: int) -> tuple[float, ...]:
    """Return the second parent's shares in `count` evenly spaced interpolations: 1/4, 1/2, 3/4 for three."""
    return tuple(index / (count + 1) for index in range(1, count + 1))


def with_own_generators(
    points: Iterable[Parent], generators: Iterable[Parent], *, weights_only: bool = False
) -> list[Pair]:
    """Pair each trial's point with the fidelity generator that it started from, where that was evaluated."""
    by_key = {generator.fidelity: generator for generator in generators}
    return [
        Pair(by_key[parent.fidelity], parent, weights_only)
        for parent in points
        if isinstance(parent.point, TrialPoint) and parent.fidelity in by_key
    ]


def neighbours(front: Sequence[Parent], *, weights_only: bool = False) -> list[Pair]:
    """Pair each member of a front, in the order of an objective, with the next."""
    return [Pair(one, other, weights_only) for one, other in pairwise(front)]


def _last_of_each(parents: Sequence[Parent]) -> list[Parent]:
    """Return each trial's last point: earlier ones lie nearer to the fidelity generator, as the interpolations do."""
    points = [parent.point for parent in parents if isinstance(parent.point, TrialPoint)]
    last = {point.trial: point for point in sorted(points, key=lambda point: point.iteration)}
    return [parent for parent in parents if parent.point in last.values()]


def _form(config: ConfigValues) -> str:
    return digest({**config["generator"], "init": None})
