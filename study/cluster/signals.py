"""Stop a study by signals: after the first, every job saves and stops; the second ends the jobs at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from study.record.paths import RunDirectory

ALL_JOBS = "all-jobs"
STOP_SECONDS = 60.0
"""Time for a job to save and stop."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequests:
    """Requests to stop one job by name, or `ALL_JOBS`: files in the study's directory, which every node mounts.

    Workers check every `SYNC_INTERVAL` iterations; a network file system may add a delay of some seconds.
    """

    def __init__(self, run_dir: Path) -> None:
        self._folder = RunDirectory(run_dir).stop

    def request(self, name: str) -> None:
        """Request that a job, or all, saves and stops; no effect if the file cannot be written."""
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            (self._folder / name).touch()

    def withdraw(self, name: str) -> None:
        """Withdraw a request, so that the job can be started again."""
        with suppress(OSError):
            (self._folder / name).unlink()

    def is_requested(self, name: str) -> bool:
        """Return whether a job must stop."""
        return (self._folder / ALL_JOBS).exists() or (self._folder / name).exists()


class Stoppable(Protocol):
    """A source of jobs: it hands out none while `stopping` is set; `halted` is why it cannot continue."""

    stopping: bool
    halted: str | None


class Stop:
    """Handles Ctrl-C, SIGTERM (from `ray job stop`, Slurm, Kubernetes) and SIGHUP (a terminal was closed).

    Attributes:
        requested: whether a signal was received.
    """

    def __init__(self, searcher: Stoppable, requests: StopRequests, console: Console) -> None:
        """Withdraw a request that an earlier driver left."""
        self.requested = False
        self._searcher, self._requests, self._console = searcher, requests, console
        self._abort = False
        requests.withdraw(ALL_JOBS)

    @property
    def at_once(self) -> bool:
        """Whether to end without waiting for jobs to save."""
        return self._abort or self._searcher.halted is not None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle signals in the context: the first stops all jobs; the second, or `STOP_SECONDS`, aborts them."""
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
        # `nohup` starts a command with SIGHUP ignored.
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        handled = [number for number in _SIGNALS if number not in ignored]
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        self._timer = threading.Timer(STOP_SECONDS, self._abort_jobs)
        self._timer.daemon = True
        try:
            yield
        finally:
            self._timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)
            self._requests.withdraw(ALL_JOBS)

    def _on_signal(self, number: int, _frame: Any) -> None:
        if self.requested and number == signal.SIGHUP:
            return  # the kernel and the shell each send one
        if self._abort:
            raise KeyboardInterrupt
        if self.requested:
            self._abort_jobs()
            return
        self.requested = self._searcher.stopping = True
        self._requests.request(ALL_JOBS)
        self._timer.start()
        self._console.print(f"stopping: running jobs save, for at most {STOP_SECONDS:g} s; a second signal aborts them")

    def _abort_jobs(self) -> None:
        self._abort = True
