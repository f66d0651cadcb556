"""All that may stand on a study's front: points of its trials, fidelity generators, blends of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from study.cluster.records import Records
from study.search.constraints import Constraint, fulfils
from study.search.densification import fidelity_label, point_label
from study.search.front import Direction, hypervolume, non_dominated
from study.training.artifacts import BASELINES


@dataclass(frozen=True)
class Candidate:
    """A set of weights that was judged.

    Attributes:
        label: how the front calls it.
        values: its objectives.
        trial, iteration: of a trial's point.
        fidelity: the key, of a fidelity generator.
    """

    label: str
    values: tuple[float, ...]
    trial: int | None = None
    iteration: int | None = None
    fidelity: str | None = None


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

    def hypervolume(self, front: Sequence[Candidate]) -> float:
        """Of some candidates."""
        values = np.array([candidate.values for candidate in front])
        return hypervolume(values, list(self.reference.values()), list(self.directions.values())) if front else 0.0


def candidates_of(records: Records, goals: Goals) -> list[Candidate]:
    """Everything that counts, in the order in which it came: trials' points, fidelity generators, blends."""
    found = [
        Candidate(point_label(trial, iteration), goals.values(metrics), trial=trial, iteration=iteration)
        for (trial, iteration), metrics in records.live_points().items()
        if fulfils(metrics, goals.constraints)
    ]
    found += [
        Candidate(fidelity_label(name), goals.values(metrics), fidelity=name)
        for name, metrics in records.references.items()
        if name not in BASELINES and fulfils(metrics, goals.constraints)
    ]
    found += [
        Candidate(f"{pair} {name}", goals.values(metrics))
        for (pair, name), metrics in records.blends.items()
        if fulfils(metrics, goals.constraints)
    ]
    return found


def front_of(records: Records, goals: Goals) -> list[Candidate]:
    """The present front, best in the first objective first."""
    candidates = candidates_of(records, goals)
    if not candidates:
        return []
    directions = list(goals.directions.values())
    mask = non_dominated(np.array([candidate.values for candidate in candidates]), directions)
    members = [candidate for candidate, on in zip(candidates, mask, strict=True) if on]
    return sorted(members, key=lambda member: member.values, reverse=directions[0] == "maximize")
