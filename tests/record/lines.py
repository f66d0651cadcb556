"""Lines of a journal as other code, or an attacker, could write them: with a checksum that is right."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from study.record.entries import Entry, write_entry
from study.record.events import Event


def signed(values: Any) -> str:
    """Return a line with these values and their checksum."""
    payload = json.dumps(values)
    return f'{payload[:-1]}, "checksum": "{hashlib.sha256(payload.encode()).hexdigest()[:16]}"}}'


def line_of(number: int, time: float, event: Event) -> str:
    """Return the line of an event, with its line break."""
    return write_entry(Entry(number, time, event)) + "\n"


def payload_of(line: str) -> dict[str, Any]:
    """Return a line's values without the checksum."""
    values: dict[str, Any] = json.loads(line)
    del values["checksum"]
    return values


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write these lines of a journal as if there had been no others."""
    numbered = [payload_of(line) | {"number": number} for number, line in enumerate(lines, start=1)]
    path.write_text("".join(f"{signed(values)}\n" for values in numbered))
    path.with_suffix(".end").unlink(missing_ok=True)
