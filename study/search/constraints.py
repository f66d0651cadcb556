"""Read the bounds that a point must meet, as people write them."""

import re
from collections.abc import Collection

from study.record.goals import COSTS, Constraint

_FORM = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=)\s*([-+0-9.eE]+)\s*")


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
