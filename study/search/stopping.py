"""Limits of a study: number of trials, device-hours, and a plateau of the hypervolume."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.record import points


@dataclass(frozen=True)
class Plateau:
    """Growth of the hypervolume below which a study ends.

    Attributes:
        trials: number of last ended trials over which growth is measured.
        share: smallest growth that goes on, relative to the hypervolume before these trials.
    """

    trials: int
    share: float = 0.005

    def __post_init__(self) -> None:
        """Check the values; ValueError."""
        if self.trials < 1:
            raise ValueError(f"--plateau must cover at least 1 trial, but got {self.trials}")
        if not 0 <= self.share < 1:
            raise ValueError(f"--plateau's share must be from 0 to below 1, such as 0.005, but got {self.share}")

    def growth(self, hypervolumes: Sequence[float]) -> float:
        """Return the relative growth over the last trials; infinite while there are too few, or the volume was 0."""
        if len(hypervolumes) <= self.trials or hypervolumes[-1 - self.trials] <= 0:
            return math.inf
        before = hypervolumes[-1 - self.trials]
        return (hypervolumes[-1] - before) / before


@dataclass(frozen=True)
class Limits:
    """Limits of a study; once one is reached, no more trials are drawn, and those that were drawn finish.

    Attributes:
        trials: to draw in all.
        device_hours: of training and evaluation, upstream stages included; None for no limit.
        plateau: None for no limit.
    """

    trials: int
    device_hours: float | None = None
    plateau: Plateau | None = None

    def __post_init__(self) -> None:
        """Check the values; ValueError."""
        if self.device_hours is not None and not self.device_hours > 0:
            raise ValueError(f"--device-hours must be above 0, but got {self.device_hours}")

    @property
    def recorded(self) -> points.Limits:
        """The limits as the event `SearchEnded` stores them."""
        plateau = (None, None) if self.plateau is None else (self.plateau.trials, self.plateau.share)
        return points.Limits(self.trials, self.device_hours, *plateau)

    def still_to_draw(self, drawn: int, ended: int, device_seconds: float) -> int:
        """Estimate how many more trials will be drawn, at the mean cost of those that ended."""
        by_number = max(0, self.trials - drawn)
        if self.device_hours is None or not ended:
            return by_number
        left = max(0.0, 3600 * self.device_hours - device_seconds)
        return min(by_number, math.ceil(left / (device_seconds / ended))) if device_seconds else by_number

    def standing(self, device_seconds: float, hypervolumes: Sequence[float]) -> list[str]:
        """Describe how near the limits are, but for the number of trials."""
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
        """Return which limit is reached, in words; None to go on.

        Args:
            drawn: trials so far.
            device_seconds: spent so far.
            hypervolumes: of the front after each ended trial, in their order.
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
