"""How a study is stopped from outside: the first signal lets every job save and stop, the second one ends them at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

EVERYONE = "everyone"
STOP_SECONDS = 60.0
"""For a job that is told to stop, to save what it has."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests:
    """Requests to stop, as files in the study's directory, which workers on every node see: a job by name, or `EVERYONE`.

    Workers check every `SYNC_INTERVAL` iterations; on a network file system a request may be seen some seconds late.
    """

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / ".stop"

    def request(self, name: str) -> None:
        """Request that a job, or everyone, saves and stops; without effect where that cannot be written."""
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            (self._folder / name).touch()

    def withdraw(self, name: str) -> None:
        """Withdraw a request, so that the job goes on when it is started next."""
        with suppress(OSError):
            (self._folder / name).unlink()

    def is_requested(self, name: str) -> bool:
        """Return whether a job is to stop."""
        return (self._folder / EVERYONE).exists() or (self._folder / name).exists()


class Stoppable(Protocol):
    """What hands out jobs: told to stop, it hands out no more; `halted` once it cannot go on."""

    stopping: bool
    halted: str | None


class Stop:
    """Turns Ctrl-C and SIGTERM (of `ray job stop`, Slurm, Kubernetes) into an end in order.

    Attributes:
        requested: a signal came.
    """

    def __init__(self, searcher: Stoppable, requests: StopRequests, console: Console) -> None:
        """Set up; a request that an earlier driver left is withdrawn."""
        self.requested = False
        self._searcher, self._requests, self._console = searcher, requests, console
        self._impatient = False
        requests.withdraw(EVERYONE)

    @property
    def at_once(self) -> bool:
        """Whether to end without waiting for jobs to save."""
        return self._impatient or self._searcher.halted is not None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """While this lasts: the first signal asks all jobs to save and stop; the second one, or a minute, ends them."""
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
        before = {number: signal.signal(number, self._take) for number in _SIGNALS}
        self._timer = threading.Timer(STOP_SECONDS, self._lose_patience)
        self._timer.daemon = True
        try:
            yield
        finally:
            self._timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)
            self._requests.withdraw(EVERYONE)

    def _take(self, _number: int, _frame: Any) -> None:
        if self._impatient:
            raise KeyboardInterrupt
        if self.requested:
            self._lose_patience()
            return
        self.requested = self._searcher.stopping = True
        self._requests.request(EVERYONE)
        self._timer.start()
        self._console.print(f"stopping: what runs saves where it is, for at most {STOP_SECONDS:g} s (again: at once)")

    def _lose_patience(self) -> None:
        self._impatient = True
