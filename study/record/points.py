"""What events are made of: identities of points, what something cost, what a parameter was drawn from."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Stage = Literal["fidelity", "autoencoder", "critics", "adversarial"]
InterpolationSpace = Literal["weights", "images"]
Metrics = Mapping[str, float]
ImageMetrics = Mapping[str, Metrics]
"""Metrics by image name."""
ConfigValues = Mapping[str, Any]
"""A `study.config.RunConfig` as plain JSON types; empty for a trial whose draw was no valid run."""

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class Spent:
    """What training and evaluation took up to a moment.

    Attributes:
        iterations: training iterations.
        pixels_seen: HR pixels trained on.
        device_seconds: wall-clock seconds times devices.
        peak_gib: largest memory of a process, GiB; None where it was not measured.
    """

    iterations: int = 0
    pixels_seen: int = 0
    device_seconds: float = 0.0
    peak_gib: float | None = None


@dataclass(frozen=True, config=STRICT)
class Distribution:
    """The range that Optuna drew a parameter from.

    Attributes:
        kind: `float`, `int` or `categorical`.
        low, high, log, step: of numbers, as in Optuna; `step` None for a continuous range.
        choices: of a categorical parameter.
    """

    kind: Literal["float", "int", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[str | int | float | bool | None, ...] = ()


@dataclass(frozen=True, config=STRICT)
class TrialPoint:
    """Identifies the EMA weights of a trial at an iteration."""

    trial: int
    iteration: int
    kind: Literal["trial"] = "trial"

    @property
    def label(self) -> str:
        """For people; never parsed."""
        return f"trial {self.trial} at {self.iteration}"

    @property
    def slug(self) -> str:
        """For file names and MLflow; never parsed."""
        return f"{self.trial:04d}-{self.iteration:07d}"


@dataclass(frozen=True, config=STRICT)
class FidelityPoint:
    """Identifies a fidelity generator by the key of its artifact."""

    key: str
    kind: Literal["fidelity"] = "fidelity"

    @property
    def label(self) -> str:
        """For people; never parsed."""
        return f"fidelity {self.key[-6:]}"

    @property
    def slug(self) -> str:
        """For file names and MLflow; never parsed."""
        return self.key


Parent = Annotated[TrialPoint | FidelityPoint, Field(discriminator="kind")]
"""One of the two sets of weights that an interpolation lies between."""


@dataclass(frozen=True, config=STRICT)
class InterpolatedPoint:
    """Identifies an interpolation: (1 - share) of the first parent, share of the second, in weights or in images."""

    first: Parent
    second: Parent
    space: InterpolationSpace
    share: float
    kind: Literal["interpolation"] = "interpolation"

    @property
    def trial(self) -> int | None:
        """The trial that it counts as a result of: its second parent's, else its first's; None between generators."""
        owner = self.owner
        return owner.trial if isinstance(owner, TrialPoint) else None

    @property
    def owner(self) -> TrialPoint | FidelityPoint:
        """The parent that it belongs to: the second where that is a trial's, else the first."""
        return self.second if isinstance(self.second, TrialPoint) else self.first

    @property
    def other(self) -> TrialPoint | FidelityPoint:
        """The parent that it does not belong to."""
        return self.first if self.owner is self.second else self.second

    @property
    def share_of_owner(self) -> float:
        """How much of it the owner has, above 0 and below 1."""
        return self.share if self.owner is self.second else 1 - self.share

    @property
    def pair(self) -> str:
        """Names the two parents: the folder of all interpolations between them."""
        return pair_name(self.first, self.second)

    @property
    def name(self) -> str:
        """Tells the interpolations of a pair apart: `weights-5000` is half and half."""
        return f"{self.space}-{round(1e4 * self.share):04d}"

    @property
    def label(self) -> str:
        """For people; never parsed."""
        return f"{self.pair} {self.name}"

    @property
    def slug(self) -> str:
        """For file names and MLflow; never parsed."""
        return f"{self.pair}-{self.name}"


PointId = Annotated[TrialPoint | FidelityPoint | InterpolatedPoint, Field(discriminator="kind")]
"""Identifies anything that may stand on the front."""


def pair_name(first: TrialPoint | FidelityPoint, second: TrialPoint | FidelityPoint) -> str:
    """Name the two parents of interpolations."""
    return f"{first.slug}--{second.slug}"


@dataclass(frozen=True, config=STRICT)
class Limits:
    """What ends the drawing of trials, as it was when it did.

    Attributes:
        trials: how many at most.
        device_hours: to spend; None for any.
        plateau_trials, plateau_share: none once the hypervolume grew by less than this share over so many trials.
    """

    trials: int
    device_hours: float | None = None
    plateau_trials: int | None = None
    plateau_share: float | None = None
