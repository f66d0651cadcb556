"""Lines that are no entries, refused by field, rule, value and remedy."""

import hashlib
from typing import Any

import pytest

from study.record.entries import DamagedLineError, Entry, EventError, read_entry, read_event, write_entry, write_event
from study.record.events import PointEvaluated, TrialEnded
from study.record.points import Spent, TrialPoint
from tests.record.lines import payload_of, signed

EVALUATED = PointEvaluated(
    point=TrialPoint(2, 80), metrics={"psnr_y": 29.5}, images={}, terms={}, spent=Spent(80), samples=""
)
DAMAGED = "; the study's own code does not write this; restore the file from a copy"


def changed(path: str, value: Any) -> bytes:
    """Return the line of a point with another value at a path; None removes it."""
    values = payload_of(write_entry(Entry(1, 1.0, EVALUATED)))
    *parents, name = path.split(".")
    node = values
    for parent in parents:
        node = node[parent]
    if value is None:
        del node[name]
    else:
        node[name] = value
    return signed(values).encode()


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("event.point.trial", True, "trial: Input should be a valid integer, but got True"),
        ("event.point.trial", "2", "trial: Input should be a valid integer, but got '2'"),
        ("event.point.trial", 2.0, "trial: Input should be a valid integer, but got 2.0"),
        ("event.point.trial", -1, "trial: Input should be greater than or equal to 0, but got -1"),
        ("event.spent.pixels_seen", 2**70, "pixels_seen: Input should be less than 9007199254740992, but got 1180"),
        ("event.metrics.psnr_y", "29.5", "psnr_y: Input should be a valid number, but got '29.5'"),
        ("event.metrics.psnr_y", True, "psnr_y: Input should be a valid number, but got True"),
        ("event.point", 3, "point: Input should be an object, but got 3"),
        ("event.point", None, "point: it is missing"),
        ("event.type", None, "event: it has no type, but got {"),
        ("number", 0, "number: Input should be greater than or equal to 1, but got 0"),
        ("time", "now", "time: Input should be a valid number, but got 'now'"),
    ],
)
def test_a_damaged_value_is_refused(path: str, value: Any, problem: str) -> None:
    with pytest.raises(EventError) as refused:
        read_entry(changed(path, value))
    assert problem in str(refused.value)
    assert str(refused.value).endswith(DAMAGED)


LINE = write_entry(Entry(7, 1.0, EVALUATED)).encode()


@pytest.mark.parametrize("place", range(0, len(LINE), 7))
@pytest.mark.parametrize("byte", [b"0", b"\xff", b""])
def test_a_changed_byte_is_found_wherever_it_is(place: int, byte: bytes) -> None:
    changed_line = LINE[:place] + byte + LINE[place + 1 :]
    if changed_line != LINE:
        with pytest.raises(DamagedLineError, match="does not match its checksum"):
            read_entry(changed_line)


def test_a_line_nested_too_deep_is_refused() -> None:
    payload = '{"number": 1, "time": 1.0, "version": 3, "event": ' + "[" * 5000 + "]" * 5000 + "}"
    checksum = hashlib.sha256(payload.encode()).hexdigest()[:16]
    with pytest.raises(EventError, match="it is not JSON"):
        read_entry(f'{payload[:-1]}, "checksum": "{checksum}"}}'.encode())
    with pytest.raises(DamagedLineError):
        read_entry(payload.encode())


def test_whole_numbers_are_metrics_too() -> None:
    assert read_entry(changed("event.metrics.psnr_y", 29)).event.metrics == {"psnr_y": 29.0}


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(EventError) as refused:
        read_entry(changed("event.type", "x" * 3000))
    assert f"unknown event '{'x' * 79}..." in str(refused.value)
    assert len(str(refused.value)) < 500


def test_an_event_alone_is_read_as_it_was_written() -> None:
    ended = TrialEnded(trial=2, state="FAILED", cause="a\nb \u2028 \U0001f600 \x00")
    assert read_event(write_event(ended)) == ended
    with pytest.raises(EventError, match="it is not JSON"):
        read_event(write_event(ended)[:-1])
