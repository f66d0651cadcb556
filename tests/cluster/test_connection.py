"""Connection errors: reported within seconds, with the name of the option."""

import multiprocessing
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.exceptions import AuthenticationError

from study.cluster import connection
from study.cluster.connection import check_address, check_persistent, cluster_resources, connected
from tests.cluster.small_studies import ROOT


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


def test_an_http_server_is_recognised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reject() -> None:
            client, _ = server.accept()
            with client:
                client.recv(100)
                client.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")  # as Ray's dashboard does

        threading.Thread(target=reject, daemon=True).start()
        with pytest.raises(ConnectionError, match=r"is an HTTP server, such as Ray's dashboard; give the port of"):
            check_address(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_port_without_ray_is_given_up_in_time(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 3.0)
    with pytest.raises(ConnectionError, match=r"accepts connections, but no Ray answers there within 3 s; check with"):
        cluster_resources(f"127.0.0.1:{listening}")
    assert multiprocessing.active_children() == []


def test_ctrl_c_ends_a_connection_that_waits(listening: int) -> None:
    script = f"from study.cluster.connection import cluster_resources; cluster_resources('127.0.0.1:{listening}')"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 30
    while not (started := psutil.Process(process.pid).children()) and time.monotonic() < limit:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=10)
    assert started
    assert text.splitlines()[-1] == "KeyboardInterrupt", text
    assert psutil.wait_procs(started, timeout=10)[1] == []


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
            "local",
            RuntimeError("no node"),
            r"Ray \(local\) did not start: no node; its logs are in \S+/r/session_latest/logs; on a busy",
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


def test_the_files_of_a_ray_that_did_not_start_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        monkeypatch.setattr(ray, "init", lambda **options: Path(options["_temp_dir"]).mkdir())
        with connected("local", dashboard=False):
            assert len(list(Path(short).iterdir())) == 1
        assert list(Path(short).iterdir()) == []

        monkeypatch.setattr(ray, "init", lambda **options: Path(options["_temp_dir"], "no", "folder").mkdir())
        with pytest.raises(ConnectionError, match=f"logs are in {short}"), connected("local", dashboard=False):
            pytest.fail("not connected")
        assert len(list(Path(short).iterdir())) == 1  # its logs


def test_a_path_in_the_jobs_working_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)

    with pytest.raises(ValueError, match=r"--output runs/aesop is in the job's copy .* absolute path"):
        check_persistent("--output", Path("runs/aesop"))
    assert check_persistent("--output", tmp_path / "runs") is None  # type: ignore[func-returns-value]
