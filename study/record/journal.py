"""The study's record on disk: one JSON object a line, appended by the driver alone, read by everything else.

What stands in it is true; the MLflow database, the Parquet tables and the report are made from it.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study.files import StorageError


class Journal:
    """An append-only file of events."""

    def __init__(self, path: Path) -> None:
        """Open or create it; a last line that a crash left torn is cut off, for it was never acted upon."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._cut_torn_line()

    def append(self, event: str, **facts: Any) -> None:
        """Record an event with the present time; on return it survives a crash. StorageError if it cannot."""
        line = json.dumps({"time": time.time(), "event": event, **facts}, allow_nan=True) + "\n"
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, size)
            raise StorageError(
                error.errno, "could not record an event; free some space, then --resume", str(self.path)
            ) from error

    def events(self) -> Iterator[dict[str, Any]]:
        """All whole events, oldest first."""
        for event, _ in read_events(self.path, 0):
            yield event

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self.path, whole)


def read_events(path: Path, offset: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Read the whole events from a byte offset on, each with the offset after it."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return  # being written
            offset += len(line)
            yield json.loads(line), offset
