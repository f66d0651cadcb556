"""The lock of a run directory: one driver at a time, also on file systems without locks.

The driver locks a file (`flock`), writes its host and process into it, and touches it every `BEAT_SECONDS`; a driver
that ends in order empties it. A file system may have no locks, or only a host's own (NFS, Lustre, FUSE by their mount
options): a driver lives as long as the file is touched, at the latest until its process is gone from this host.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from study.record.metadata import OccupiedError

BEAT_SECONDS = 10.0
SETTLE_SECONDS = 2.0
"""After which of two drivers that start at once without locks, the one that wrote last is known."""
DEAD_SECONDS = 600.0
"""Without a beat, the driver of another host is dead, whatever the clocks' difference."""

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def driver_lock(lock: Path) -> Iterator[None]:
    """Hold the lock of a run directory; of drivers that start at once without locks, the last to write gets it.

    After the death of a driver on another host, this takes two and a half beats.

    Raises:
        OccupiedError: another driver holds it.
    """
    with open(lock, "a+") as file:
        is_locked = _lock(file, lock)
        holder = _holder(lock)
        if holder and not _is_dead(holder) and _is_touched(lock):
            raise _occupied(lock)
        mine = _write_holder(lock)
        if not is_locked:
            time.sleep(SETTLE_SECONDS)
            if _holder(lock) != mine:
                raise _occupied(lock)
        with _beating(lock):
            yield


def is_abandoned(lock: Path) -> bool:
    """Return whether a lock's last holder died without emptying it; False while that is unknown."""
    holder = _holder(lock)
    return bool(holder) and (_is_dead(holder) or time.time() - lock.stat().st_mtime > DEAD_SECONDS)


def _lock(file: TextIO, lock: Path) -> bool:
    """Lock an open file; return False if its file system has no locks. OccupiedError if it is locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _occupied(lock) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _is_touched(lock: Path) -> bool:
    """Return whether the file is touched within more than two beats, by the file system's own clock."""
    before = _touched_at(lock)
    limit = time.monotonic() + 2.5 * BEAT_SECONDS
    while time.monotonic() < limit:
        time.sleep(BEAT_SECONDS / 10)
        if _touched_at(lock) != before:
            return True
    return False


def _touched_at(lock: Path) -> int:
    with open(lock) as file:  # opened, for NFS may answer `stat` from its cache
        return os.fstat(file.fileno()).st_mtime_ns


@contextmanager
def _beating(lock: Path) -> Iterator[None]:
    """Touch the lock's file during the context, and empty it at the end."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(lock)

    thread = threading.Thread(target=beat, name="driver lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            os.truncate(lock, 0)


def _write_holder(lock: Path) -> dict[str, Any]:
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
    lock.write_text(json.dumps(holder))
    return holder


def _holder(lock: Path) -> dict[str, Any]:
    """Return host, process and token of the driver that a lock names; empty if it names none."""
    try:
        holder = json.loads(lock.read_text())
    except (OSError, ValueError):
        return {}
    whole = isinstance(holder, dict) and isinstance(holder.get("host"), str) and isinstance(holder.get("pid"), int)
    return holder if whole else {}


def _is_dead(holder: dict[str, Any]) -> bool:
    """Return whether the driver was a process of this host that does not exist any more."""
    if holder["host"] != socket.gethostname():
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False


def _occupied(lock: Path) -> OccupiedError:
    holder = _holder(lock)
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    return OccupiedError(
        f"{lock.parent} is in use by a running driver ({who}); wait for it, stop it, or name another --output"
    )
