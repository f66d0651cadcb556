"""What a point must fulfil to count: bounds on metrics."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

_FORM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=)\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric, such as `lr_psnr>=45`.

    Attributes:
        metric: its name.
        sense: which way.
        bound: in the metric's unit.
    """

    metric: str
    sense: Literal[">=", "<="]
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.sense}{self.bound:g}"

    def violation(self, metrics: Mapping[str, float]) -> float:
        """By how much the bound is missed, in the metric's unit: fulfilled at most 0, infinite without a value."""
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return math.inf
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
    if metric not in metrics:
        raise ValueError(
            f"--constraint {text!r}: the study does not measure {metric}; it measures {', '.join(metrics)}"
        )
    return Constraint(metric, ">=" if sense == ">=" else "<=", bound)


def fulfils(metrics: Mapping[str, float], constraints: Iterable[Constraint]) -> bool:
    """Whether a point counts."""
    return all(constraint.violation(metrics) <= 0 for constraint in constraints)
