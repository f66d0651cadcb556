"""Connection errors: reported within seconds, with the name of the option."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.exceptions import AuthenticationError

from study.cluster.connection import check_address, check_persistent, connected


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_address_with_a_listening_process_is_accepted(listening: int) -> None:
    for address in ("local", "auto", f"127.0.0.1:{listening}"):
        assert check_address(address) is None  # type: ignore[func-returns-value]


def test_an_address_without_a_process_fails_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionError, match=rf"--address 127\.0\.0\.1:{port} cannot be reached .* not the dashboard"):
        check_address(f"127.0.0.1:{port}")
    with pytest.raises(ConnectionError, match=r"--address no-such-host\.invalid:6379 cannot be reached"):
        check_address("no-such-host.invalid:6379")


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:ray", "head:0", "head:70000"])
def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="--address must be local, auto or HOST:PORT, such as"):
        check_address(address)


def test_the_address_of_a_ray_client_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ray://head:10001 is the address of a Ray client.* ray job submit"):
        check_address("ray://head:10001")


@pytest.mark.parametrize(
    ("address", "raised", "said"),
    [
        (
            "head:6379",
            AuthenticationError("no"),
            "requires a token, and none was found: give .* RAY_AUTH_TOKEN",
        ),
        (
            "head:6379",
            ConnectionError("failed"),
            r"Ray there rejects the connection \(failed\)\. Most often the token is wrong",
        ),
        (
            "auto",
            ConnectionError("none"),
            r"auto found no Ray on this machine \(none\); start one, or give its HOST:PORT",
        ),
    ],
)
def test_a_rejected_connection_is_explained(
    address: str, raised: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise raised

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConnectionError, match=said), connected(address, dashboard=False):
        pytest.fail("not connected")


def test_a_path_in_the_jobs_working_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)

    with pytest.raises(ValueError, match=r"--output runs/aesop is in the job's copy .* absolute path"):
        check_persistent("--output", Path("runs/aesop"))
    assert check_persistent("--output", tmp_path / "runs") is None  # type: ignore[func-returns-value]
