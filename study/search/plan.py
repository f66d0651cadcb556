"""How a study searches: sampler, early stopping, what counts, when enough is enough, what is interpolated."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from study.search.asha import Rungs
from study.search.constraints import Constraint
from study.search.repetition import Repetition
from study.search.stopping import Plateau


@dataclass(frozen=True)
class SearchPlan:
    """What a person may choose of a search.

    Attributes:
        sampler: one of `samplers.SAMPLERS`.
        rungs: where trials may be stopped early; None to let every one train to its end.
        constraints: a point that misses one does not count.
        device_hours, plateau: no more trials are drawn once so many are spent, or the hypervolume stands still.
        interpolations: how many of each pair of the front, evenly between the two; 0 for none.
        interpolate_points: `all` interpolations every point with its fidelity generator, for a recording that is to be replayed.
        warm_start: directory of an earlier study, the front of which is tried first.
        learn: let the sampler learn from the finished trials of `warm_start`.
        repeat: what of an earlier study is trained again; nothing else is, then.
    """

    sampler: str = "tpe"
    rungs: Rungs | None = None
    constraints: tuple[Constraint, ...] = ()
    device_hours: float | None = None
    plateau: Plateau | None = None
    interpolations: int = 3
    interpolate_points: Literal["front", "all"] = "front"
    warm_start: Path | None = None
    learn: bool = False
    repeat: Repetition | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a study cannot change on its way, for study.json; what it may is left out."""
        rungs, repeat = self.rungs, self.repeat
        repeated = {} if repeat is None else {"repeat": [str(repeat.origin), repeat.members, repeat.seeds]}
        return {
            "sampler": self.sampler,
            "early stopping": None if rungs is None else [rungs.grace_period, rungs.reduction_factor, rungs.tie_break],
            "constraints": [str(constraint) for constraint in self.constraints],
            "warm start": None if self.warm_start is None else [str(self.warm_start), self.learn],
            **repeated,
        }
