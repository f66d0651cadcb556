"""Distributions of the record are Optuna's."""

from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from study.record.points import Distribution
from study.search.distributions import by_path, from_optuna, to_optuna

CASES: list[tuple[BaseDistribution, list[Any], list[Any]]] = [
    (FloatDistribution(0.1, 2.0), [0.1, 1.234, 2], [0.05, 2.01, "1"]),
    (FloatDistribution(1e-4, 1.0, log=True), [1e-4, 1.0], [0.0, 1.1]),
    (FloatDistribution(0.0, 1.0, step=0.1), [0.0, 0.3, 0.7, 1.0], [0.35]),
    (IntDistribution(2, 8), [2, 5, 8.0], [1, 9, 2.5]),
    (IntDistribution(16, 64, step=16), [16, 48], [24, 80]),
    (IntDistribution(1, 64, log=True), [1, 64], [0]),
    (CategoricalDistribution((3, 12, None, "a", True)), [3, None, "a", True], [4, "b"]),
]


@pytest.mark.parametrize(("distribution", "inside", "outside"), CASES)
def test_distributions_keep_range_and_kind(
    distribution: BaseDistribution, inside: list[Any], outside: list[Any]
) -> None:
    recorded = from_optuna(distribution)
    assert to_optuna(recorded) == distribution
    assert [recorded.contains(value) for value in inside] == [True] * len(inside)
    assert [recorded.contains(value) for value in outside] == [False] * len(outside)


def test_names_are_config_paths() -> None:
    found = by_path({"loss.fidelity@ldl": FloatDistribution(0.1, 2.0)})
    assert found == {"loss.fidelity": Distribution("float", 0.1, 2.0)}


def test_choices_that_are_no_scalars_are_recorded_as_text() -> None:
    assert from_optuna(CategoricalDistribution(((1, 2), "a"))).choices == ("(1, 2)", "a")  # type: ignore[arg-type]
