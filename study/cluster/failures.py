"""Causes and counts of the deaths of workers, and of failed jobs."""

import re
from dataclasses import dataclass
from pathlib import Path

_ANSI_CODES = re.compile(r"\x1b\[[0-9;]*m")
_RAY_IDENTIFIER = re.compile(r"^\s*(class_name|actor_id|namespace|pid|ip|name|repr|node_id|job_id):", re.IGNORECASE)
_FAILURE_HEADER = re.compile(r"^Failure # \d+ .*$", re.MULTILINE)
_TRACEBACK = re.compile(r"^\s*(ray::|File |During handling|The above exception|Traceback)")
_UNKNOWN = "Ray reports no cause"


def failure_cause(errors: Path) -> str:
    """Return the last failure in a trial's error file of Tune, in one line.

    A traceback is reduced to its last line, a report of Ray to its sentences, without identifiers.
    """
    if not errors.exists():
        return _UNKNOWN
    text = _ANSI_CODES.sub("", _FAILURE_HEADER.split(errors.read_text(errors="replace"))[-1]).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _RAY_IDENTIFIER.match(line)]
    if any(_TRACEBACK.match(line) for line in lines):
        lines = lines[-1:]
    return " ".join(lines) or _UNKNOWN


FAILURES_IN_A_ROW = 5
"""So many failed jobs, without another end between them, halt a study: the cause is probably not theirs."""


class TooManyFailures(RuntimeError):
    """`FAILURES_IN_A_ROW` jobs have failed; the message has the last cause."""


@dataclass
class FailureStreak:
    """Number of jobs that failed since the last one that did not; training that diverged is no failure here."""

    count: int = 0

    def reset(self) -> None:
        """Count from 0: a job has not failed."""
        self.count = 0

    def add(self, cause: str) -> None:
        """Count a failed job.

        Raises:
            TooManyFailures: the study must halt.
        """
        self.count += 1
        if self.count >= FAILURES_IN_A_ROW:
            raise TooManyFailures(
                f"{self.count} jobs in a row failed, the last one so: {cause}. Mend the cause; a resumed study goes on "
                "with the other trials, and tries those again whose process died or had too little memory"
            )


@dataclass
class FailureCount:
    """Deaths of a job's process since its last progress.

    Attributes:
        count: number of deaths.
        furthest: the largest iteration that the job reached.
        cause: of the last death.
    """

    count: int = 0
    furthest: int = 0
    cause: str = "the cause is unknown"

    def add(self, cause: str) -> None:
        """Count a death."""
        self.count, self.cause = self.count + 1, cause

    def reach(self, iteration: int) -> None:
        """Reset the count if the job reached a new iteration."""
        if iteration > self.furthest:
            self.count, self.furthest = 0, iteration

    @property
    def summary(self) -> str:
        """Cause of the job's failure, once it is not restarted any more."""
        return (
            f"its process died {self.count} times without getting further than iteration {self.furthest}; "
            f"the last time: {self.cause}"
        )
