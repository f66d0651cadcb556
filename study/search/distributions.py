"""Conversion between Optuna's distributions and those of the record."""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.record.points import Distribution


def plain_value(value: Any) -> str | int | float | bool | None:
    """Return a categorical value as the record stores it: as text where it is no JSON scalar."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def from_optuna(distribution: BaseDistribution) -> Distribution:
    """Return a distribution of the record; ValueError for a kind that Optuna no longer offers."""
    match distribution:
        case FloatDistribution():
            return Distribution("float", distribution.low, distribution.high, distribution.log, distribution.step)
        case IntDistribution():
            return Distribution("int", distribution.low, distribution.high, distribution.log, distribution.step)
        case CategoricalDistribution():
            return Distribution("categorical", choices=tuple(map(plain_value, distribution.choices)))
    raise ValueError(f"distribution must be a float, an int or a categorical one, but got {distribution}")


def to_optuna(distribution: Distribution) -> BaseDistribution:
    """Return Optuna's distribution."""
    if distribution.kind == "categorical":
        return CategoricalDistribution(distribution.choices)
    assert distribution.low is not None
    assert distribution.high is not None
    if distribution.kind == "int":
        low, high, step = int(distribution.low), int(distribution.high), int(distribution.step or 1)
        return IntDistribution(low, high, log=distribution.log, step=step)
    return FloatDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)


def by_path(distributions: Mapping[str, BaseDistribution]) -> dict[str, Distribution]:
    """Return distributions by config path, from Optuna's by parameter name."""
    return {config_path(name): from_optuna(distribution) for name, distribution in distributions.items()}


def config_path(parameter: str) -> str:
    """Return the config path that a parameter sets: `loss.fidelity` of `loss.fidelity@ldl`."""
    return parameter.partition("@")[0]
