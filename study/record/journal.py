"""The journal of a study: one event a line, appended by the driver alone.

MLflow's database, the Parquet tables and the report are derived from it.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from study.files import StorageError
from study.record.entries import Entry, EventError, read_entry, write_entry
from study.record.events import Event


class JournalError(ValueError):
    """A journal that cannot be read; the message names file, line, fault and remedy."""


class Journal:
    """An append-only file of events."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. A last line that a crash truncated is removed: no action followed it."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_partial_line()

    def append(self, event: Event) -> None:
        """Append an event with the present time, flushed to disk.

        Raises:
            StorageError: the file cannot be written; the journal is unchanged.
        """
        line = write_entry(time.time(), event)
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab") as file:
                file.write(f"{line}\n".encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, size)
            raise StorageError(
                error.errno, "could not record an event; free some space, then --resume", str(self.path)
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Yield all complete entries, oldest first; JournalError as `read_entries`."""
        for entry, _ in read_entries(self.path):
            yield entry

    def _remove_partial_line(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)


def read_entries(path: Path, offset: int = 0) -> Iterator[tuple[Entry, int]]:
    """Yield the complete entries from a byte offset on, each with the offset after it.

    Raises:
        JournalError: a line is no entry of this version.
    """
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # being written
            try:
                entry = read_entry(line)
            except EventError as error:
                number = path.read_bytes()[:offset].count(b"\n") + 1
                raise JournalError(f"{path}, line {number}: {error}") from None
            offset += len(line)
            yield entry, offset
