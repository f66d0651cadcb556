"""All that may stand on a study's front: points of its trials, fidelity generators, interpolations of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.record.state import Records
from study.search.constraints import Constraint, fulfils, total_violation
from study.search.front import Direction, hypervolume, non_dominated
from study.search.interpolation import fidelity_label, point_label
from study.training.evaluation import BASELINES


@dataclass(frozen=True)
class Candidate:
    """A set of weights that was evaluated.

    Attributes:
        label: how the front calls it.
        values: its objectives.
        trial, iteration: of a trial's point.
        fidelity: the key, of a fidelity generator.
        interpolation: pair and name, of an interpolation.
    """

    label: str
    values: tuple[float, ...]
    trial: int | None = None
    iteration: int | None = None
    fidelity: str | None = None
    interpolation: tuple[str, str] | None = None


@dataclass(frozen=True)
class Goals:
    """What a study's front is of.

    Attributes:
        directions: of each objective, by name.
        reference: the worst value of interest of each.
        constraints: a point that misses one does not count.
    """

    directions: Mapping[str, Direction]
    reference: Mapping[str, float]
    constraints: Sequence[Constraint] = ()

    def values(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """The objectives of a point; NaN for one that it lacks."""
        return tuple(float(metrics.get(name, np.nan)) for name in self.directions)

    def violation(self, metrics: Mapping[str, float]) -> float:
        """By how much a point misses the constraints; 0 if it misses none."""
        return total_violation(metrics, self.constraints)

    def hypervolume(self, front: Sequence[Candidate]) -> float:
        """Of some candidates."""
        values = np.array([candidate.values for candidate in front])
        return hypervolume(values, list(self.reference.values()), list(self.directions.values())) if front else 0.0


class ParetoArchive:
    """The front of a study's records, which grows with them.

    Only what is new is compared, with the front as it was; a trial that failed takes its points away, and everything is
    compared anew.
    """

    def __init__(self, records: Records, goals: Goals) -> None:
        """Start with what the records hold."""
        self._records, self._goals = records, goals
        self._members: list[Candidate] = []
        self._seen, self._failed = [0, 0, 0], records.count("FAILED")

    @property
    def members(self) -> list[Candidate]:
        """The present front, best in the first objective first."""
        failed = self._records.count("FAILED")
        if failed != self._failed:
            self._members, self._seen, self._failed = [], [0, 0, 0], failed
        new = list(self._new_candidates())
        if new:
            self._members = self._non_dominated([*self._members, *new])
        return list(self._members)

    @property
    def hypervolume(self) -> float:
        """Of the present front."""
        return self._goals.hypervolume(self.members)

    def _new_candidates(self) -> Iterator[Candidate]:
        records, goals = self._records, self._goals
        sources: list[tuple[Mapping[Any, Mapping[str, float]], Callable[[Any], Candidate | None]]] = [
            (records.points, self._point),
            (records.references, self._generator),
            (
                records.interpolations,
                lambda name: Candidate(" ".join(name), goals.values(records.interpolations[name]), interpolation=name),
            ),
        ]
        for index, (found, candidate_of) in enumerate(sources):
            for name in list(found)[self._seen[index] :]:
                candidate = candidate_of(name) if fulfils(found[name], goals.constraints) else None
                if candidate is not None:
                    yield candidate
            self._seen[index] = len(found)

    def _point(self, name: tuple[int, int]) -> Candidate | None:
        if self._records.states[name[0]] == "FAILED":
            return None
        values = self._goals.values(self._records.points[name])
        return Candidate(point_label(*name), values, trial=name[0], iteration=name[1])

    def _generator(self, name: str) -> Candidate | None:
        if name in BASELINES:
            return None
        return Candidate(fidelity_label(name), self._goals.values(self._records.references[name]), fidelity=name)

    def _non_dominated(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        directions = list(self._goals.directions.values())
        mask = non_dominated(np.array([candidate.values for candidate in candidates]), directions)
        members = [candidate for candidate, on in zip(candidates, mask, strict=True) if on]
        return sorted(members, key=lambda member: member.values, reverse=directions[0] == "maximize")
