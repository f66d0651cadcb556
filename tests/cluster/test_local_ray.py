"""The Ray that a study starts on this machine: its folder, its sockets, and what it writes to disk."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from study.cluster.local_ray import OWNER, own_ray, temporary_folder
from tests.cluster.small_studies import ROOT, arguments_of, kill_children

pytestmark = pytest.mark.cluster

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIA-planted-key",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for Ray's sockets; the tests' own is not."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def test_a_folder_too_deep_for_sockets_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert temporary_folder() == "/tmp"
    for folder in (deep, tmp_path / "missing"):
        monkeypatch.setenv("RAY_TMPDIR", str(folder))
        with pytest.raises(ValueError, match=rf"107\), but got RAY_TMPDIR {folder}; name another by RAY_TMPDIR=DIR"):
            temporary_folder()


def test_ray_has_a_private_folder_and_token_while_it_runs(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with own_ray() as folder:
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        assert folder.parent == short
        assert os.environ["RAY_TMPDIR"] == str(folder)  # Tune's locks are there as well
        assert folder.stat().st_mode & 0o077 == 0
        assert token.parent == folder
        assert len(token.read_text()) == 64
    assert dict(os.environ) == before
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    with own_ray():
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ


DRIVER = """
import signal, sys, time
from pathlib import Path
from rich.console import Console
from study.cli import run
from study.cluster.connection import connected

def main(arguments, console):
    with connected("local", dashboard=False):
        import ray
        caught = []
        signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
        print("started", flush=True)
        while not caught:
            time.sleep(0.1)
        print(ray.get(ray.remote(lambda: "still here").remote(), timeout=60), flush=True)
    return 0

run(main)
"""


@pytest.fixture
def start_driver(short: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Return a function that starts a process with a Ray of its own, in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        environment = os.environ | {"RAY_TMPDIR": str(short), "PYTHONPATH": str(ROOT)}
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = [sys.executable, "-c", DRIVER]
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, **out))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for driver in started:
        if driver.poll() is None:
            kill_children(driver.pid)
            driver.kill()
            driver.wait(60)


def test_a_signal_to_the_process_group_reaches_the_driver_alone(
    short: Path, start_driver: Callable[[], "subprocess.Popen[str]"]
) -> None:
    """As `timeout`, a shell or a closed terminal send it; a driver that is then killed leaves no process behind."""
    driver = start_driver()
    assert driver.stdout is not None
    assert driver.stdout.readline() == "started\n"
    services = psutil.Process(driver.pid).children(recursive=True)
    assert services
    os.killpg(driver.pid, signal.SIGTERM)
    text, _ = driver.communicate(timeout=120)
    assert (driver.returncode, text) == (0, "still here\n")
    assert list(short.iterdir()) == []
    _, alive = psutil.wait_procs(services, timeout=30)
    assert not alive


def test_a_signal_while_ray_starts_ends_with_a_sentence_and_leaves_nothing(
    short: Path, start_driver: Callable[[], "subprocess.Popen[str]"]
) -> None:
    driver = start_driver()
    while not list(short.glob("ray-*/r/session_*")):
        assert driver.poll() is None
        time.sleep(0.01)
    driver.send_signal(signal.SIGTERM)
    text, _ = driver.communicate(timeout=120)
    assert driver.returncode == 130, text
    assert text.endswith("stopped; the same command continues where it was\n")
    assert list(short.iterdir()) == []


def test_what_a_killed_driver_left_is_removed_by_the_next(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    abandoned, kept = short / "ray-abandoned", short / "ray-logs"
    for folder in (abandoned, kept):
        (folder / "r").mkdir(parents=True)
    (abandoned / OWNER).touch()
    with own_ray() as first:
        monkeypatch.setenv("RAY_TMPDIR", str(short))
        with own_ray() as second:
            assert set(short.iterdir()) == {kept, first, second}


def listening_elsewhere(process: psutil.Process) -> set[str]:
    """Return the sockets of a process and its descendants that listen on more than the loopback interface."""
    found = set()
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            for connection in each.net_connections("inet"):
                host = connection.laddr.ip.removeprefix("::ffff:")
                if connection.status == psutil.CONN_LISTEN and host not in ("127.0.0.1", "::1"):
                    found.add(f"{each.name()} {host}")
    return found


def files_with_secrets(*folders: Path) -> set[str]:
    """Return the files that hold a planted secret."""
    found = set()
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        with suppress(OSError):  # removed meanwhile
            content = path.read_bytes()
            found |= {f"{path}: {name}" for name, value in SECRETS.items() if value.encode() in content}
    return found


class Watched:
    """What was seen while a study ran: sockets, secrets in files, folders' modes and the number of processes."""

    def __init__(self) -> None:
        self.sockets: set[str] = set()
        self.leaks: set[str] = set()
        self.modes: set[int] = set()
        self.processes = 0

    def run(self, command: list[str], environment: dict[str, str], folder: Path) -> tuple[int, str]:
        """Run a study whose Ray has its files below a folder; return its exit code and what it printed."""
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, env=environment, text=True, **out)  # type: ignore[call-overload]
        try:
            while process.poll() is None:
                with suppress(psutil.NoSuchProcess, FileNotFoundError):
                    self.sockets |= listening_elsewhere(psutil.Process(process.pid))
                    self.processes = max(self.processes, len(psutil.Process(process.pid).children(recursive=True)))
                    self.leaks |= files_with_secrets(folder)
                    self.modes |= {made.stat().st_mode & 0o777 for made in folder.iterdir()}
                time.sleep(0.5)
            return process.returncode, process.communicate(timeout=60)[0]
        finally:
            if process.poll() is None:
                kill_children(process.pid)
                process.kill()


def test_a_local_study_listens_on_loopback_and_writes_no_secret(material: Path, short: Path, tmp_path: Path) -> None:
    home, output, watched = tmp_path / "home", tmp_path / "study", Watched()
    home.touch()  # not a folder: nothing can be written there
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = kept | SECRETS | {"HOME": str(home), "RAY_TMPDIR": str(short), "OMP_NUM_THREADS": "1"}
    study = [*arguments_of(material, output, "--trials", "2"), "--resume"]
    for failed in range(3):  # noqa: B007  (used below)
        code, text = watched.run([sys.executable, str(ROOT / "study" / "sweep.py"), *study], environment, short)
        if "timed out during startup" not in text:  # Ray gives its node 30 seconds, too few on a busy machine
            break
    assert code == 0, text
    assert watched.processes > 5  # Ray's services and the workers were looked at
    assert watched.sockets == set()
    assert watched.modes == {0o700}
    assert watched.leaks | files_with_secrets(tmp_path, short) == set()
    assert len(list(short.iterdir())) == failed  # the logs of a Ray that did not start remain
