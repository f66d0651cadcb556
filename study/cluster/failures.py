"""Why a worker's process died, in one line."""

import re
from pathlib import Path

_LAYOUT = re.compile(r"\x1b\[[0-9;]*m")
_OF_RAY = re.compile(r"^\s*(class_name|actor_id|namespace|pid|ip|name|repr|node_id|job_id):", re.IGNORECASE)
_START = re.compile(r"^Failure # \d+ .*$", re.MULTILINE)
_TRACEBACK = re.compile(r"^\s*(ray::|File |During handling|The above exception|Traceback)")


def cause_of_death(errors: Path) -> str:
    """The last of the failures that Tune wrote into a trial's error file.

    Of a traceback that is its last line, of Ray's own reports the sentences without the identifiers.
    """
    if not errors.exists():
        return "Ray does not say why"
    text = _LAYOUT.sub("", _START.split(errors.read_text(errors="replace"))[-1]).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _OF_RAY.match(line)]
    if any(_TRACEBACK.match(line) for line in lines):
        lines = lines[-1:]
    return " ".join(lines) or "Ray does not say why"
