"""How a study searches: sampler, early stopping, constraints, limits, interpolation, earlier studies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.record.goals import Constraint
from study.search.asha import Rungs
from study.search.interpolation import Extent
from study.search.repetition import Repetition
from study.search.stopping import Plateau


@dataclass(frozen=True)
class SearchPlan:
    """Options of a search.

    Attributes:
        sampler: one of `samplers.SAMPLERS`.
        rungs: of early stopping; None for no early stopping.
        constraints: a point that violates one does not count.
        device_hours, plateau: limits after which no more trials are drawn.
        interpolations: of each pair on the front, evenly spaced; 0 for none.
        interpolate_points: `all` to interpolate every point with its fidelity generator, for a tabular benchmark.
        warm_start: directory of an earlier study, the front of which is tried first.
        learn: let the sampler learn from the finished trials of `warm_start`.
        repeat: settings of an earlier study to train again, in place of a search.
    """

    sampler: str = "tpe"
    rungs: Rungs | None = None
    constraints: tuple[Constraint, ...] = ()
    device_hours: float | None = None
    plateau: Plateau | None = None
    interpolations: int = 3
    interpolate_points: Extent = "front"
    warm_start: Path | None = None
    learn: bool = False
    repeat: Repetition | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Options that a resumed study cannot change, by name, for study.json."""
        rungs, repeat = self.rungs, self.repeat
        return {
            "--sampler": self.sampler,
            "--grace-period": None if rungs is None else rungs.grace_period,
            "--reduction-factor": None if rungs is None else rungs.reduction_factor,
            "--tie-break": None if rungs is None else rungs.tie_break,
            "--constraint": [str(constraint) for constraint in self.constraints],
            "--warm-start": None if self.warm_start is None else str(self.warm_start),
            "--learn-from-trials": self.learn,
            "--repeat": None if repeat is None else str(repeat.origin),
            "--repeat-members": None if repeat is None else repeat.members,
            "--repeat-seeds": None if repeat is None else repeat.seeds,
        }
