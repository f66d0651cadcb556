"""JSON that every reader accepts, and what is wrong with JSON that none does."""

import json
import re
from typing import Any

from pydantic import ValidationError

DAMAGED = "the study's own code does not write this; restore the file from a copy"
"""Remedy of a file that was edited or damaged."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN = 80
_RULES = {
    "json_invalid": "it is not JSON",
    "missing": "it is missing",
    "unexpected_keyword_argument": "this version does not know it",
    "union_tag_not_found": "it has no type",
}
"""In words, where pydantic's text does not fit a line of a file."""


def to_json(values: Any) -> str:
    """Return plain values as one line of JSON, in ASCII.

    Text that is not valid Unicode, such as a file name in another encoding, is written escaped (`caf\\udce9.png`): no
    reader of JSON would accept it otherwise.
    """
    text = json.dumps(values, ensure_ascii=False)
    escaped = _LONE_SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)
    return escaped if escaped.isascii() else json.dumps(json.loads(escaped))


def describe_problem(error: ValidationError) -> str:
    """Return field, rule and value of the first problem, and the remedy."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "value_error":
        rule = str(problem["ctx"]["error"])  # it says the value
    elif problem["type"] in ("missing", "json_invalid"):
        rule = _RULES[problem["type"]]
    else:
        rule = _RULES.get(problem["type"], problem["msg"].partition(" or an instance of ")[0])
        rule += f", but got {shortened(problem['input'])}"
    return f"{field + ': ' if field else ''}{rule}; {DAMAGED}"


def shortened(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
