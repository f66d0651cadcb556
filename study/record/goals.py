"""The goals of a study: objectives with directions and reference point, and constraints on points."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from study.record.points import NO_OTHER_FIELDS, Metrics, Spent
from study.record.validation import shortened
from study.record.values import MetricName, Number

Direction = Literal["maximize", "minimize"]
COSTS = ("peak_gib",)
"""Costs that may be constrained beside metrics: largest memory of a process while a trial trains, GiB."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Objective:
    """One axis of the front: a metric with its direction, and the unit and label of its axis in figures."""

    metric: MetricName
    direction: Direction
    unit: Annotated[str, Field(max_length=20)] = ""
    label: Annotated[str, Field(max_length=200)] = ""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Constraint:
    """A bound on a metric, such as `lr_psnr>=45`, or on a cost, such as `peak_gib<=40`.

    Attributes:
        metric: name of the metric or cost.
        sense: whether the bound is the least or the largest value.
        bound: in the metric's unit.
    """

    metric: MetricName
    sense: Literal[">=", "<="]
    bound: Number

    def __str__(self) -> str:
        return f"{self.metric}{self.sense}{self.bound:g}"

    def violation(self, metrics: Metrics) -> float:
        """Return the violation in the metric's unit: at most 0 if the bound is met, infinite without a value.

        Interpolations and fidelity generators have no cost, so they meet every bound on one.
        """
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return 0.0 if self.metric in COSTS else math.inf
        return self.bound - value if self.sense == ">=" else value - self.bound


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Goals:
    """Objectives and constraints of a study.

    Attributes:
        objectives: two or three; figures use the first (fidelity) and the second (perceptual distance).
        reference: the worst value of interest of each objective, by metric: the corner of the hypervolume.
        constraints: a point that violates one does not count.
    """

    objectives: tuple[Objective, ...]
    reference: Mapping[MetricName, Number]
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        if len(self.objectives) not in (2, 3) or len(set(self.metrics)) < len(self.objectives):
            found = [each.metric for each in self.objectives]
            raise ValueError(f"a front needs two or three different objectives, but got {shortened(found)}")
        missing = [each.metric for each in self.objectives if each.metric not in self.reference]
        if missing:
            raise ValueError(
                f"reference needs a number for {', '.join(missing)}, but has {shortened(dict(self.reference))}"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the objectives, in their order."""
        return tuple(objective.metric for objective in self.objectives)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions of the objectives, in their order."""
        return tuple(objective.direction for objective in self.objectives)

    @property
    def corner(self) -> tuple[float, ...]:
        """The reference point, in the order of the objectives."""
        return tuple(float(self.reference[metric]) for metric in self.metrics)

    def values(self, metrics: Metrics) -> tuple[float, ...]:
        """Return a point's objectives; NaN for one that it lacks."""
        return tuple(float(metrics.get(name, math.nan)) for name in self.metrics)

    def violation(self, metrics: Metrics) -> float:
        """Return the total violation of a point; 0 if it meets every constraint."""
        return total_violation(metrics, self.constraints)


def total_violation(metrics: Metrics, constraints: Sequence[Constraint]) -> float:
    """Return the sum of a point's violations, each relative to the size of its bound; 0 if it meets every one."""
    return sum(max(0.0, each.violation(metrics)) / (abs(each.bound) or 1.0) for each in constraints)


def bounded_values(metrics: Metrics, spent: Spent) -> Metrics:
    """Return all that may be constrained of a trial's point: its metrics and costs."""
    costs = {name: getattr(spent, name) for name in COSTS}
    return {**metrics, **{name: value for name, value in costs.items() if value is not None}}
