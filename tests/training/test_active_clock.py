"""Seconds that count: those in which the process ran, however long it was stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from study.training import active_clock
from study.training.active_clock import ActiveClock

# Prints the wall-clock and the active seconds of a wait like that for a GPU, during which it is stopped.
WAITING = """
import time
from study.training import active_clock

active_clock.STOPPED_SECONDS = 1.5
with active_clock.ActiveClock() as clock:
    began, started = time.monotonic(), clock.seconds()
    print("ready", flush=True)
    while time.monotonic() < began + 6:
        time.sleep(0.01)
    print(time.monotonic() - began, clock.seconds() - started)
"""


def test_the_time_of_a_stopped_process_does_not_count() -> None:
    process = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(process.pid, signal.SIGCONT)
    wall, active = map(float, process.communicate(timeout=60)[0].split())
    assert wall >= 5.9
    assert active < wall - 4


class Machine:
    """Clocks that a test sets."""

    def __init__(self) -> None:
        self.now = self.busy = 100.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(active_clock.time, "monotonic", lambda: machine.now)
    monkeypatch.setattr(active_clock.time, "process_time", lambda: machine.busy)
    monkeypatch.setattr(active_clock.torch, "get_num_threads", lambda: 2)
    return machine


@pytest.mark.parametrize(
    ("gap", "busy", "counted"),
    [(9.0, 0.0, 9.0), (90.0, 0.5, 0.0), (90.0, 90.0, 90.0), (90.0, 30.0, 90.0)],
    ids=["short", "stopped", "busy", "partly busy"],
)
def test_a_gap_without_processor_time_does_not_count(machine: Machine, gap: float, busy: float, counted: float) -> None:
    clock = ActiveClock()
    started = clock.seconds()
    machine.now, machine.busy = machine.now + gap, machine.busy + busy
    assert clock.seconds() - started == pytest.approx(counted)
    machine.now += 2
    assert clock.seconds() - started == pytest.approx(counted + 2)


def test_the_thread_ends_with_the_context() -> None:
    running: Callable[[], list[str]] = lambda: [each.name for each in threading.enumerate()]  # noqa: E731
    with ActiveClock():
        assert "active clock" in running()
    limit = time.monotonic() + 10
    while "active clock" in running() and time.monotonic() < limit:
        time.sleep(0.05)
    assert "active clock" not in running()
