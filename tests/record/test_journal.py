"""The journal: atomic appends, concurrent reads, and lines that are no entries."""

import errno
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from study.files import StorageError
from study.record.entries import Entry
from study.record.events import SearchEnded, StudyStateChanged, TrialStarted, WorkerDied
from study.record.journal import Journal, JournalError, Reading, read_entries, read_intact
from study.record.points import Limits
from tests.record.lines import line_of, signed

FIRST, SECOND = StudyStateChanged(state="RUNNING"), StudyStateChanged(state="INTERRUPTED")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "run" / "journal.jsonl")


def died(number: int) -> WorkerDied:
    return WorkerDied(job="é" * number, trial=None, iteration=number, cause="")  # bytes, not characters


def events(journal: Journal) -> list[object]:
    return [entry.event for entry in journal.entries()]


def test_events_come_back_in_order_with_their_time(journal: Journal) -> None:
    before = time.time()
    started = TrialStarted(trial=0, config={"a": {"b": [1, 2.5, None, "ä"]}}, params={}, upstream={})
    journal.append(started)
    journal.append(SECOND)
    first, second = journal.entries()
    assert (first.event, second.event) == (started, SECOND)
    assert before <= first.time <= second.time <= time.time()


def test_a_journal_that_does_not_exist_is_empty(journal: Journal) -> None:
    assert events(journal) == []
    assert not journal.path.exists()


def test_values_that_are_not_finite_are_kept(journal: Journal) -> None:
    journal.append(SearchEnded(limits=Limits(4, device_hours=math.inf, plateau_share=math.nan), cause=""))
    (event,) = events(journal)
    assert isinstance(event, SearchEnded)
    assert event.limits.device_hours == math.inf
    assert event.limits.plateau_share is not None
    assert math.isnan(event.limits.plateau_share)


def test_a_new_journal_on_the_same_file_continues(journal: Journal) -> None:
    journal.append(FIRST)
    again = Journal(journal.path)
    again.append(SECOND)
    assert events(again) == [FIRST, SECOND]


@pytest.mark.parametrize("torn", ['{"time": 1, "eve', line_of(3, 1.0, FIRST)[:-1], "\x00\x00\x00"])
def test_a_line_truncated_by_a_crash_is_removed(journal: Journal, torn: str) -> None:
    journal.append(FIRST)
    journal.append(SECOND)
    whole = journal.path.read_bytes()
    with open(journal.path, "a") as file:
        file.write(torn)
    again = Journal(journal.path)
    assert journal.path.read_bytes() == whole
    again.append(FIRST)
    assert events(again) == [FIRST, SECOND, FIRST]


def test_a_file_with_nothing_but_a_torn_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"time": 1')
    assert events(Journal(path)) == []
    assert path.stat().st_size == 0


def test_a_line_that_is_being_written_is_read_later(journal: Journal) -> None:
    journal.append(FIRST)
    ((_, offset),) = read_entries(journal.path)
    line = line_of(2, 2.0, SECOND)
    with open(journal.path, "a") as file:
        file.write(line[:20])
    assert list(read_entries(journal.path, offset)) == []
    with open(journal.path, "a") as file:
        file.write(line[20:])
    assert [entry for entry, _ in read_entries(journal.path, offset)] == [Entry(2, 2.0, SECOND)]


def test_reading_continues_from_each_offset(journal: Journal) -> None:
    for number in range(4):
        journal.append(died(number))
    offsets = [offset for _, offset in read_entries(journal.path)]
    assert offsets[-1] == journal.path.stat().st_size
    for number, offset in enumerate(offsets, start=1):
        read = [entry.event for entry, _ in read_entries(journal.path, offset)]
        assert read == [died(later) for later in range(number, 4)]


