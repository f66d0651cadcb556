"""Identities of points, costs, distributions of parameters and limits, of which events are composed."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from study.record.values import (
    Amount,
    Count,
    Key,
    MetricName,
    Number,
    TrialNumber,
    Whole,
    check_config,
    check_params,
    measured,
)

Stage = Literal["fidelity", "autoencoder", "critics", "adversarial"]
InterpolationSpace = Literal["weights", "images"]
Metrics = Mapping[MetricName, Annotated[float, AfterValidator(measured)]]
ImageMetrics = Mapping[str, Metrics]
"""Metrics by image name."""
ConfigValues = Annotated[Mapping[str, Any], AfterValidator(check_config)]
"""A `study.config.RunConfig` as plain JSON types; empty for a trial whose sampled values make no valid run."""
Params = Annotated[Mapping[str, Any], AfterValidator(check_params)]
"""Sampled values by config path."""

NO_OTHER_FIELDS = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Spent:
    """Cumulative cost of training and evaluation.

    Attributes:
        iterations: training iterations.
        pixels_seen: HR pixels trained on.
        device_seconds: wall-clock seconds times devices, without the time in which the process was stopped.
        peak_gib: largest memory of a process, GiB; None where it was not measured.
    """

    iterations: Count = 0
    pixels_seen: Count = 0
    device_seconds: Amount = 0.0
    peak_gib: Amount | None = None


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Distribution:
    """The distribution that a parameter is sampled from.

    Attributes:
        kind: `float`, `int` or `categorical`.
        low, high, log, step: of a number, as in Optuna, both ends included; `step` None for a continuous range.
        choices: of a categorical parameter.
    """

    kind: Literal["float", "int", "categorical"]
    low: Number | None = None
    high: Number | None = None
    log: bool = False
    step: Annotated[Number, Field(gt=0)] | None = None
    choices: tuple[str | Whole | Number | bool | None, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "categorical":
            if not self.choices:
                raise ValueError("a categorical distribution needs choices, but has none")
        elif self.low is None or self.high is None or self.low > self.high or (self.log and self.low <= 0):
            rule = "low must be at most high, and above 0 where log is true"
            raise ValueError(f"{rule}, but got low {self.low}, high {self.high}, log {self.log}")

    def contains(self, value: Any) -> bool:
        """Return whether a value can be sampled."""
        if self.kind == "categorical":
            return value in self.choices
        if self.low is None or self.high is None or not isinstance(value, int | float):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-8)


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class TrialPoint:
    """Identifies the EMA weights of a trial at an iteration."""

    trial: TrialNumber
    iteration: Count
    kind: Literal["trial"] = "trial"

    @property
    def label(self) -> str:
        """Readable name; never parsed."""
        return f"trial {self.trial} at {self.iteration}"

    @property
    def slug(self) -> str:
        """Name for files and MLflow; never parsed."""
        return f"{self.trial:04d}-{self.iteration:07d}"


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class FidelityPoint:
    """Identifies a fidelity generator by the key of its artifact."""

    key: Key
    kind: Literal["fidelity"] = "fidelity"

    @property
    def label(self) -> str:
        """Readable name; never parsed."""
        return f"fidelity {self.key[-6:]}"

    @property
    def slug(self) -> str:
        """Name for files and MLflow; never parsed."""
        return self.key


Parent = Annotated[TrialPoint | FidelityPoint, Field(discriminator="kind")]
"""One of the two sets of weights that an interpolation lies between."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class InterpolatedPoint:
    """Identifies an interpolation: (1 - share) of the first parent, share of the second, in weights or in images."""

    first: Parent
    second: Parent
    space: InterpolationSpace
    share: Annotated[float, Field(gt=0, lt=1)]
    kind: Literal["interpolation"] = "interpolation"

    @property
    def trial(self) -> int | None:
        """The trial that it is a result of: the owner's; None between fidelity generators."""
        owner = self.owner
        return owner.trial if isinstance(owner, TrialPoint) else None

    @property
    def owner(self) -> TrialPoint | FidelityPoint:
        """The parent that it is a result of: the second where that is a trial's, else the first."""
        return self.second if isinstance(self.second, TrialPoint) else self.first

    @property
    def other(self) -> TrialPoint | FidelityPoint:
        """The parent that is not the owner."""
        return self.first if self.owner is self.second else self.second

    @property
    def share_of_owner(self) -> float:
        """Share of the owner, above 0 and below 1."""
        return self.share if self.owner is self.second else 1 - self.share

    @property
    def pair(self) -> str:
        """Name of the two parents, and of the folder of all interpolations between them."""
        return pair_name(self.first, self.second)

    @property
    def name(self) -> str:
        """Name among the interpolations of a pair: `weights-5000` is half and half."""
        return f"{self.space}-{round(1e4 * self.share):04d}"

    @property
    def label(self) -> str:
        """Readable name; never parsed."""
        return f"{self.pair} {self.name}"

    @property
    def slug(self) -> str:
        """Name for files and MLflow; never parsed."""
        return f"{self.pair}-{self.name}"


PointId = Annotated[TrialPoint | FidelityPoint | InterpolatedPoint, Field(discriminator="kind")]
"""Identifies a point that may be on the front."""


def pair_name(first: TrialPoint | FidelityPoint, second: TrialPoint | FidelityPoint) -> str:
    """Return the name of a pair of parents."""
    return f"{first.slug}--{second.slug}"


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Limits:
    """Limits of sampling that were in force when it ended (`search/stopping.py`).

    Attributes:
        trials: their largest number.
        device_hours: to spend at most; None for any.
        plateau_trials, plateau_share: sampling ends once the hypervolume grew by less than this share over so many
            trials; None for no such limit.
    """

    trials: Count
    device_hours: float | None = None
    plateau_trials: Count | None = None
    plateau_share: float | None = None
