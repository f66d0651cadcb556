"""The Pareto front of a study: points of its trials, fidelity generators, and interpolations of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.record.events import FrontMoved
from study.record.goals import Goals, bounded_values
from study.record.points import FidelityPoint, InterpolatedPoint, Metrics, PointId, TrialPoint
from study.record.state import Recorder, StudyRecord
from study.search.front import hypervolume, non_dominated


@dataclass(frozen=True)
class Candidate:
    """A point that may be on the front, with its objectives in their order."""

    point: PointId
    values: tuple[float, ...]


class ParetoArchive:
    """The front of a study's record, which grows with it.

    New candidates are compared with the members alone. When a trial fails, the front is computed anew.
    """

    def __init__(self, record: StudyRecord, goals: Goals) -> None:
        """Start with the points that the record holds."""
        self._record, self.goals = record, goals
        self._members: list[Candidate] = []
        self._seen, self._failed = [0, 0, 0], record.count("FAILED")

    @property
    def members(self) -> list[Candidate]:
        """The present front, best in the first objective first."""
        failed = self._record.count("FAILED")
        if failed != self._failed:
            self._members, self._seen, self._failed = [], [0, 0, 0], failed
        new = list(self._new_candidates())
        if new:
            self._members = self._non_dominated([*self._members, *new])
        return list(self._members)

    @property
    def points(self) -> tuple[PointId, ...]:
        """The present front, without values."""
        return tuple(member.point for member in self.members)

    @property
    def hypervolume(self) -> float:
        """Hypervolume of the present front above the reference point."""
        return hypervolume_of(self.members, self.goals)

    def _new_candidates(self) -> Iterator[Candidate]:
        record = self._record
        sources: list[tuple[Mapping[Any, Any], Callable[[Any], Candidate | None]]] = [
            (record.points, self._point),
            (record.references, self._generator),
            (record.interpolations, self._interpolation),
        ]
        for index, (found, candidate_of) in enumerate(sources):
            for key in list(found)[self._seen[index] :]:
                candidate = candidate_of(key)
                if candidate is not None:
                    yield candidate
            self._seen[index] = len(found)

    def _point(self, point: TrialPoint) -> Candidate | None:
        if self._record.trial_state(point.trial) == "FAILED":
            return None
        event = self._record.points[point]
        return self._candidate(point, bounded_values(event.metrics, event.spent))

    def _generator(self, name: str) -> Candidate | None:
        reference = self._record.references[name]
        return None if reference.kind != "fidelity" else self._candidate(FidelityPoint(name), reference.metrics)

    def _interpolation(self, point: InterpolatedPoint) -> Candidate | None:
        return self._candidate(point, self._record.interpolations[point].metrics)

    def _candidate(self, point: PointId, metrics: Metrics) -> Candidate | None:
        return None if self.goals.violation(metrics) > 0 else Candidate(point, self.goals.values(metrics))

    def _non_dominated(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        directions = self.goals.directions
        mask = non_dominated(np.array([candidate.values for candidate in candidates]), directions)
        members = [candidate for candidate, on in zip(candidates, mask, strict=True) if on]
        return sorted(members, key=lambda member: member.values, reverse=directions[0] == "maximize")


def hypervolume_of(members: Sequence[Candidate], goals: Goals) -> float:
    """Return the hypervolume of candidates above the reference point; 0 without any."""
    values = np.array([member.values for member in members])
    return hypervolume(values, goals.corner, goals.directions) if members else 0.0


def record_front(recorder: Recorder, archive: ParetoArchive, *, final: bool = False) -> None:
    """Record the present front; `final` once nothing can move it any more."""
    recorder.add(
        FrontMoved(
            trials_ended=len(recorder.record.ends),
            hypervolume=archive.hypervolume,
            members=archive.points,
            final=final,
        )
    )
