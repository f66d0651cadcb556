"""The lines of a journal: an event with its time and version, as JSON; what is no such line is refused."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from study.record.events import EVENT_TYPES, VERSION, Event
from study.record.points import NO_OTHER_FIELDS
from study.record.validation import describe_problem, shortened, to_json

_OTHER_CODE = "read it with the code that wrote it"


class EventError(ValueError):
    """A line that is no entry of this version; the message names the fault and the remedy."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Entry:
    """One line of a journal; `time` of recording in seconds since the epoch."""

    time: Annotated[float, Field(allow_inf_nan=False)]
    event: Event
    version: Literal[2]


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


def write_entry(time: float, event: Event) -> str:
    """Return an event and its time as a line of a journal, without a line break."""
    return to_json(_ENTRY.dump_python(Entry(time, event, VERSION)))


def read_entry(line: bytes) -> Entry:
    """Read one line of a journal.

    Raises:
        EventError: it is not JSON, or no entry of this version; the message names the field, the rule and the remedy.
    """
    try:
        return _ENTRY.validate_json(line, strict=True)
    except ValidationError as error:
        raise EventError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    """Return the fault and the remedy; a wrong version comes first, since all else may follow from it."""
    problems = error.errors()
    version = next((problem for problem in problems if problem["loc"] == ("version",)), None)
    if version is not None:
        found = "it has no version" if version["type"] == "missing" else f"its version is {shortened(version['input'])}"
        return f"{found}, but this code reads {VERSION}; {_OTHER_CODE}"
    first = problems[0]
    if first["type"] == "union_tag_invalid":
        known = ", ".join(EVENT_TYPES)
        return f"unknown event {shortened(first['ctx']['tag'])}; version {VERSION} has {known}; {_OTHER_CODE}"
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown field {'.'.join(map(str, first['loc']))!r}; {_OTHER_CODE}"
    return describe_problem(error)
