"""A clock that leaves out the time in which the process was stopped, by SIGSTOP or with its container or machine."""

import threading
import time
from types import TracebackType

import torch

BEAT_SECONDS = 0.25
STOPPED_SECONDS = 10.0
"""A thread that wakes at each beat and slept for longer than this was stopped, or kept waiting by another thread."""

BUSY_SHARE = 0.1
"""Of a gap: with more processor time than this, beside that of the beat before, the process was not stopped."""


class ActiveClock:
    """Seconds in which this process ran; a context manager, inside of which a thread watches for gaps.

    Processor time cannot be the measure, since a process waits for its GPU. It tells only whether the process ran in a
    gap: a stopped one uses none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._lost = 0.0
        self._at, self._busy = time.monotonic(), time.process_time()

    def __enter__(self) -> "ActiveClock":
        self._at, self._busy = time.monotonic(), time.process_time()
        threading.Thread(target=self._watch, name="active clock", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def seconds(self) -> float:
        """Return the seconds, from an arbitrary start."""
        with self._lock:
            now, busy = time.monotonic(), time.process_time()
            gap = now - self._at
            idle = busy - self._busy < BUSY_SHARE * gap + BEAT_SECONDS * torch.get_num_threads()
            if gap > STOPPED_SECONDS and idle:
                self._lost += gap
            self._at, self._busy = now, busy
            return now - self._lost

    def _watch(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self.seconds()