RUNNING = {"type": "study_state", "state": "RUNNING"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (signed({"number": 2, "time": 1, "version": 3, "event": {"type": "trial_sold"}}), "unknown event 'trial_sold'"),
        (signed({"number": 2, "time": 1, "version": 3, "event": RUNNING | {"mood": 1}}), "mood"),
        (signed({"number": 2, "time": 1, "version": 4, "event": RUNNING}), "its version is 4"),
        (signed({"number": 2, "time": 1, "version": "3", "event": RUNNING}), "its version is '3', but"),
        (signed({"number": 2, "time": math.nan, "version": 3, "event": RUNNING}), "time: "),
        ('{"time": 1, "version": 2, "event": {"type": "study_state", "state": "RUNNING"}}', "its version is 2"),
        ('{"time": 1, "event": "end", "trial": 0, "state": "COMPLETE"}', "it has no version"),
        ('{"time": 1, "event": {"type": "search_ended", "cause": "version"}}', "it has no version"),
        ("not json", "its text does not match its checksum; restore the file from a copy, or continue the study"),
        ("", "its text does not match its checksum"),
        (line_of(3, 1.0, SECOND)[:-1], "it is entry 3, but entry 2 must be here; restore the file"),
        (line_of(1, 1.0, SECOND)[:-1], "it is entry 1, but entry 2 must be here"),
    ],
)
def test_an_invalid_line_is_refused_by_its_number(journal: Journal, line: str, problem: str) -> None:
    journal.append(FIRST)
    with open(journal.path, "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(JournalError, match=problem) as refused:
        events(journal)
    assert str(refused.value).startswith(f"{journal.path}, line 2: ")


@pytest.fixture
def whole(journal: Journal) -> list[bytes]:
    """The lines of a journal with five entries."""
    for number in range(5):
        journal.append(died(number))
    return journal.path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("damage", "kept", "faults"),
    [
        (lambda lines: lines, [1, 2, 3, 4, 5], []),
        (lambda lines: [*lines[:2], lines[2].replace(b"2", b"7", 1), *lines[3:]], [1, 2, 4, 5], ["entry 3 is damaged"]),
        (lambda lines: [*lines[:2], b"\xff\xfe\n", *lines[3:]], [1, 2, 4, 5], ["entry 3 .*line 3: its text"]),
        (lambda lines: [*lines[:2], lines[2][:-1], *lines[3:]], [1, 2, 5], ["entries 3 to 4 .*line 3"]),
        (lambda lines: [*lines[:1], *lines[3:]], [1, 4, 5], ["entries 2 to 3 are missing"]),
        (lambda lines: [*lines, lines[3]], [1, 2, 3, 4, 5], ["line 6 repeats entry 4"]),
        (lambda lines: lines[:3], [1, 2, 3], ["entries 4 to 5 are missing"]),
        (lambda lines: [*lines[:3], lines[3][:20]], [1, 2, 3], ["entries 4 to 5 are missing"]),
        (lambda lines: [], [], ["entries 1 to 5 are missing"]),
        (lambda lines: [b"\x00" * 50, b"\n"], [], ["entries 1 to 5 .*line 1: its text"]),
    ],
)
def test_damage_is_named_and_the_rest_is_kept(
    journal: Journal, whole: list[bytes], damage: Any, kept: list[int], faults: list[str]
) -> None:
    journal.path.write_bytes(b"".join(damage(whole)))
    reading = read_intact(journal.path)
    assert [entry.number for entry in reading.entries] == kept
    assert len(reading.faults) == len(faults)
    for found, expected in zip(reading.faults, faults, strict=True):
        assert re.search(expected, found)


def test_a_lost_journal_is_told_from_a_new_one(journal: Journal, whole: list[bytes]) -> None:
    journal.path.unlink()
    assert read_intact(journal.path).faults == ("entries 1 to 5 are missing",)
    journal.path.with_suffix(".end").unlink()
    assert read_intact(journal.path) == Reading((), ())


@pytest.mark.parametrize("moved", [True, False])
def test_a_journal_that_is_not_where_it_was_is_not_continued(journal: Journal, moved: bool) -> None:
    """The run directory was moved while the study ran, or a second program wrote."""
    journal.append(FIRST)
    if moved:
        journal.path.parent.rename(journal.path.parent.with_name("elsewhere"))
    else:
        Journal(journal.path).append(SECOND)
    for call in (journal.check, lambda: journal.append(SECOND)):
        with pytest.raises(StorageError, match="the run directory was moved, or another program changed it"):
            call()
    assert journal.path.exists() is not moved


def test_text_that_is_no_unicode_stays_readable(journal: Journal) -> None:
    """A file name in another encoding, as Python gives it, and a character beside it that is Unicode."""
    name = os.fsdecode(b"caf\xe9.png")
    journal.append(WorkerDied(job="\U0001f600", trial=None, iteration=0, cause=f"{name}: no such file"))
    journal.append(SECOND)
    (died_of, after) = events(journal)
    assert died_of == WorkerDied(job="\U0001f600", trial=None, iteration=0, cause="caf\\udce9.png: no such file")
    assert after == SECOND
    assert journal.path.read_bytes().isascii()


@pytest.mark.parametrize("existing", [0, 2])
def test_on_a_full_disk_nothing_is_half_written(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, existing: int
) -> None:
    for number in range(existing):
        journal.append(died(number))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="--resume") as caught:
            journal.append(FIRST)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(journal.path)
    journal.append(died(existing))
    assert events(journal) == [died(number) for number in range(existing + 1)]
