"""Types of single values in a study's files, with the bounds within which tables, sums and figures hold."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

MOST_TRIALS = 10**6
"""Of a study."""
MOST_GROUPS = 20
"""Of a study; each takes seconds in a report."""
LARGEST = 1e39
"""Beyond every float32, so that squares and products of a few values are finite."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
"""A number of things; the sum of a thousand fits 64 bits."""
TrialNumber = Annotated[int, Field(ge=0, lt=MOST_TRIALS)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Amount = Annotated[float, Field(ge=0, lt=1e15, allow_inf_nan=False)]
"""Seconds, hours or GiB."""
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
MetricName = Annotated[str, Field(pattern=r"^\w{1,80}$")]
"""Of a metric or a loss term; a column of the tables."""
Key = Annotated[str, Field(pattern=r"^\w[\w.-]{0,120}$")]
"""Of an artifact or a reference; a name in folders."""


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of which none is empty or repeated; ValueError else."""
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"names must be different and not empty, but got {', '.join(map(repr, names))[:80]}")
    return names


Groups = Annotated[tuple[str, ...], AfterValidator(distinct), Field(max_length=MOST_GROUPS)]
"""Config paths that trials are grouped by."""


def measured(value: float) -> float:
    """Return a measured value, which need not be finite; ValueError beyond what a network computes."""
    if math.isfinite(value) and abs(value) > LARGEST:
        raise ValueError(f"a measured value must be within +-{LARGEST:g}, or not finite, but got {value:g}")
    return value


def check_params(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return plain values by name; ValueError where a number is not finite or has more than 64 bits."""
    for name, value in values.items():
        _check_plain(name, value)
    return values


def check_config(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration of any version; ValueError where `check_params` raises it, and for what is read of it.

    That is: `data` has fields, `seed` and `budget.iterations` are whole numbers.
    """
    _check_names(values)
    check_params(values)
    data, budget = _part(values, "data"), _part(values, "budget")
    numbers = [("seed", values.get("seed")), ("budget.iterations", budget.get("iterations"))]
    for path, number in numbers:
        if number is not None and (type(number) is not int or number < 0):
            raise ValueError(f"{path} must be a whole number, but got {number!r:.80}")
    for name in ("sigma", "quality"):
        if isinstance(data.get(name, 0), bool) or not isinstance(data.get(name, 0), int | float | None):
            raise ValueError(f"data.{name} must be a number, but got {data[name]!r:.80}")
    return values


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = values.get(name, {})
    if not isinstance(part, Mapping):
        raise ValueError(f"{name} must have fields, but got {part!r:.80}")
    return part


def _check_names(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if not name or "." in name:
            raise ValueError(f"a field's name must not be empty or hold a dot, but got {name!r:.80}")
        if isinstance(value, Mapping):
            _check_names(value)


def _check_plain(name: str, value: Any) -> None:
    if isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            _check_plain(name, part)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} must have at most 64 bits, but got a number of {value.bit_length()}")
    elif isinstance(value, float) and not abs(value) <= LARGEST:
        raise ValueError(f"{name} must be a finite number within +-{LARGEST:g}, but got {value:g}")
