"""An MLflow server is killed while a study writes: the study goes on, and everything arrives once."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.record.events import (
    Event,
    FilesPublished,
    FrontMoved,
    StudyStateChanged,
    TrialEnded,
    TrialStarted,
)
from study.record.journal import Journal
from study.record.points import TrialPoint
from study.tracking.exporter import Exporter
from tests.tracking.journals import evaluated, write_study

TRIALS, POINTS = 6, 12


class Server:
    """An MLflow server on a port that it keeps when it is killed and comes back."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(self.answers, 120)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """End the server and its workers, as a power cut would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")


def new_study(folder: Path, name: str) -> Path:
    run_dir = folder / name
    run_dir.mkdir()
    write_study(run_dir)
    (run_dir / "crop.png").write_bytes(b"a crop")
    return run_dir


class Writer:
    """Writes a study's journal as its driver does, and measures the seconds of each event."""

    def __init__(self, run_dir: Path) -> None:
        self.journal = Journal(run_dir / "journal.jsonl")
        self.seconds: list[float] = []
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._pause = 0.0
        self.go_on = threading.Event()
        """Set to write more than the first trial, so that a slow machine does not finish before the outage."""

    def start(self, pause: float) -> None:
        self._pause = pause
        self._thread.start()

    def wait(self) -> None:
        self._thread.join(120)
        assert not self._thread.is_alive()

    def _append(self, event: Event) -> None:
        began = time.monotonic()
        self.journal.append(event)
        self.seconds.append(time.monotonic() - began)
        time.sleep(self._pause)

    def _write(self) -> None:
        self._append(StudyStateChanged(state="RUNNING"))
        for trial in range(TRIALS):
            self._append(TrialStarted(trial=trial, config={"seed": trial}, params={}, upstream={}))
            for point in range(1, POINTS + 1):
                metrics = {"psnr_y": trial + point / 100, "swd": trial - point / 100}
                self._append(evaluated(trial, point, metrics, terms={"pixel": 0.5}))
            self._append(TrialEnded(trial=trial, state="COMPLETE"))
            front = (TrialPoint(trial, POINTS),)
            self._append(FrontMoved(trials_ended=trial + 1, hypervolume=trial, members=front))
            self._append(FilesPublished(trial=trial, folder="samples", paths=("crop.png",), content="x"))
            self.go_on.wait()
        self._append(StudyStateChanged(state="COMPLETE"))


History = dict[tuple[str, str], list[tuple[int, float]]]


def stored(server: Server, name: str) -> tuple[History, dict[str, tuple[str, str, list[str]]]]:
    """All metrics by run and name; and status, front and files of each run."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    metrics: History = {}
    runs = {}
    for run in client.search_runs([experiment.experiment_id]):
        label = run.data.tags.get("trial", "parent")
        assert label not in runs
        files = [entry.path for entry in client.list_artifacts(run.info.run_id, "samples")]
        runs[label] = (run.info.status, run.data.tags.get("front", ""), files)
        for metric in run.data.metrics:
            found = client.get_metric_history(run.info.run_id, metric)
            metrics[label, metric] = sorted((entry.step, entry.value) for entry in found)
    return metrics, runs


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, object]:
    run_dir = new_study(tmp_path_factory.mktemp("calm"), "calm")
    writer, exporter = Writer(run_dir), Exporter(run_dir, server.uri, wait_seconds=0.05)
    exporter.start()
    writer.go_on.set()
    writer.start(0.0)
    writer.wait()
    assert exporter.close() == 0
    metrics, runs = stored(server, "calm")
    assert len(metrics) == 5 * TRIALS + 2
    assert all(len(history) == POINTS for (run, _), history in metrics.items() if run != "parent")
    return metrics, runs


def test_killed_server_has_everything_once_after_its_return(
    server: Server, undisturbed: tuple[object, object], tmp_path: Path
) -> None:
    run_dir = new_study(tmp_path, "struck")
    writer, exporter = Writer(run_dir), Exporter(run_dir, server.uri, wait_seconds=0.05)
    exporter.start()
    writer.start(0.03)
    wait_until(lambda: offset_of(run_dir) > 0)
    writer.go_on.set()
    server.kill()
    before = len(writer.seconds)
    time.sleep(1.5)
    assert len(writer.seconds) > before + 10  # the study went on
    server.start()
    writer.wait()
    assert exporter.close() == 0
    assert stored(server, "struck") == undisturbed
    assert offset_of(run_dir) == writer.journal.path.stat().st_size
    assert sorted(writer.seconds)[len(writer.seconds) // 2] < 0.05  # fsync alone, no waiting for the server


def test_next_driver_sends_what_a_killed_one_could_not(
    server: Server, undisturbed: tuple[object, object], tmp_path: Path
) -> None:
    run_dir = new_study(tmp_path, "twice")
    writer = Writer(run_dir)
    driver = start_driver(run_dir, server.uri)
    try:
        writer.start(0.03)
        wait_until(lambda: offset_of(run_dir) > 0, 240)
        writer.go_on.set()
        server.kill()
        time.sleep(1.0)
    finally:
        driver.kill()
        driver.wait()
    assert offset_of(run_dir) < writer.journal.path.stat().st_size
    server.start()
    writer.wait()
    exporter = Exporter(run_dir, server.uri, wait_seconds=0.05)
    exporter.start()
    assert exporter.close() == 0
    assert stored(server, "twice") == undisturbed
    assert offset_of(run_dir) == writer.journal.path.stat().st_size


FOLLOW = """
import sys, time
from pathlib import Path
from study.tracking.exporter import Exporter
Exporter(Path(sys.argv[1]), sys.argv[2], wait_seconds=0.05).start()
time.sleep(600)
"""


def start_driver(run_dir: Path, uri: str) -> "subprocess.Popen[bytes]":
    """A process that follows the journal, to be killed."""
    return subprocess.Popen([sys.executable, "-c", FOLLOW, str(run_dir), uri], stderr=subprocess.DEVNULL)


def offset_of(run_dir: Path) -> int:
    """Return the byte of the journal that MLflow has reached."""
    cursor = run_dir / "mlflow.json"
    return int(json.loads(cursor.read_text())["offset"]) if cursor.exists() else 0
