"""One driver at a time, with and without locks of the file system."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.record import driver_lock as locking
from study.record.directory import died, sole_driver
from study.record.driver_lock import driver_lock, is_abandoned
from study.record.metadata import OccupiedError

HOLD = """
import errno, fcntl, sys, time
from pathlib import Path
from study.record import driver_lock as locking
locking.SETTLE_SECONDS = 0.5
if sys.argv[2] == "without locks":
    def refuse(*_): raise OSError(errno.ENOLCK, "No locks available")
    fcntl.flock = refuse
with locking.driver_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locking, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(locking, "BEAT_SECONDS", 0.05)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".driver.lock"


def hold(lock: Path, locks: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", HOLD, str(lock), locks], stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=["with locks", "without locks"])
def driver(request: pytest.FixtureRequest, lock: Path) -> Iterator["subprocess.Popen[str]"]:
    process = hold(lock, request.param)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def write_holder(lock: Path, **changes: object) -> None:
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": "x"} | changes))


def test_a_running_driver_is_named_and_a_killed_one_is_replaced(
    driver: "subprocess.Popen[str]", tmp_path: Path, lock: Path
) -> None:
    assert not died(tmp_path)
    host = socket.gethostname()
    said = rf"running driver \(process {driver.pid} on {host}\); wait for it, stop"
    with pytest.raises(OccupiedError, match=said), sole_driver(tmp_path):
        pass
    assert json.loads(lock.read_text())["pid"] == driver.pid
    driver.kill()
    driver.wait()
    assert died(tmp_path)
    with sole_driver(tmp_path):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert not died(tmp_path)
    assert lock.read_text() == ""
    assert not died(tmp_path)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_living_driver_keeps_another_one_out(lock: Path) -> None:
    with driver_lock(lock), pytest.raises(OccupiedError, match="in use by a running driver"), driver_lock(lock):
        pass
    with driver_lock(lock):
        pass


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_driver_of_another_host_lives_while_it_touches_the_file(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    with driver_lock(lock):
        monkeypatch.setattr(socket, "gethostname", lambda: "here")
        with pytest.raises(OccupiedError, match=rf"process {os.getpid()} on elsewhere"), driver_lock(lock):
            pass
    write_holder(lock, host="elsewhere")
    with driver_lock(lock):  # it has stopped touching the file
        assert json.loads(lock.read_text())["host"] == "here"


def test_of_two_drivers_without_locks_that_start_at_once_one_runs(lock: Path) -> None:
    both = [hold(lock, "without locks") for _ in range(2)]
    try:
        limit = time.monotonic() + 60
        while all(process.poll() is None for process in both) and time.monotonic() < limit:
            time.sleep(0.05)
        running = [process for process in both if process.poll() is None]
        assert len(running) == 1
        assert running[0].stdout is not None
        assert running[0].stdout.readline() == "held\n"
    finally:
        for process in both:
            process.kill()
            process.wait()


def test_another_error_of_the_lock_is_raised(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="Input/output error"), driver_lock(lock):
        pass


def test_a_driver_of_another_host_is_dead_after_minutes_without_a_beat(lock: Path) -> None:
    write_holder(lock, host="elsewhere")
    assert not is_abandoned(lock)
    long_ago = time.time() - 2 * locking.DEAD_SECONDS
    os.utime(lock, (long_ago, long_ago))
    assert is_abandoned(lock)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"host": 3, "pid": "x"}', "\0\0"])
def test_a_lock_that_names_nobody_is_free_and_no_sign_of_a_death(lock: Path, content: str) -> None:
    lock.write_text(content)
    assert not is_abandoned(lock)
    with driver_lock(lock):
        pass
