"""When a study ends: by trials, device-hours or a plateau, with the arithmetic done by hand."""

import math

import pytest

from study.record import points
from study.search.stopping import Limits, Plateau


def test_trials_end_a_study() -> None:
    limits = Limits(10)
    assert limits.reached(9, 1e9, [1.0] * 99) is None
    assert limits.reached(10, 0, []) == "all 10 trials are drawn"


def test_device_hours_end_a_study() -> None:
    limits = Limits(10, device_hours=0.5)
    assert limits.reached(3, 1799.9, []) is None
    assert limits.reached(3, 1800.0, []) == "0.5 of --device-hours 0.5 are spent"


def test_a_plateau_ends_a_study() -> None:
    """Growth over the last two trials: from 10.0 to 10.4 are 4%, to 10.6 are 6%."""
    limits = Limits(99, plateau=Plateau(2, 0.05))
    assert limits.reached(3, 0, [9.0, 10.0, 10.2, 10.6]) is None
    said = limits.reached(3, 0, [9.0, 10.0, 10.2, 10.4])
    assert said == "the hypervolume grew by 4.00% in the last 2 trials, below 5.00%"
    assert limits.reached(3, 0, [5.0, 5.0]) is None  # too few to tell


def test_no_plateau_before_there_is_a_hypervolume() -> None:
    assert math.isinf(Plateau(2).growth([0.0, 0.0, 0.0, 0.0]))
    assert math.isinf(Plateau(2).growth([0.0, 0.0, 1.0]))
    assert Plateau(2).growth([1.0, 1.0, 1.5]) == 0.5


def test_how_near_the_end_is() -> None:
    limits = Limits(99, device_hours=2, plateau=Plateau(2, 0.01))
    assert limits.standing(1800, [1.0, 1.0, 1.02]) == [
        "0.5 of 2 device-hours spent",
        "growth over the last 2 trials 2.00% (ends below 1.00%)",
    ]
    assert limits.standing(0, [])[1].startswith("growth over the last 2 trials not yet known")
    assert Limits(99).standing(0, []) == []


def test_how_many_trials_are_still_to_come() -> None:
    assert Limits(10).still_to_draw(4, 2, 99.0) == 6
    limits = Limits(10, device_hours=0.1)  # 360 seconds; 4 trials cost 80 so far
    assert limits.still_to_draw(5, 4, 320.0) == 1
    assert limits.still_to_draw(5, 4, 100.0) == 5
    assert limits.still_to_draw(5, 4, 999.0) == 0
    assert limits.still_to_draw(5, 0, 0.0) == 5


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="--device-hours must be above 0, but got -1"):
        Limits(9, device_hours=-1)
    with pytest.raises(ValueError, match="--device-hours must be above 0, but got nan"):
        Limits(9, device_hours=math.nan)
    with pytest.raises(ValueError, match="--plateau must cover at least 1 trial, but got 0"):
        Plateau(0)
    with pytest.raises(ValueError, match="--plateau's share must be from 0 to below 1"):
        Plateau(4, 5)


def test_limits_are_recorded() -> None:
    assert Limits(9).recorded == points.Limits(9)
    assert Limits(9, 0.5, Plateau(4, 0.01)).recorded == points.Limits(9, 0.5, 4, 0.01)
