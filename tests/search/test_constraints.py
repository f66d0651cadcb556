"""Constraints are parsed from options."""

import pytest

from study.record.goals import Constraint
from study.search.constraints import parse_constraint

METRICS = ("psnr_y", "lpips_alex", "lr_psnr")


def test_constraints_are_parsed() -> None:
    assert parse_constraint("lr_psnr>=45", METRICS) == Constraint("lr_psnr", ">=", 45.0)
    assert parse_constraint(" lpips_alex <= 3e-1 ", METRICS) == Constraint("lpips_alex", "<=", 0.3)
    assert parse_constraint("peak_gib<=40", METRICS) == Constraint("peak_gib", "<=", 40.0)
    assert str(parse_constraint("lr_psnr>=45.0", METRICS)) == "lr_psnr>=45"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr_psnr>45", "must look like lr_psnr>=45 or lpips_alex<=0.3, but got 'lr_psnr>45'"),
        ("45<=lr_psnr", "must look like"),
        ("lr_psnr>=high", "must look like"),
        ("lr_psnr>=1e", "'1e' is not a number"),
        ("lr_psnr>=1e400", r"the bound must be within \+-1e\+39"),
        ("niqe<=4", "the study does not measure niqe; it measures psnr_y, lpips_alex, lr_psnr, peak_gib"),
    ],
)
def test_other_texts_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_constraint(text, METRICS)
