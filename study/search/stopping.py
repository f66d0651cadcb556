"""When a study has drawn enough trials: by their number, by device-hours, or because its front stands still."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plateau:
    """The hypervolume has grown by less than a share of itself over the last trials that ended.

    Attributes:
        trials: how many of the last trials are looked at.
        share: of the hypervolume before them.
    """

    trials: int
    share: float = 0.005

    def __post_init__(self) -> None:
        """Check what was given; ValueError."""
        if self.trials < 1:
            raise ValueError(f"--plateau must look at 1 trial at least, but got {self.trials}")
        if not 0 <= self.share < 1:
            raise ValueError(f"--plateau's share must be from 0 to below 1, such as 0.005, but got {self.share}")

    def growth(self, hypervolumes: Sequence[float]) -> float:
        """By what share the hypervolume grew over the last trials; infinite while there are too few, or it was 0."""
        if len(hypervolumes) <= self.trials or hypervolumes[-1 - self.trials] <= 0:
            return math.inf
        before = hypervolumes[-1 - self.trials]
        return (hypervolumes[-1] - before) / before


@dataclass(frozen=True)
class Limits:
    """What ends a study; whichever comes first. Nothing more is drawn then, and what was drawn is finished.

    Attributes:
        trials: how many to draw in all.
        device_hours: of training and evaluation, upstream stages included; None for any.
        plateau: None to go on however little is gained.
    """

    trials: int
    device_hours: float | None = None
    plateau: Plateau | None = None

    def __post_init__(self) -> None:
        """Check what was given; ValueError."""
        if self.device_hours is not None and not self.device_hours > 0:
            raise ValueError(f"--device-hours must be above 0, but got {self.device_hours}")

    def still_to_draw(self, drawn: int, ended: int, device_seconds: float) -> int:
        """About how many trials will be drawn yet, if they go on costing what those that ended did."""
        by_number = max(0, self.trials - drawn)
        if self.device_hours is None or not ended:
            return by_number
        left = max(0.0, 3600 * self.device_hours - device_seconds)
        return min(by_number, math.ceil(left / (device_seconds / ended))) if device_seconds else by_number

    def standing(self, device_seconds: float, hypervolumes: Sequence[float]) -> list[str]:
        """How near the limits are, for people; the number of trials is left out."""
        parts = []
        if self.device_hours is not None:
            parts.append(f"{device_seconds / 3600:.3g} of {self.device_hours:g} device-hours spent")
        if self.plateau is not None:
            growth = self.plateau.growth(hypervolumes)
            grew = "not yet known" if math.isinf(growth) else f"{growth:.2%}"
            parts.append(
                f"growth over the last {self.plateau.trials} trials {grew} (ends below {self.plateau.share:.2%})"
            )
        return parts

    def reached(self, drawn: int, device_seconds: float, hypervolumes: Sequence[float]) -> str | None:
        """Why nothing more is to be drawn, in words; None to go on.

        Args:
            drawn: trials so far.
            device_seconds: spent so far.
            hypervolumes: of the front after each trial that ended, in their order.
        """
        if drawn >= self.trials:
            return f"all {self.trials} trials are drawn"
        if self.device_hours is not None and device_seconds >= 3600 * self.device_hours:
            return f"{device_seconds / 3600:.3g} of --device-hours {self.device_hours:g} are spent"
        if self.plateau is not None and self.plateau.growth(hypervolumes) < self.plateau.share:
            growth, plateau = self.plateau.growth(hypervolumes), self.plateau
            return (
                f"the hypervolume grew by {growth:.2%} in the last {plateau.trials} trials, below {plateau.share:.2%}"
            )
        return None
