"""The lines of a journal: an event with its number, time and checksum, as JSON; what is no such line is refused."""

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from study.record.events import EVENT_TYPES, VERSION, Event
from study.record.points import NO_OTHER_FIELDS
from study.record.validation import describe_problem, shortened, to_json

_OTHER_CODE = "read it with the code that wrote it"
_CHECKSUM = re.compile(rb', "checksum": "([0-9a-f]{16})"\}\s*\Z')


class EventError(ValueError):
    """A line that is no entry of this version; the message names the fault and the remedy."""


class DamagedLineError(EventError):
    """A line whose text is not what was written."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Entry:
    """One line of a journal; `number` counts from 1, `time` of recording is in seconds since the epoch."""

    number: Annotated[int, Field(ge=1, lt=2**63)]
    time: Annotated[float, Field(allow_inf_nan=False)]
    event: Event
    version: Literal[3] = VERSION


_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def write_event(event: Event) -> str:
    """Return an event as JSON, without an entry."""
    return to_json(_EVENT.dump_python(event))


def read_event(text: str | bytes) -> Event:
    """Read an event without an entry; EventError as `read_entry`."""
    try:
        return _EVENT.validate_json(text, strict=True)
    except ValidationError as error:
        raise EventError(_explain(error)) from None


def write_entry(entry: Entry) -> str:
    """Return an entry as a line of a journal, without a line break; its checksum covers all before it."""
    payload = to_json(_ENTRY.dump_python(entry))
    return f'{payload[:-1]}, "checksum": "{_checksum(payload.encode())}"}}'


def read_entry(line: bytes) -> Entry:
    """Read one line of a journal.

    Raises:
        DamagedLineError: its text does not match its checksum.
        EventError: it is no entry of this version; the message names the field, the rule and the remedy.
    """
    found = _CHECKSUM.search(line)
    payload = line if found is None else line[: found.start()] + b"}"
    if found is None or found[1].decode() != _checksum(payload):
        raise _other_version(line) or DamagedLineError("its text does not match its checksum")
    try:
        return _ENTRY.validate_json(payload, strict=True)
    except ValidationError as error:
        raise EventError(_explain(error)) from None


def _checksum(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:16]


def _other_version(line: bytes) -> EventError | None:
    """Return the error of a line that an earlier version wrote: those had no checksum."""
    try:
        values: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or "event" not in values or "checksum" in values:
        return None
    version = values.get("version")
    return None if version == VERSION else EventError(_wrong_version(version, "version" in values))


def _wrong_version(version: Any, there: bool) -> str:
    found = f"its version is {shortened(version)}" if there else "it has no version"
    return f"{found}, but this code reads {VERSION}; {_OTHER_CODE}"


def _explain(error: ValidationError) -> str:
    """Return the fault and the remedy; a wrong version comes first, since all else may follow from it."""
    problems = error.errors()
    version = next((problem for problem in problems if problem["loc"] == ("version",)), None)
    if version is not None:
        return _wrong_version(version["input"], version["type"] != "missing")
    first = problems[0]
    if first["type"] == "union_tag_invalid":
        known = ", ".join(EVENT_TYPES)
        return f"unknown event {shortened(first['ctx']['tag'])}; version {VERSION} has {known}; {_OTHER_CODE}"
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown field {'.'.join(map(str, first['loc']))!r}; {_OTHER_CODE}"
    return describe_problem(error)
