"""The journal: atomic appends, concurrent reads, and lines that are no entries."""

import errno
import math
import os
import time
from pathlib import Path

import pytest

from study.files import StorageError
from study.record.entries import Entry, write_entry
from study.record.events import VERSION, SearchEnded, StudyStateChanged, TrialStarted, WorkerDied
from study.record.journal import Journal, JournalError, read_entries
from study.record.points import Limits

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


@pytest.mark.parametrize("torn", ['{"time": 1, "eve', write_entry(1.0, FIRST), "\x00\x00\x00"])
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
    line = write_entry(2.0, SECOND) + "\n"
    with open(journal.path, "a") as file:
        file.write(line[:20])
    assert list(read_entries(journal.path, offset)) == []
    with open(journal.path, "a") as file:
        file.write(line[20:])
    assert [entry for entry, _ in read_entries(journal.path, offset)] == [Entry(2.0, SECOND, VERSION)]


def test_reading_continues_from_each_offset(journal: Journal) -> None:
    for number in range(4):
        journal.append(died(number))
    offsets = [offset for _, offset in read_entries(journal.path)]
    assert offsets[-1] == journal.path.stat().st_size
    for number, offset in enumerate(offsets, start=1):
        read = [entry.event for entry, _ in read_entries(journal.path, offset)]
        assert read == [died(later) for later in range(number, 4)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"time": 1, "version": 2, "event": {"type": "trial_sold"}}', "unknown event 'trial_sold'"),
        ('{"time": 1, "version": 2, "event": {"type": "study_state", "state": "RUNNING", "mood": 1}}', "mood"),
        ('{"time": 1, "version": 3, "event": {"type": "study_state", "state": "RUNNING"}}', "its version is 3"),
        ('{"time": 1, "event": "end", "trial": 0, "state": "COMPLETE"}', "it has no version"),
        ("not json", "it is not JSON; .* restore the file from a copy"),
        ("", "it is not JSON"),
        (
            '{"time": 1, "version": "2", "event": {"type": "study_state", "state": "RUNNING"}}',
            "its version is '2', but",
        ),
        ('{"time": 1, "event": {"type": "search_ended", "cause": "version"}}', "it has no version"),
        ('{"time": NaN, "version": 2, "event": {"type": "study_state", "state": "RUNNING"}}', "time: "),
    ],
)
def test_an_invalid_line_is_refused_by_its_number(journal: Journal, line: str, problem: str) -> None:
    journal.append(FIRST)
    with open(journal.path, "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(JournalError, match=problem) as refused:
        events(journal)
    assert str(refused.value).startswith(f"{journal.path}, line 2: ")


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
