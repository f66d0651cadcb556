"""Signals to a study: the first stops it in order, the second at once."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from study.cluster import signals as stopping
from study.cluster.signals import ALL_JOBS, Stop, StopRequests


@pytest.fixture
def searcher() -> Any:
    return SimpleNamespace(stopping=False, halted=None)


@pytest.fixture
def stop(searcher: Any, tmp_path: Path) -> Stop:
    return Stop(searcher, StopRequests(tmp_path), Console(quiet=True))


def test_a_request_stops_one_job_or_all(tmp_path: Path) -> None:
    requests = StopRequests(tmp_path)
    assert not requests.is_requested("trial-0001")
    requests.request("trial-0001")
    assert StopRequests(tmp_path).is_requested("trial-0001")
    assert not requests.is_requested("trial-0002")
    requests.request(ALL_JOBS)
    assert requests.is_requested("trial-0002")
    for name in (ALL_JOBS, "trial-0001", "trial-0001"):
        requests.withdraw(name)
    assert not requests.is_requested("trial-0001")


def test_a_request_that_cannot_be_written_has_no_effect(tmp_path: Path) -> None:
    requests = StopRequests(tmp_path / "gone")
    requests.request(ALL_JOBS)
    assert not requests.is_requested("trial-0001")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_then_abort_then_interrupt(number: int, stop: Stop, searcher: Any, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    with stop.on_signals():
        assert (stop.requested, stop.at_once) == (False, False)
        os.kill(os.getpid(), number)
        assert (stop.requested, searcher.stopping, stop.at_once) == (True, True, False)
        assert StopRequests(tmp_path).is_requested("trial-0001")
        os.kill(os.getpid(), number)
        assert stop.at_once
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
    assert not StopRequests(tmp_path).is_requested("trial-0001")


def test_a_closed_terminal_stops_a_study_once_however_often_it_is_reported(stop: Stop, searcher: Any) -> None:
    with stop.on_signals():
        for _ in range(3):  # the kernel, the shell and a terminal's multiplexer
            os.kill(os.getpid(), signal.SIGHUP)
        assert (stop.requested, searcher.stopping, stop.at_once) == (True, True, False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.at_once


def test_a_closed_terminal_does_not_stop_a_study_under_nohup(stop: Stop) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop.on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_jobs_that_do_not_stop_are_aborted_in_time(stop: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "STOP_SECONDS", 0.2)
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert not stop.at_once
        limit = time.monotonic() + 10
        while not stop.at_once:
            assert time.monotonic() < limit
            time.sleep(0.02)


def test_a_halted_study_stops_at_once(stop: Stop, searcher: Any) -> None:
    searcher.halted = "no space left"
    assert stop.at_once
    assert not stop.requested


def test_a_request_that_an_earlier_driver_left_is_withdrawn(searcher: Any, tmp_path: Path) -> None:
    StopRequests(tmp_path).request(ALL_JOBS)
    Stop(searcher, StopRequests(tmp_path), Console(quiet=True))
    assert not StopRequests(tmp_path).is_requested("trial-0001")
