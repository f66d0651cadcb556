"""Objectives, their reference point, and violations of constraints."""

import math

import pytest

from study.record.goals import Constraint, Goals, Objective, bounded_values, total_violation
from study.record.points import Spent

PSNR, LPIPS = Objective("psnr_y", "maximize"), Objective("lpips_alex", "minimize")
AT_LEAST, AT_MOST = Constraint("lr_psnr", ">=", 45.0), Constraint("lpips_alex", "<=", 0.3)


def fulfils(metrics: dict[str, float], constraints: list[Constraint]) -> bool:
    return total_violation(metrics, constraints) == 0


def test_goals_are_in_the_order_of_the_objectives() -> None:
    goals = Goals((LPIPS, PSNR), {"psnr_y": 20.0, "lpips_alex": 1.0})
    assert goals.metrics == ("lpips_alex", "psnr_y")
    assert goals.directions == ("minimize", "maximize")
    assert goals.corner == (1.0, 20.0)
    assert goals.values({"psnr_y": 28.0, "lpips_alex": 0.2, "swd": 9.0}) == (0.2, 28.0)
    assert math.isnan(goals.values({"lpips_alex": 0.2})[1])


def test_goals_without_a_front_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two or three different objectives, but got \['psnr_y'\]"):
        Goals((PSNR,), {"psnr_y": 20.0})
    with pytest.raises(ValueError, match="reference needs a number for lpips_alex"):
        Goals((PSNR, LPIPS), {"psnr_y": 20.0})


def test_violation_of_a_bound() -> None:
    assert AT_LEAST.violation({"lr_psnr": 44.0}) == 1.0
    assert AT_LEAST.violation({"lr_psnr": 45.0}) == 0.0
    assert AT_MOST.violation({"lpips_alex": 0.2}) == pytest.approx(-0.1)
    assert math.isinf(AT_MOST.violation({}))
    assert math.isinf(AT_MOST.violation({"lpips_alex": math.nan}))
    assert fulfils({"lr_psnr": 46.0, "lpips_alex": 0.3}, [AT_LEAST, AT_MOST])
    assert not fulfils({"lr_psnr": 46.0, "lpips_alex": 0.31}, [AT_LEAST, AT_MOST])


def test_memory_may_be_bounded() -> None:
    memory = Constraint("peak_gib", "<=", 40.0)
    assert bounded_values({"lr_psnr": 46.0}, Spent(peak_gib=39.5)) == {"lr_psnr": 46.0, "peak_gib": 39.5}
    assert fulfils({"lr_psnr": 46.0, "peak_gib": 39.5}, [memory])
    assert memory.violation({"peak_gib": 41.0}) == 1.0
    assert fulfils(dict(bounded_values({"lr_psnr": 46.0}, Spent())), [memory])  # not measured, as of an interpolation


def test_violations_of_several_bounds_add_up() -> None:
    """Violations are relative, 0.5 dB of 45 and twice a bound of 0.3; a fulfilled bound subtracts nothing."""
    bounds = [AT_LEAST, AT_MOST, Constraint("psnr_y", ">=", 20.0)]
    metrics = {"lr_psnr": 44.5, "lpips_alex": 0.9, "psnr_y": 30.0}
    goals = Goals((PSNR, LPIPS), {"psnr_y": 20.0, "lpips_alex": 1.0}, tuple(bounds))
    assert goals.violation(metrics) == total_violation(metrics, bounds) == pytest.approx(0.5 / 45 + 2.0)
    assert total_violation({"lr_psnr": 1.0}, [Constraint("lr_psnr", ">=", 0.0)]) == 0.0
    assert total_violation({"lr_psnr": -2.0}, [Constraint("lr_psnr", ">=", 0.0)]) == 2.0
