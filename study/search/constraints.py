"""What a point must fulfil to count: bounds on metrics, and on what a trial took."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

COSTS = ("peak_gib",)
"""What may be bounded beside metrics: the memory that a trial took while it trained (`training.peak_memory`)."""

_FORM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=)\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, such as `lr_psnr>=45`, or on a cost, such as `peak_gib<=40`.

    Attributes:
        metric: the name of either.
        sense: which way.
        bound: in the metric's unit.
    """

    metric: str
    sense: Literal[">=", "<="]
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.sense}{self.bound:g}"

    def violation(self, metrics: Mapping[str, float]) -> float:
        """By how much the bound is missed, in the metric's unit: fulfilled at most 0, infinite without a value.

        What has no cost of its own, interpolations and fidelity generators, misses no bound on one.
        """
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return 0.0 if self.metric in COSTS else math.inf
        return self.bound - value if self.sense == ">=" else value - self.bound


def parse_constraint(text: str, metrics: Collection[str]) -> Constraint:
    """Read a bound as people write it.

    Args:
        text: `METRIC>=NUMBER` or `METRIC<=NUMBER`.
        metrics: the names of those that a study measures.

    Raises:
        ValueError: it is not of this form, or the study does not measure it.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"--constraint must look like lr_psnr>=45 or lpips_alex<=0.3, but got {text!r}")
    metric, sense, number = match.groups()
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"--constraint {text!r}: {number!r} is not a number") from None
    measured = (*metrics, *COSTS)
    if metric not in measured:
        raise ValueError(
            f"--constraint {text!r}: the study does not measure {metric}; it measures {', '.join(measured)}"
        )
    return Constraint(metric, ">=" if sense == ">=" else "<=", bound)


def fulfils(metrics: Mapping[str, float], constraints: Iterable[Constraint]) -> bool:
    """Whether a point counts."""
    return total_violation(metrics, constraints) <= 0


def total_violation(metrics: Mapping[str, float], constraints: Iterable[Constraint]) -> float:
    """By how much a point misses its bounds, each as a share of the bound's size; 0 if it misses none."""
    missed = (max(0.0, constraint.violation(metrics)) / (abs(constraint.bound) or 1.0) for constraint in constraints)
    return sum(missed)
