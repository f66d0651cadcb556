"""A study's end in journal and MLflow: recorded by its driver, or by the next look after the driver died."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.report import main as report
from study.record.events import StudyStateChanged, TrialEnded, TrialStarted
from study.record.journal import Journal
from study.record.metadata import read_metadata
from study.record.state import Recorder
from study.tracking.client import default_uri
from study.tracking.session import Session, end_dead_run
from tests.tracking.journals import write_study

States = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of run directories, whose MLflow database has its tables: they take long to make."""
    folder = tmp_path_factory.mktemp("runs")
    MlflowClient(default_uri(folder / "any")).search_experiments()
    return folder


@pytest.fixture
def run_dir(place: Path, request: pytest.FixtureRequest) -> Path:
    folder = place / request.node.name.replace("[", "-").replace("]", "")
    folder.mkdir()
    write_study(folder)
    return folder


def recorder_of(run_dir: Path) -> Recorder:
    return Recorder(Journal(run_dir / "journal.jsonl"))


def start(recorder: Recorder, *trials: int) -> None:
    for trial in trials:
        recorder.add(TrialStarted(trial=trial, config={"seed": trial}, params={}, upstream={}))


def states_in_mlflow(run_dir: Path) -> States:
    """Status and state of each run of a study: `parent`, and the children by trial."""
    client = MlflowClient(default_uri(run_dir))
    experiment = client.get_experiment_by_name(read_metadata(run_dir).name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {run.data.tags.get("trial", "parent"): (run.info.status, run.data.tags["state"]) for run in runs}


RUNNING, KILLED = ("RUNNING", "RUNNING"), ("KILLED", "INTERRUPTED")
DONE = ("FINISHED", "COMPLETE")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_driver_that_fails_leaves_neither_study_nor_trial_running(run_dir: Path, error: type[BaseException]) -> None:
    recorder = recorder_of(run_dir)

    def drive() -> None:
        with Session(run_dir, recorder, default_uri(run_dir)):
            start(recorder, 0, 1)
            recorder.add(TrialEnded(trial=0, state="COMPLETE"))
            raise error

    with pytest.raises(error):
        drive()
    assert recorder_of(run_dir).record.state == "INTERRUPTED"
    assert states_in_mlflow(run_dir) == {"parent": KILLED, "0": DONE, "1": KILLED}


def test_trials_of_a_resumed_study_run_again_and_end(run_dir: Path) -> None:
    recorder = recorder_of(run_dir)
    with Session(run_dir, recorder, default_uri(run_dir)):
        start(recorder, 0, 1)
    assert states_in_mlflow(run_dir) == {"parent": KILLED, "0": KILLED, "1": KILLED}
    recorder = recorder_of(run_dir)
    with Session(run_dir, recorder, default_uri(run_dir)):
        recorder.add(TrialEnded(trial=0, state="COMPLETE"))
    assert states_in_mlflow(run_dir) == {"parent": KILLED, "0": DONE, "1": KILLED}
    with Session(run_dir, recorder, default_uri(run_dir)) as session:
        recorder.add(TrialEnded(trial=1, state="PRUNED"))
        recorder.add(StudyStateChanged(state="COMPLETE"))
    assert session.unsent == 0
    assert states_in_mlflow(run_dir) == {"parent": DONE, "0": DONE, "1": ("KILLED", "PRUNED")}


DRIVE = """
import os, signal, sys, time
from pathlib import Path
from study.record.directory import sole_driver
from study.record.events import TrialEnded, TrialStarted
from study.record.journal import Journal
from study.record.state import Recorder
from study.tracking.cursor import load_cursor
from study.tracking.session import Session
run_dir, uri = Path(sys.argv[1]), sys.argv[2]
with sole_driver(run_dir):
    recorder = Recorder(Journal(run_dir / "journal.jsonl"))
    with Session(run_dir, recorder, uri):
        for trial in (0, 1):
            recorder.add(TrialStarted(trial=trial, config={"seed": trial}, params={}, upstream={}))
        while load_cursor(run_dir / "mlflow.json", uri).offset < (run_dir / "journal.jsonl").stat().st_size:
            time.sleep(0.05)
        recorder.add(TrialEnded(trial=0, state="COMPLETE"))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_look_ends_a_study_whose_driver_was_killed(run_dir: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", DRIVE, str(run_dir), default_uri(run_dir)], check=False, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    assert states_in_mlflow(run_dir) == {"parent": RUNNING, "0": RUNNING, "1": RUNNING}
    report([str(run_dir)])
    assert recorder_of(run_dir).record.state == "INTERRUPTED"
    assert states_in_mlflow(run_dir) == {"parent": KILLED, "0": DONE, "1": KILLED}
    size = (run_dir / "journal.jsonl").stat().st_size
    end_dead_run(run_dir)
    assert (run_dir / "journal.jsonl").stat().st_size == size


def test_a_look_changes_nothing_while_the_driver_runs_or_after_its_end(run_dir: Path) -> None:
    recorder = recorder_of(run_dir)
    recorder.add(StudyStateChanged(state="RUNNING"))
    before = (run_dir / "journal.jsonl").read_bytes()
    end_dead_run(run_dir)  # fetched from elsewhere: there is no lock
    (run_dir / ".driver.lock").write_text(f'{{"host": "{os.uname().nodename}", "pid": {os.getpid()}, "token": "x"}}')
    end_dead_run(run_dir)
    (run_dir / ".driver.lock").write_text("")
    end_dead_run(run_dir)
    assert (run_dir / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("damage", ["journal.jsonl", "mlflow.json", "study.json"])
def test_a_look_at_a_damaged_directory_raises_nothing(run_dir: Path, damage: str) -> None:
    recorder_of(run_dir).add(StudyStateChanged(state="RUNNING"))
    (run_dir / ".driver.lock").write_text(f'{{"host": "{os.uname().nodename}", "pid": 4194303, "token": "x"}}')
    (run_dir / damage).write_text("{\n")
    end_dead_run(run_dir)
