"""How a study is stopped from outside: first in order, every job saving where it is; asked again, at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from study.cluster.notice import EVERYONE, StopNotices
from study.cluster.searcher import StudySearcher
from study.cluster.worker import STOP_SECONDS

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Turns Ctrl-C and SIGTERM (of `ray job stop`, Slurm, Kubernetes) into an end in order.

    Attributes:
        requested: a signal came.
    """

    def __init__(self, searcher: StudySearcher, notices: StopNotices, console: Console) -> None:
        """Set up; a notice that an earlier driver left is taken down."""
        self.requested = False
        self._searcher, self._notices, self._console = searcher, notices, console
        self._impatient = False
        notices.take_down(EVERYONE)

    @property
    def at_once(self) -> bool:
        """Whether to wait for nothing any more."""
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
            self._notices.take_down(EVERYONE)

    def _take(self, _number: int, _frame: Any) -> None:
        if self._impatient:
            raise KeyboardInterrupt
        if self.requested:
            self._lose_patience()
            return
        self.requested = self._searcher.stopping = True
        self._notices.put_up(EVERYONE)
        self._timer.start()
        self._console.print(f"stopping: what runs saves where it is, for at most {STOP_SECONDS:g} s (again: at once)")

    def _lose_patience(self) -> None:
        self._impatient = True
