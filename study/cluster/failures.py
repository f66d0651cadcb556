"""Why a worker's process died, and how often."""

import re
from dataclasses import dataclass
from pathlib import Path

_LAYOUT = re.compile(r"\x1b\[[0-9;]*m")
_OF_RAY = re.compile(r"^\s*(class_name|actor_id|namespace|pid|ip|name|repr|node_id|job_id):", re.IGNORECASE)
_START = re.compile(r"^Failure # \d+ .*$", re.MULTILINE)
_TRACEBACK = re.compile(r"^\s*(ray::|File |During handling|The above exception|Traceback)")


def cause_of_death(errors: Path) -> str:
    """Return the last of the failures that Tune wrote into a trial's error file, in one line.

    Of a traceback that is its last line, of Ray's own reports the sentences without the identifiers.
    """
    if not errors.exists():
        return "Ray does not say why"
    text = _LAYOUT.sub("", _START.split(errors.read_text(errors="replace"))[-1]).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _OF_RAY.match(line)]
    if any(_TRACEBACK.match(line) for line in lines):
        lines = lines[-1:]
    return " ".join(lines) or "Ray does not say why"


@dataclass
class Deaths:
    """Deaths of a job's process since the job last got further than ever, how far that was, and the last cause."""

    count: int = 0
    furthest: int = 0
    cause: str = "the cause is unknown"

    def add(self, cause: str) -> None:
        """Count a death."""
        self.count, self.cause = self.count + 1, cause

    def reach(self, iteration: int) -> None:
        """Note an iteration that the job reached."""
        if iteration > self.furthest:
            self.count, self.furthest = 0, iteration

    @property
    def sentence(self) -> str:
        """Why the job is given up."""
        return (
            f"its process died {self.count} times without getting further than iteration {self.furthest}; "
            f"the last time: {self.cause}"
        )
