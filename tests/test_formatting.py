"""Text for people."""

import pytest

from study.formatting import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (95.4, "1 min 35 s"),
        (3599.6, "1 h 00 min"),
        (3661, "1 h 01 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_duration_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0546, "0.0546 s"), (9, "9 s"), (90.4, "1 min 30 s")])
def test_duration_below_a_minute_with_digits(seconds: float, text: str) -> None:
    assert duration(seconds, 3) == text
