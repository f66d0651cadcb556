"""The journal: appended whole or not at all, read while it is written."""

import errno
import json
import math
import os
import time
from pathlib import Path

import pytest

from study.files import StorageError
from study.record.journal import Journal, read_events


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "run" / "journal.jsonl")


def test_events_come_back_in_order_with_the_time_of_writing(journal: Journal) -> None:
    before = time.time()
    journal.append("trial", trial=0, config={"a": {"b": [1, 2.5, None, "ä"]}})
    journal.append("end", trial=0, state="COMPLETE")
    events = list(journal.events())
    assert [event["event"] for event in events] == ["trial", "end"]
    assert events[0]["config"] == {"a": {"b": [1, 2.5, None, "ä"]}}
    assert before <= events[0]["time"] <= events[1]["time"] <= time.time()


def test_a_journal_that_does_not_exist_is_empty(journal: Journal) -> None:
    assert list(journal.events()) == []
    assert not journal.path.exists()


def test_a_metric_that_is_no_number_is_kept_as_such(journal: Journal) -> None:
    journal.append("point", metrics={"psnr_y": math.nan, "swd": math.inf})
    (event,) = journal.events()
    assert math.isnan(event["metrics"]["psnr_y"])
    assert event["metrics"]["swd"] == math.inf


def test_a_new_journal_on_the_same_file_goes_on(journal: Journal) -> None:
    journal.append("first")
    again = Journal(journal.path)
    again.append("second")
    assert [event["event"] for event in again.events()] == ["first", "second"]


@pytest.mark.parametrize("torn", ['{"event": "third", "tri', '{"event": "third"}', "\x00\x00\x00"])
def test_a_line_that_a_crash_tore_is_cut_off(journal: Journal, torn: str) -> None:
    journal.append("first")
    journal.append("second")
    whole = journal.path.read_bytes()
    with open(journal.path, "a") as file:
        file.write(torn)
    again = Journal(journal.path)
    assert journal.path.read_bytes() == whole
    again.append("third")
    assert [event["event"] for event in again.events()] == ["first", "second", "third"]


def test_a_file_with_nothing_but_a_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "fir')
    assert list(Journal(path).events()) == []
    assert path.stat().st_size == 0


def test_a_line_that_is_being_written_is_left_for_the_next_reading(journal: Journal) -> None:
    journal.append("first")
    ((_, offset),) = read_events(journal.path, 0)
    with open(journal.path, "a") as file:
        file.write('{"event": "sec')
    assert list(read_events(journal.path, offset)) == []
    with open(journal.path, "a") as file:
        file.write('ond"}\n')
    assert [event for event, _ in read_events(journal.path, offset)] == [{"event": "second"}]


def test_reading_goes_on_from_each_offset(journal: Journal) -> None:
    for number in range(4):
        journal.append("event", number=number, text="é" * number)  # bytes, not characters
    offsets = [offset for _, offset in read_events(journal.path, 0)]
    assert offsets[-1] == journal.path.stat().st_size
    for number, offset in enumerate(offsets, start=1):
        assert [event["number"] for event, _ in read_events(journal.path, offset)] == list(range(number, 4))


@pytest.mark.parametrize("existing", [0, 2])
def test_on_a_full_disk_nothing_is_half_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, existing: int
) -> None:
    for number in range(existing):
        journal.append("event", number=number)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="--resume") as caught:
            journal.append("lost")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(journal.path)
    journal.append("event", number=existing)
    assert [json.loads(line)["number"] for line in journal.path.read_text().splitlines()] == list(range(existing + 1))
