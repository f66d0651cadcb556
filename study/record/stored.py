"""A study read back from its run directory, and the repair of a journal that was damaged or cut short.

The journal is the record; `study.json` follows from it. What is damaged is left out and named, never believed.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from study.config import Precision
from study.record.entries import Entry
from study.record.events import Event, JournalRepaired, PairEnded, StudyDescribed, TrialEnded
from study.record.journal import read_intact, rewrite
from study.record.metadata import (
    RunDirectoryError,
    StudyMetadata,
    parse_metadata,
    plain_metadata,
    read_metadata,
    write_metadata,
)
from study.record.paths import RunDirectory
from study.record.points import TrialPoint, pair_name
from study.record.state import Recorder, StudyRecord
from study.record.validation import shortened


@dataclass(frozen=True)
class StoredStudy:
    """What a run directory holds.

    Attributes:
        metadata: as the journal describes the study; of `study.json` where it does not.
        entries: of the journal, without those that are damaged.
        record: the study rebuilt from them.
        faults: what is damaged or missing, a clause each, by file; the record lacks what was there.
    """

    metadata: StudyMetadata
    entries: tuple[Entry, ...]
    record: StudyRecord
    faults: tuple[str, ...]


def read_study(run_dir: Path) -> StoredStudy:
    """Read a study of which files may be damaged.

    Raises:
        RunDirectoryError: neither the journal nor a `study.json` says what the study is.
        JournalError: another version wrote the journal.
    """
    files = RunDirectory(run_dir)
    entries, record, found = _read_journal(files)
    faults = [f"{files.journal}: {fault}; left out" for fault in found]
    described = _described(files, record, entries)
    if described is None:
        return StoredStudy(read_metadata(run_dir), entries, record, tuple(faults))
    try:
        other = read_metadata(run_dir).id != described.id
    except RunDirectoryError:
        other = True
    if other:
        faults.append(f"{files.study}: missing, damaged or of another study; the journal has its content")
    return StoredStudy(described, entries, record, tuple(faults))


def describe_study(run_dir: Path, metadata: StudyMetadata, recorder: Recorder) -> StudyMetadata:
    """Write what a study is into its `study.json` and its journal; returns and raises as `write_metadata`."""
    files = RunDirectory(run_dir)
    metadata = write_metadata(run_dir, metadata, _described(files, recorder.record))
    recorder.add(StudyDescribed(metadata=plain_metadata(metadata)))
    return metadata


def repair_journal(run_dir: Path) -> tuple[str, ...]:
    """Make a journal whole again; return what was wrong and what was done, a sentence each.

    Intact entries stay, with their times; the file as it was is kept beside it. Trials and pairs of which something is
    lost are open again: what is on disk is recorded without training.

    Raises:
        JournalError: another version wrote the journal.
        StorageError: a file cannot be written.
    """
    files = RunDirectory(run_dir)
    entries, record, faults = _read_journal(files)
    if not faults:
        return ()
    kept = set_aside(files.journal)
    intact = tuple(entry for entry in entries if not _lost_part(files, record, entry.event))
    rewrite(files.journal, intact, JournalRepaired(faults=faults, kept=None if kept is None else kept.name))
    files.cursor.unlink(missing_ok=True)  # its offset is of the former file; MLflow stores once what is sent twice
    done = "left out; trials and interpolations that lack something go on, from their files where they are there"
    return (
        *(f"{files.journal}: {fault}" for fault in faults),
        f"{done}{f' (the former file: {kept})' if kept else ''}",
    )


def set_aside(path: Path) -> Path | None:
    """Rename a file to a name that is free; return it, or None if there is no file."""
    if not path.exists():
        return None
    number = 1
    while (kept := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.rename(path, kept)
    return kept


def precision_of(run_dir: Path) -> Precision | None:
    """Return the precision of the study in a directory; None without a study."""
    files = RunDirectory(run_dir)
    if not files.study.exists() and not files.journal.exists():
        return None
    found: Any = read_study(run_dir).metadata.config.get("precision")
    if found not in get_args(Precision):
        raise RunDirectoryError(f"{files.study}: config.precision must be fp32 or bf16, but got {shortened(found)}")
    precision: Precision = found
    return precision


def _described(files: RunDirectory, record: StudyRecord, entries: Sequence[Entry] = ()) -> StudyMetadata | None:
    if record.described is None:
        return None
    numbers = [entry.number for entry in entries if isinstance(entry.event, StudyDescribed)]
    place = f", entry {numbers[-1]}" if numbers else ""
    return parse_metadata(json.dumps(record.described).encode(), f"{files.journal}{place}")


def _read_journal(files: RunDirectory) -> tuple[tuple[Entry, ...], StudyRecord, tuple[str, ...]]:
    """Return the intact entries, the study rebuilt from them, and what is damaged or missing."""
    reading = read_intact(files.journal)
    record = StudyRecord.of(reading.entries)
    # A trial is recorded before its worker makes a directory.
    unknown = [str(trial) for trial in files.trial_numbers() if trial not in record.trials]
    lacking = [f"the start of trial {', '.join(unknown)} is missing, of which there are files"]
    return reading.entries, record, reading.faults or tuple(lacking if unknown else [])


def _lost_part(files: RunDirectory, record: StudyRecord, event: Event) -> bool:
    """Return whether an event ends a trial or a pair of which another event is lost."""
    match event:
        case TrialEnded():
            if event.trial not in record.trials:
                return True
            stored = files.trial(event.trial).stored_iterations() if event.state == "COMPLETE" else []
            return any(TrialPoint(event.trial, iteration) not in record.points for iteration in stored)
        case PairEnded():
            known = {
                point.name for point in record.interpolations if point.pair == pair_name(event.first, event.second)
            }
            return any(folder.name not in known for folder in files.pair(event.first, event.second).glob("*/"))
    return False
