"""Bounds on metrics, read as people write them."""

import math

import pytest

from study.search.constraints import Constraint, fulfils, parse_constraint, total_violation

METRICS = ("psnr_y", "lpips_alex", "lr_psnr")


def test_bounds_are_read() -> None:
    assert parse_constraint("lr_psnr>=45", METRICS) == Constraint("lr_psnr", ">=", 45.0)
    assert parse_constraint(" lpips_alex <= 3e-1 ", METRICS) == Constraint("lpips_alex", "<=", 0.3)
    assert str(parse_constraint("lr_psnr>=45.0", METRICS)) == "lr_psnr>=45"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr_psnr>45", "must look like lr_psnr>=45 or lpips_alex<=0.3, but got 'lr_psnr>45'"),
        ("45<=lr_psnr", "must look like"),
        ("lr_psnr>=high", "must look like"),
        ("lr_psnr>=1e", "'1e' is not a number"),
        ("niqe<=4", "the study does not measure niqe; it measures psnr_y, lpips_alex, lr_psnr, peak_gib"),
    ],
)
def test_what_is_no_bound_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_constraint(text, METRICS)


def test_by_how_much_a_bound_is_missed() -> None:
    at_least, at_most = Constraint("lr_psnr", ">=", 45.0), Constraint("lpips_alex", "<=", 0.3)
    assert at_least.violation({"lr_psnr": 44.0}) == 1.0
    assert at_least.violation({"lr_psnr": 45.0}) == 0.0
    assert at_most.violation({"lpips_alex": 0.2}) == pytest.approx(-0.1)
    assert math.isinf(at_most.violation({}))
    assert math.isinf(at_most.violation({"lpips_alex": math.nan}))
    assert fulfils({"lr_psnr": 46.0, "lpips_alex": 0.3}, [at_least, at_most])
    assert not fulfils({"lr_psnr": 46.0, "lpips_alex": 0.31}, [at_least, at_most])


def test_memory_may_be_bounded() -> None:
    memory = parse_constraint("peak_gib<=40", METRICS)
    assert fulfils({"lr_psnr": 46.0, "peak_gib": 39.5}, [memory])
    assert memory.violation({"peak_gib": 41.0}) == 1.0
    assert fulfils({"lr_psnr": 46.0}, [memory])  # an interpolation: nothing was trained


def test_violations_of_several_bounds_add_up() -> None:
    """As shares: 0.5 dB of 45, twice a bound of 0.3; what is fulfilled takes nothing off."""
    bounds = [Constraint("lr_psnr", ">=", 45.0), Constraint("lpips_alex", "<=", 0.3), Constraint("psnr_y", ">=", 20.0)]
    missed = total_violation({"lr_psnr": 44.5, "lpips_alex": 0.9, "psnr_y": 30.0}, bounds)
    assert missed == pytest.approx(0.5 / 45 + 2.0)
    assert total_violation({"lr_psnr": 1.0}, [Constraint("lr_psnr", ">=", 0.0)]) == 0.0
    assert total_violation({"lr_psnr": -2.0}, [Constraint("lr_psnr", ">=", 0.0)]) == 2.0
