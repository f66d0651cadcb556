"""The file of a stored point: its event, as JSON with a checksum."""

import json
from pathlib import Path

from study.files import DamagedError, read_checked_json, write_checked_json
from study.record.entries import EventError, read_event, write_event
from study.record.events import PointEvaluated


def write_point(path: Path, event: PointEvaluated) -> None:
    """Write a point's event; StorageError if the file system refuses."""
    write_checked_json(path, json.loads(write_event(event)))


def read_point(path: Path) -> PointEvaluated:
    """Read a point's event.

    Raises:
        DamagedError: the file is not what was written, or of another version.
        OSError: the file system refused to read it.
    """
    values = read_checked_json(path)
    try:
        event = read_event(json.dumps(values))
    except EventError as error:
        raise DamagedError(f"{path}: {error}") from None
    if not isinstance(event, PointEvaluated):
        raise DamagedError(f"{path} holds no point, but an event {event.type!r}")
    return event
