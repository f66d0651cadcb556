"""The journal of a study: one event a line, appended by the driver alone.

MLflow's database, Optuna's database, `study.json`, the Parquet tables and the report are derived from it. Each line
has a number and a checksum, and the number of the last one is noted beside the journal: what was changed, lost or cut
off is found when the journal is read.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.files import StorageError, write_atomically
from study.record.entries import DamagedLineError, Entry, EventError, read_entry, write_entry
from study.record.events import Event

_REPAIR = "restore the file from a copy, or continue the study, which leaves out what is damaged and does it again"


class JournalError(ValueError):
    """A journal that cannot be read; the message names file, line, fault and remedy."""


class Journal:
    """An append-only file of events."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. A last line that a crash truncated is removed: no action followed it."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
        self._size, self._number = whole, content.count(b"\n")

    def append(self, event: Event) -> None:
        """Append an event with the present time, flushed to disk.

        Raises:
            StorageError: the file cannot be written, or is not where it was; the journal is unchanged.
        """
        self.check()
        line = f"{write_entry(Entry(self._number + 1, time.time(), event))}\n".encode()
        try:
            with open(self.path, "ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, self._size)
            raise StorageError(
                error.errno, "could not record an event; free some space, then --resume", str(self.path)
            ) from error
        self._size += len(line)
        self._number += 1
        _note_end(self.path, self._number)

    def check(self) -> None:
        """Check that the file is where this process left it.

        Raises:
            StorageError: the run directory was moved, or another program wrote into the journal.
        """
        found = self.path.stat().st_size if self.path.exists() else 0
        if found != self._size:
            what = "is not there any more" if found == 0 else f"has {found} bytes instead of {self._size}"
            raise StorageError(
                None,
                f"the journal {what}: the run directory was moved, or another program changed it, while it was in use; "
                "continue the study with --resume and its directory's new place as --output; files that were written "
                f"to {self.path.parent} since then can be removed",
                str(self.path),
            )

    def entries(self) -> Iterator[Entry]:
        """Yield all complete entries, oldest first; JournalError as `read_entries`."""
        for entry, _ in read_entries(self.path):
            yield entry


def read_entries(path: Path, offset: int = 0) -> Iterator[tuple[Entry, int]]:
    """Yield the complete entries from a byte offset on, each with the offset after it.

    Raises:
        JournalError: a line is damaged or missing, or no entry of this version.
    """
    if not path.exists():
        return
    number = 0 if offset == 0 else None
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # being written
            try:
                entry = read_entry(line)
                if number is not None and entry.number != number + 1:
                    raise DamagedLineError(f"it is entry {entry.number}, but entry {number + 1} must be here")
            except EventError as error:
                place = path.read_bytes()[:offset].count(b"\n") + 1
                remedy = f"; {_REPAIR}" if isinstance(error, DamagedLineError) else ""
                raise JournalError(f"{path}, line {place}: {error}{remedy}") from None
            offset += len(line)
            number = entry.number
            yield entry, offset


def is_line_end(path: Path, offset: int) -> bool:
    """Return whether a line of a journal ends at a byte offset, or the journal begins there."""
    if offset == 0:
        return True
    if not path.exists():
        return False
    with open(path, "rb") as file:
        file.seek(offset - 1)
        return file.read(1) == b"\n"


@dataclass(frozen=True)
class Reading:
    """The intact entries of a journal, and a clause for each damage: where, and what."""

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]


def read_intact(path: Path) -> Reading:
    """Read what is intact of a journal that may be damaged, cut short or missing.

    Raises:
        JournalError: another version wrote it.
    """
    end = _noted_end(path)  # before the journal, which may be growing
    *lines, _ = (path.read_bytes() if path.is_file() else b"").split(b"\n")  # the last is empty, or being written
    entries: list[Entry] = []
    faults: list[str] = []
    cause: str | None = None  # of the lines since the last intact one
    for place, line in enumerate(lines, start=1):
        last = entries[-1].number if entries else 0
        try:
            entry = read_entry(line)
        except DamagedLineError as error:
            cause = cause or f"line {place}: {error}"
            continue
        except EventError as error:
            raise JournalError(f"{path}, line {place}: {error}") from None
        if entry.number <= last:
            faults.append(f"line {place} repeats entry {entry.number}")
            continue
        if entry.number > last + 1:
            faults.append(_gap(last + 1, entry.number - 1, cause))
        entries.append(entry)
        cause = None
    last = entries[-1].number if entries else 0
    if cause is not None or end > last:
        faults.append(_gap(last + 1, max(end, last + 1), cause))
    return Reading(tuple(entries), tuple(faults))


def rewrite(path: Path, entries: tuple[Entry, ...], last: Event) -> None:
    """Replace a journal by these entries, numbered anew, and one more event; StorageError as `write_atomically`."""
    numbered = [Entry(number, entry.time, entry.event) for number, entry in enumerate(entries, start=1)]
    numbered.append(Entry(len(numbered) + 1, time.time(), last))
    write_atomically(path, "".join(f"{write_entry(entry)}\n" for entry in numbered).encode())
    _note_end(path, len(numbered))


def _gap(first: int, last: int, cause: str | None) -> str:
    what = f"entry {first} is" if first == last else f"entries {first} to {last} are"
    return f"{what} missing" if cause is None else f"{what} damaged or missing ({cause})"


def _note_end(path: Path, number: int) -> None:
    """Note the number of the last entry; without the note, a journal that is cut short cannot be told from a whole."""
    with contextlib.suppress(OSError):
        path.with_suffix(".end").write_text(f"{number}\n")


def _noted_end(path: Path) -> int:
    """Return the number of the last entry that was noted; 0 without a note."""
    try:
        return int(path.with_suffix(".end").read_text())
    except (OSError, ValueError):
        return 0
