"""The way to a Ray cluster: found out before anything expensive whether there is one, and said why not."""

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
    "it lies in ~/.ray/auth_token, unless one of these names another"
)


def check_address(address: str) -> None:
    """Make sure that something listens where a cluster's head is said to be; Ray itself would try for minutes.

    Args:
        address: `local`, `auto`, or HOST:PORT.

    Raises:
        ConnectionError: nothing listens there.
        ValueError: it is no address that a study can use.
    """
    if address in ("local", "auto"):
        return
    if address.startswith("ray://"):
        raise ValueError(
            f"--address {address} is that of a Ray client, over which a study cannot run; "
            "submit it as a job: ray job submit --working-dir . -- python study/sweep.py ..."
        )
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"--address must be local, auto or HOST:PORT, such as 10.0.0.1:6379, but got {address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(
            f"--address {address} cannot be reached within {CONNECT_SECONDS:g} s ({error}); `ray status` on the head "
            "says whether Ray runs there, and its port is the one of `ray start --head` (6379), not the dashboard's"
        ) from None


def check_lasting(name: str, path: Path) -> None:
    """Refuse a place in the copy of a checkout that a submitted job runs in: it goes away with the job.

    Raises:
        ValueError: naming the option.
    """
    # Ray unpacks what was uploaded to <session>/runtime_resources/working_dir_files/_ray_pkg_<hash>.
    if "working_dir_files" in path.resolve().parts:
        raise ValueError(
            f"{name} {path} would lie in the job's own copy of the checkout, which goes away with it; "
            "name a full path on storage that every node sees, such as /shared/runs/NAME"
        )


def look_at(address: str) -> dict[str, float]:
    """What a running cluster has, such as `{"CPU": 64.0, "GPU": 8.0}`.

    Raises:
        ConnectionError: as `connected`.
    """
    with connected(address, dashboard=False):
        return dict(ray.cluster_resources())


@contextmanager
def connected(address: str, *, dashboard: bool) -> Iterator[None]:
    """Be connected to Ray; what was started here is stopped here.

    Args:
        address: as for `check_address`.
        dashboard: start one with a Ray of our own.

    Raises:
        ConnectionError: there is no cluster, or it does not let us in.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        if address == "local":
            ray.init(address="local", include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except AuthenticationError as error:
        raise ConnectionError(f"--address {address} wants a token, and none was found: {_TOKEN_REMEDY}") from error
    except ConnectionError as error:
        if address == "auto":
            raise ConnectionError(f"--address auto found no Ray here ({error}); start one, or name it") from None
        raise ConnectionError(
            f"--address {address} is reached, but Ray there does not let us in ({error}). Most often the token is "
            f"another one: {_TOKEN_REMEDY}"
        ) from None
    try:
        yield
    finally:
        _shut_down()


def _shut_down() -> None:
    """Disconnect from Ray while no garbage is collected.

    Python collects garbage in whichever thread happens to allocate. Were that another one (the one that records in
    MLflow), and the garbage one of Ray's references, Ray would be called as it goes away, and end the process with 1.
    """
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()
