"""The Ray that a study starts on this machine: in a private folder, with a token, on the loopback interface."""

import fcntl
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ray._private import ray_constants, utils
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled

_SOCKET_BYTES = 107  # the longest path of a UNIX socket
_PREFIX = "ray-"
RAY_FILES = "r"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OWNER = "owner"
"""A file of the folder, which its driver keeps locked."""
_LONGEST_SOCKET = f"/{_PREFIX}12345678/{RAY_FILES}/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"


def temporary_folder() -> str:
    """Return the folder below which a study's own Ray keeps its files: `RAY_TMPDIR`, else `TMPDIR`, else /tmp.

    A `TMPDIR` that is too long for Ray's sockets is passed over.

    Raises:
        ValueError: naming RAY_TMPDIR, which is too long, or no folder that this user can write.
    """
    longest = _SOCKET_BYTES - len(_LONGEST_SOCKET)
    chosen = os.environ.get("RAY_TMPDIR")
    candidates = [os.path.abspath(chosen)] if chosen else [tempfile.gettempdir(), "/tmp"]
    for folder in candidates:
        if len(os.fsencode(folder)) <= longest and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    given = f"RAY_TMPDIR {chosen}" if chosen else " and ".join(candidates)
    raise ValueError(
        f"Ray's temporary files need a folder that exists, that you can write, and whose path has at most {longest} "
        f"bytes (a UNIX socket's has at most {_SOCKET_BYTES}), but got {given}; name another by RAY_TMPDIR=DIR"
    )


@contextmanager
def own_ray() -> Iterator[Path]:
    """Let a Ray that is started in the context listen on loopback alone, with a token; yield a folder for its files.

    Its owner alone can read the folder: into `RAY_FILES` in it, Ray lets everyone write, and it logs command lines. The
    caller removes it; folders of drivers that were killed are removed here. A token that the user named is used. Ray's
    processes get none of the signals that a shell, `timeout` or a closed terminal send to the driver's process group:
    the driver needs them until all jobs have saved.
    """
    below = Path(temporary_folder())
    _remove_abandoned(below)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=below))
    given = {"RAY_TMPDIR": str(folder)}
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        given["RAY_AUTH_TOKEN_PATH"] = str(token)
    # The processes of a group; a group on one machine needs no other interface.
    given |= {name: os.environ.get(name, "lo") for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    on_cluster = ray_constants.ENABLE_RAY_CLUSTER
    try:
        with _environment(given), _locked(folder / OWNER), _session_of_its_own():
            # Ray's node is then 127.0.0.1, an address that Ray replaces otherwise.
            ray_constants.ENABLE_RAY_CLUSTER = False
            AuthenticationTokenLoader.instance().reset_cache()
            yield folder
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = on_cluster
        AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """Set variables for this process and those that it starts; restore them, and what Ray sets, at the end."""
    before = {name: os.environ.get(name) for name in (*given, "RAY_AUTH_MODE")}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "wb") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _remove_abandoned(below: Path) -> None:
    """Remove the folders of drivers that were killed: nothing locks their file any more."""
    for path in below.glob(f"{_PREFIX}*/{OWNER}"):
        with suppress(OSError), open(path, "rb+") as file:  # of another user, in use, or removed meanwhile
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


@contextmanager
def _session_of_its_own() -> Iterator[None]:
    """Let Ray's services start in sessions of their own; they still die with the driver."""
    die_with_parent = utils.set_kill_on_parent_death_linux

    def leave_session() -> None:
        os.setsid()
        die_with_parent()

    with patch.object(utils, "set_kill_on_parent_death_linux", leave_session):
        yield


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let a first signal that would end the process do so at the end of the context, and not inside Ray.

    While Ray starts, an exception that a handler raises may be swallowed, and Ray's own handler of SIGTERM ends the
    process without a word.

    Raises:
        KeyboardInterrupt: at the end of the context, if there was a signal in it; at once for a second one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    handled = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in handled}
    try:
        with patch.object(utils, "set_sigterm_handler", lambda _: None):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt
