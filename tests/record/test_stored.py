"""A study read back from a directory of which files are damaged, and the repair of its journal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from study.config.recipes import aesop
from study.record.directory import check_output
from study.record.events import PairEnded, StudyDescribed, TrialEnded
from study.record.journal import Journal, read_entries
from study.record.metadata import OccupiedError, RunDirectoryError
from study.record.paths import RunDirectory
from study.record.points import TrialPoint
from study.record.state import Recorder
from study.record.stored import describe_study, precision_of, read_study, repair_journal
from tests.record.test_metadata import STUDY
from tests.search.small_records import ended, evaluated, interpolated, started

BASE = aesop("tiny")
MIXED = interpolated(25.0, 0.4)


@pytest.fixture
def files(tmp_path: Path) -> RunDirectory:
    """A study of two trials that are COMPLETE, with the files of their points and of one interpolation."""
    files = RunDirectory(tmp_path / "run")
    recorder = Recorder(Journal(files.journal))
    describe_study(files.root, STUDY, recorder)
    for trial in range(2):
        recorder.add(started(trial, BASE))
        for iteration in (20, 40):
            recorder.add(evaluated(trial, iteration, 25.0, 0.5))
            numbers = files.trial(trial).numbers(iteration)
            numbers.parent.mkdir(parents=True, exist_ok=True)
            numbers.write_text("{}")
        recorder.add(ended(trial))
    recorder.add(MIXED)
    files.pair(MIXED.point.first, TrialPoint(0, 40)).joinpath("weights-5000").mkdir(parents=True)
    recorder.add(PairEnded(first=MIXED.point.first, second=TrialPoint(0, 40), state="COMPLETE"))
    return files


def change(files: RunDirectory, edit: Callable[[list[str]], list[str]]) -> None:
    lines = files.journal.read_text().splitlines(keepends=True)
    files.journal.write_text("".join(edit(lines)))


def without(text: str) -> Callable[[list[str]], list[str]]:
    """Damage the last line that has a text."""

    def edit(lines: list[str]) -> list[str]:
        place = max(place for place, line in enumerate(lines) if text in line)
        return [*lines[:place], lines[place].replace(text, text.upper()), *lines[place + 1 :]]

    return edit


def test_a_whole_study_has_no_faults_and_needs_no_repair(files: RunDirectory) -> None:
    before = files.journal.read_bytes()
    stored = read_study(files.root)
    assert (stored.metadata, stored.faults, len(stored.record.points)) == (STUDY, (), 4)
    assert repair_journal(files.root) == ()
    assert files.journal.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b'{"name": ', b'{"version": 1}'])
def test_study_json_follows_from_the_journal(files: RunDirectory, content: bytes | None) -> None:
    if content is None:
        files.study.unlink()
    else:
        files.study.write_bytes(content)
    stored = read_study(files.root)
    assert stored.metadata == STUDY
    assert stored.faults == (f"{files.study}: missing, damaged or of another study; the journal has its content",)
    assert precision_of(files.root) == "bf16"
    check_output(files.root, resume=True)
    with pytest.raises(OccupiedError, match="holds the study 'quick' already"):
        check_output(files.root, resume=False)
    describe_study(files.root, STUDY, Recorder(Journal(files.journal)))
    assert read_study(files.root).faults == ()
    assert sum(isinstance(entry.event, StudyDescribed) for entry in stored.entries) == 1


def test_without_study_json_and_journal_nothing_is_continued(files: RunDirectory) -> None:
    files.study.unlink()
    files.journal.write_bytes(b"")
    with pytest.raises(RunDirectoryError, match=r"study\.json does not exist"):
        check_output(files.root, resume=True)
    files.journal.unlink()
    with pytest.raises(OccupiedError, match="holds no study"):
        check_output(files.root, resume=True)


@pytest.mark.parametrize(
    ("damage", "opened", "points"),
    [
        (without("point_evaluated"), [1], 3),  # trial 1 has a file of it
        (without("trial_started"), [1], 4),
        (without("trial_ended"), [1], 4),
        (without("interpolation_evaluated"), [], 4),
        (lambda lines: lines[:5], [1], 2),
        (lambda lines: [], [0, 1], 0),
    ],
)
def test_repair_keeps_what_is_intact_and_opens_what_lacks_something(
    files: RunDirectory, damage: Callable[[list[str]], list[str]], opened: list[int], points: int
) -> None:
    change(files, damage)
    damaged = files.journal.read_bytes()
    files.cursor.write_text("{}")
    said = repair_journal(files.root)
    assert said[-1].startswith("left out; trials and interpolations that lack something go on")
    assert (files.root / "journal.jsonl.damaged-1").read_bytes() == damaged
    assert not files.cursor.exists()
    record = Recorder(Journal(files.journal)).record
    assert [trial for trial in range(2) if trial not in record.ends] == opened
    assert len(record.points) == points
    assert [repair.faults for repair in record.repairs] == [tuple(text.partition(": ")[2] for text in said[:-1])]
    numbers = [entry.number for entry, _ in read_entries(files.journal)]
    assert numbers == list(range(1, len(numbers) + 1))
    lacks_pair = len(record.interpolations) == 0
    assert (len(record.pairs) == 0) is lacks_pair
    for trial in opened:  # as the driver and its workers do next
        Recorder(Journal(files.journal)).add(started(trial, BASE))
        Recorder(Journal(files.journal)).add(TrialEnded(trial=trial, state="COMPLETE"))
    if points == 4:
        assert repair_journal(files.root) == ()
