"""Parse constraints such as `lr_psnr>=45`."""

import re
from collections.abc import Collection

from study.record.goals import COSTS, Constraint
from study.record.values import LARGEST

_FORM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=)\s*([-+0-9.eE]+)\s*")


def parse_constraint(text: str, metrics: Collection[str]) -> Constraint:
    """Parse a constraint.

    Args:
        text: `METRIC>=NUMBER` or `METRIC<=NUMBER`.
        metrics: names of those that the study measures.

    Raises:
        ValueError: the text has another form, or the study does not measure the metric.
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
    if not abs(bound) < LARGEST:
        raise ValueError(
            f"--constraint {text!r}: the bound must be within +-{LARGEST:g}; name one that can be measured"
        )
    return Constraint(metric, ">=" if sense == ">=" else "<=", bound)
