"""Connect to Ray; fail early with the reason."""

import gc
import logging
import multiprocessing
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

from study.cluster.local_ray import OWNER, RAY_FILES, own_ray, signals_deferred, temporary_folder

REACH_SECONDS = 5.0
CONNECT_SECONDS = 60.0
"""Time for Ray to answer, with the start of a process that connects to it."""

# What a client of Ray's protocol, HTTP/2, sends first, and an empty SETTINGS frame; an older HTTP server rejects it.
_HTTP2_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_GREETING_SECONDS = 2.0
_HEAD_PORT = "give the port of `ray start --head` (6379), not the dashboard's"

_TOKEN_REMEDY = (
    "give the cluster's token by RAY_AUTH_TOKEN_PATH (a file) or RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token; on its head "
    "it is in ~/.ray/auth_token, unless one of these names another"
)


def check_address(address: str) -> None:
    """Check within seconds that an address can be that of a cluster's head; Ray itself retries for minutes.

    Args:
        address: `local`, `auto`, or HOST:PORT.

    Raises:
        ConnectionError: no process listens there, or an HTTP server.
        ValueError: a study cannot use the address, or a Ray on this machine has no place for its files.
    """
    if address == "local":
        temporary_folder()
    if address in ("local", "auto"):
        return
    if address.startswith("ray://"):
        raise ValueError(
            f"--address {address} is the address of a Ray client, through which a study cannot run; "
            "submit it as a job: ray job submit --working-dir . -- python study/sweep.py ..."
        )
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"--address must be local, auto or HOST:PORT, such as 10.0.0.1:6379, but got {address}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS) as connection:
            answer = _greet(connection)
    except OSError as error:
        raise ConnectionError(
            f"--address {address} cannot be reached within {REACH_SECONDS:g} s ({error}); check with `ray status` on "
            f"the head that Ray runs, and {_HEAD_PORT}"
        ) from None
    if answer.startswith(b"HTTP/"):
        raise ConnectionError(f"--address {address} is an HTTP server, such as Ray's dashboard; {_HEAD_PORT}")


def _greet(connection: socket.socket) -> bytes:
    """Return the first bytes of the answer to a greeting of Ray's protocol; none if there is no answer in time."""
    connection.settimeout(_GREETING_SECONDS)
    with suppress(OSError):
        connection.sendall(_HTTP2_GREETING)
        return connection.recv(16)
    return b""


def check_persistent(name: str, path: Path) -> None:
    """Refuse a path in the working directory of a submitted job, which Ray deletes after the job.

    Raises:
        ValueError: naming the option.
    """
    # Ray unpacks uploaded files to <session>/runtime_resources/working_dir_files/_ray_pkg_<hash>.
    if "working_dir_files" in path.resolve().parts:
        raise ValueError(
            f"{name} {path} is in the job's copy of the checkout, which Ray deletes after the job; "
            "give an absolute path on storage that every node mounts, such as /shared/runs/NAME"
        )


def cluster_resources(address: str) -> dict[str, float]:
    """Return the resources of a running cluster, such as `{"CPU": 64.0, "GPU": 8.0}`.

    A process of its own connects, and is ended after `CONNECT_SECONDS`: where no Ray answers, Ray retries for ten
    minutes and handles no signal.

    Raises:
        ConnectionError: as `connected`, or no Ray answers in time.
    """
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send_resources, args=(address, sender), daemon=True)
    process.start()
    sender.close()
    try:
        found = receiver.recv() if receiver.poll(CONNECT_SECONDS) else None
    except EOFError:
        found = None  # Ray ended the process
    finally:
        process.kill()
        process.join()
    if isinstance(found, dict):
        return found
    raise found or ConnectionError(
        f"--address {address} accepts connections, but no Ray answers there within {CONNECT_SECONDS:g} s; check with "
        f"`ray status` on the head that Ray runs, and {_HEAD_PORT}. If it does: {_TOKEN_REMEDY}"
    )


def _send_resources(address: str, sender: Connection) -> None:
    """Send the resources of a cluster, or the error; without the lines that Ray's libraries print meanwhile."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        with connected(address, dashboard=False):
            sender.send(dict(ray.cluster_resources()))
    except ConnectionError as error:
        sender.send(error)


@contextmanager
def connected(address: str, *, dashboard: bool) -> Iterator[None]:
    """Connect to Ray for the duration of the context; a local Ray is started and stopped, and its files are removed.

    Args:
        address: as for `check_address`.
        dashboard: whether a local Ray has one.

    Raises:
        ConnectionError: there is no cluster, it rejects the connection, or a local Ray does not start.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    with own_ray() if address == "local" else nullcontext() as folder:
        try:
            with signals_deferred() if folder else nullcontext():
                _connect(address, folder, dashboard if folder else None)
            yield
        finally:
            _shut_down()
            if folder and (folder / OWNER).exists():
                shutil.rmtree(folder, ignore_errors=True)


def _connect(address: str, folder: Path | None, dashboard: bool | None) -> None:
    """Connect to Ray, or start it with its files below a folder; errors as `connected`."""
    temporary = str(folder / RAY_FILES) if folder else None
    try:
        ray.init(
            address=address,
            include_dashboard=dashboard,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=temporary,
        )
    except AuthenticationError as error:
        raise ConnectionError(f"--address {address} requires a token, and none was found: {_TOKEN_REMEDY}") from error
    except Exception as error:
        if folder:
            (folder / OWNER).unlink()  # its logs remain
        raise ConnectionError(_why_not(address, error, temporary)) from error


def _why_not(address: str, error: Exception, temporary: str | None) -> str:
    """Return a sentence about a connection that failed."""
    if temporary is not None or not isinstance(error, ConnectionError):
        logs = f"; its logs are in {temporary}/session_latest/logs; on a busy machine, try again" if temporary else ""
        return f"Ray ({address}) did not start: {str(error).strip(' .') or type(error).__name__}{logs}"
    if address == "auto":
        return f"--address auto found no Ray on this machine ({error}); start one, or give its HOST:PORT"
    return (
        f"--address {address} answers, but Ray there rejects the connection ({error}). Most often the token is "
        f"wrong: {_TOKEN_REMEDY}"
    )


def _shut_down() -> None:
    """Disconnect from Ray with garbage collection disabled.

    Any thread that allocates may collect garbage. If another thread (the exporter to MLflow) collected a Ray reference
    during the shutdown, Ray would be called while it shuts down, and would end the process with exit code 1.
    """
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()
