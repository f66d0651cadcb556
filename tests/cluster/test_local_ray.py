"""The Ray that a study starts on this machine: its folder, its sockets, and what it writes to disk."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from study.cluster.local_ray import own_ray, temporary_folder
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
