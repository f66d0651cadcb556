"""Connect to Ray; fail early with the reason."""

import gc
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError

CONNECT_SECONDS = 5.0

_TOKEN_REMEDY = (
    "give the cluster's token by RAY_AUTH_TOKEN_PATH (a file) or RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token; on its head "
    "it is in ~/.ray/auth_token, unless one of these names another"
)


def check_address(address: str) -> None:
    """Check within seconds that a process listens at the address of a cluster's head; Ray itself retries for minutes.

    Args:
        address: `local`, `auto`, or HOST:PORT.

    Raises:
        ConnectionError: no process listens there.
        ValueError: a study cannot use the address.
    """
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
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(
            f"--address {address} cannot be reached within {CONNECT_SECONDS:g} s ({error}); check with `ray status` on "
            "the head that Ray runs, and give the port of `ray start --head` (6379), not the dashboard's"
        ) from None


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

    Raises:
        ConnectionError: as `connected`.
    """
    with connected(address, dashboard=False):
        return dict(ray.cluster_resources())


@contextmanager
def connected(address: str, *, dashboard: bool) -> Iterator[None]:
    """Connect to Ray for the duration of the context; a local Ray is started and stopped.

    Args:
        address: as for `check_address`.
        dashboard: whether a local Ray has one.

    Raises:
        ConnectionError: there is no cluster, or it rejects the connection.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        if address == "local":
            ray.init(address="local", include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except AuthenticationError as error:
        raise ConnectionError(f"--address {address} requires a token, and none was found: {_TOKEN_REMEDY}") from error
    except ConnectionError as error:
        if address == "auto":
            raise ConnectionError(
                f"--address auto found no Ray on this machine ({error}); start one, or give its HOST:PORT"
            ) from None
        raise ConnectionError(
            f"--address {address} answers, but Ray there rejects the connection ({error}). Most often the token is "
            f"wrong: {_TOKEN_REMEDY}"
        ) from None
    try:
        yield
    finally:
        _shut_down()


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
