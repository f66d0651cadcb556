"""Export of a journal to a real MLflow database: everything arrives once, also after failures."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from study.config import digest, flatten
from study.formatting import markdown_text
from study.record.events import (
    ArtifactEnded,
    FilesPublished,
    FrontMoved,
    InterpolationEvaluated,
    PointEvaluated,
    ReferenceEvaluated,
    SearchEnded,
    StudyStateChanged,
    TrialEnded,
    TrialExtended,
    TrialRetried,
    TrialStarted,
)
from study.record.journal import Journal
from study.record.metadata import read_metadata
from study.record.points import FidelityPoint, InterpolatedPoint, Limits, PointId, Spent, TrialPoint
from study.tracking.client import default_uri
from study.tracking.cursor import Cursor, load_cursor, save_cursor
from study.tracking.exporter import Exporter
from study.tracking.runs import commit_of
from study.tracking.translation import on_front
from tests.tracking.journals import CONFIG, evaluated, rewrite_study, write_study

AWAY = "http://127.0.0.1:9"  # the discard port: nothing listens there
POINTS = {(0, 80): (27.5, 14.25), (0, 160): (27.0, 11.5), (1, 80): (28.0, 20.0)}
FIDELITY = FidelityPoint("fidelity-00aa")


def start_trial(journal: Journal, trial: int) -> None:
    config, upstream = {**CONFIG, "seed": trial}, {"fidelity": FIDELITY.key}
    journal.append(TrialStarted(trial=trial, config=config, params={}, upstream=upstream))


def move_front(journal: Journal, trials_ended: int, hypervolume: float, *members: PointId, final: bool = False) -> None:
    journal.append(FrontMoved(trials_ended=trials_ended, hypervolume=hypervolume, members=members, final=final))


def begin(journal: Journal) -> None:
    """Trials 0 and 1 of three, and what comes before them."""
    journal.append(StudyStateChanged(state="RUNNING"))
    bicubic = {"psnr_y": 26.5, "swd": 34.0}
    journal.append(
        ReferenceEvaluated(name="bicubic", kind="bicubic", metrics=bicubic, images={}, samples="references/bicubic")
    )
    journal.append(
        ArtifactEnded(
            key=FIDELITY.key,
            stage="fidelity",
            config=CONFIG,
            state="COMPLETE",
            metrics={"psnr_y": 29.5},
            spent=Spent(iterations=800),
        )
    )
    for trial in (0, 1):
        start_trial(journal, trial)
    for (trial, iteration), (psnr, swd) in POINTS.items():
        spent = Spent(iterations=iteration, pixels_seen=100 * iteration, device_seconds=0.5)
        metrics, terms = {"psnr_y": psnr, "swd": swd}, {"fidelity": 0.01 * iteration}
        journal.append(evaluated(trial, iteration, metrics, terms=terms, spent=spent))
        move_front(journal, 0, psnr, FIDELITY, FidelityPoint("fidelity-00bb"))
    journal.append(TrialEnded(trial=0, state="COMPLETE", overhead_seconds=0.02, seconds=9.0, warm=True))


def conclude(journal: Journal) -> None:
    journal.append(TrialEnded(trial=1, state="PRUNED", seconds=4.0))
    journal.append(TrialStarted(trial=2, config={}, params={}, upstream={}))
    journal.append(TrialEnded(trial=2, state="FAILED", cause="diverged: loss is nan"))
    journal.append(StudyStateChanged(state="COMPLETE"))


def add_interpolation(journal: Journal, point: InterpolatedPoint, metrics: dict[str, float]) -> None:
    journal.append(InterpolationEvaluated(point=point, metrics=metrics, images={}, spent=Spent(), samples=""))


def publish(journal: Journal, trial: int | None, folder: str, *paths: str) -> None:
    journal.append(FilesPublished(trial=trial, folder=folder, paths=paths, content="x"))


def follow(run_dir: Path, uri: str) -> int:
    """Start an exporter and close it at once; returns how many events wait."""
    exporter = Exporter(run_dir, uri, wait_seconds=0.05)
    exporter.start()
    return exporter.close()


def runs_of(server: str, run_dir: Path) -> dict[str, Run]:
    """The study's runs: `parent`, and the children by trial number."""
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(read_metadata(run_dir).name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    named = {run.data.tags.get("trial", "parent"): run for run in runs}
    assert len(named) == len(runs)  # none twice
    return named


def history(server: str, run: Run, metric: str) -> list[tuple[int, float]]:
    stored = MlflowClient(server).get_metric_history(run.info.run_id, metric)
    return sorted((entry.step, entry.value) for entry in stored)


def assert_whole(server: str, run_dir: Path) -> None:
    """Everything that `begin` and `conclude` wrote is there, once."""
    runs = runs_of(server, run_dir)
    assert set(runs) == {"parent", "0", "1", "2"}
    statuses = {name: (run.info.status, run.data.tags["state"]) for name, run in runs.items()}
    assert statuses == {
        "parent": ("FINISHED", "COMPLETE"),
        "0": ("FINISHED", "COMPLETE"),
        "1": ("KILLED", "PRUNED"),
        "2": ("FAILED", "FAILED"),
    }
    for trial in (0, 1):
        expected = {iteration: values for (owner, iteration), values in POINTS.items() if owner == trial}
        for column, metric in enumerate(("psnr_y", "swd")):
            points = [(iteration, values[column]) for iteration, values in expected.items()]
            assert history(server, runs[str(trial)], metric) == points
    assert history(server, runs["0"], "pixels_seen") == [(80, 8000.0), (160, 16000.0)]
    assert len(history(server, runs["parent"], "hypervolume")) == len(POINTS)


# --- what arrives ----------------------------------------------------------------------------------------------------


def test_every_run_metric_and_tag_arrives(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    conclude(journal)
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)
    runs = runs_of(server, run_dir)
    parent, first, last = runs["parent"], runs["0"], runs["2"]
    assert all(runs[trial].data.tags["mlflow.parentRunId"] == parent.info.run_id for trial in "012")
    assert "mlflow.parentRunId" not in parent.data.tags
    assert first.data.params == {name: str(value) for name, value in flatten(CONFIG).items()}
    assert first.data.tags["fidelity"] == "fidelity-00aa"
    assert history(server, first, "term.fidelity") == [(80, 0.8), (160, 1.6)]
    assert history(server, first, "overhead_seconds") == [(0, 0.02)]
    assert last.data.tags["cause"] == "diverged: loss is nan"
    assert "cause" not in first.data.tags


def test_parent_run_describes_study_images_and_artifacts(server: str, run_dir: Path) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    assert follow(run_dir, server) == 0
    parent = runs_of(server, run_dir)["parent"]
    expected = {"space": "quick", "recipe": "aesop", "size": "tiny", "code_version": "0.1+abcdef012345-dirty"}
    assert {name: parent.data.tags[name] for name in expected} == expected
    assert parent.data.tags["data.train"] == "5f3c9a11"
    assert history(server, parent, "bicubic.psnr_y") == [(0, 26.5)]
    artifact = json.loads(parent.data.tags["fidelity-00aa"])
    assert (artifact["stage"], artifact["state"], artifact["reused"]) == ("fidelity", "COMPLETE", False)
    assert artifact["metrics"] == {"psnr_y": 29.5}
    assert artifact["spent"] == {"iterations": 800, "pixels_seen": 0, "device_seconds": 0.0, "peak_gib": None}


def test_runs_have_the_times_of_their_events(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    entries = list(journal.entries())
    started = next(e for e in entries if isinstance(e.event, TrialStarted) and e.event.trial == 0)
    ended = next(e for e in entries if isinstance(e.event, TrialEnded))
    points = [e for e in entries if isinstance(e.event, PointEvaluated) and e.event.point.trial == 0]
    assert follow(run_dir, server) == 0
    run = runs_of(server, run_dir)["0"]
    assert run.info.start_time == int(started.time * 1000)
    assert run.info.end_time == int(ended.time * 1000)
    stored = MlflowClient(server).get_metric_history(run.info.run_id, "psnr_y")
    assert {entry.timestamp for entry in stored} == {int(point.time * 1000) for point in points}


def test_interrupted_study_is_killed_then_running_when_continued(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    journal.append(StudyStateChanged(state="INTERRUPTED"))
    assert follow(run_dir, server) == 0
    runs = runs_of(server, run_dir)
    assert (runs["parent"].info.status, runs["parent"].data.tags["state"]) == ("KILLED", "INTERRUPTED")
    assert (runs["0"].info.status, runs["1"].info.status) == ("FINISHED", "KILLED")
    assert runs["1"].data.tags["state"] == "INTERRUPTED"
    journal.append(StudyStateChanged(state="RUNNING"))
    assert follow(run_dir, server) == 0
    continued = runs_of(server, run_dir)
    assert [continued[name].info.status for name in ("parent", "0", "1")] == ["RUNNING", "FINISHED", "RUNNING"]
    conclude(journal)
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)


def test_a_trial_that_is_tried_again_has_its_last_end(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    journal.append(StudyStateChanged(state="RUNNING"))
    start_trial(journal, 0)
    journal.append(TrialEnded(trial=0, state="FAILED", cause="its process died", retry=True))
    journal.append(TrialRetried(trial=0))
    follow(run_dir, server)
    run = runs_of(server, run_dir)["0"]
    assert (run.info.status, run.data.tags["state"], run.data.tags["cause"]) == ("RUNNING", "RUNNING", "")
    journal.append(TrialEnded(trial=0, state="COMPLETE"))
    follow(run_dir, server)
    run = runs_of(server, run_dir)["0"]
    assert (run.info.status, run.data.tags["state"], run.data.tags["cause"]) == ("FINISHED", "COMPLETE", "")


def test_a_run_that_is_trained_further_has_its_new_budget(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    journal.append(StudyStateChanged(state="RUNNING"))
    start_trial(journal, 0)
    journal.append(TrialEnded(trial=0, state="COMPLETE"))
    journal.append(TrialExtended(trial=0, config={"recipe": "aesop", "budget": {"iterations": 240, "batch": 2}}))
    follow(run_dir, server)
    run = runs_of(server, run_dir)["0"]
    assert (run.info.status, run.data.tags["state"], run.data.tags["budget.iterations"]) == (
        "RUNNING",
        "RUNNING",
        "240",
    )
    assert "budget.batch" not in run.data.tags
    journal.append(TrialEnded(trial=0, state="COMPLETE"))
    follow(run_dir, server)
    assert runs_of(server, run_dir)["0"].info.status == "FINISHED"


def test_nan_and_very_long_tags_arrive(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    journal.append(evaluated(1, 160, {"psnr_y": math.nan}))
    journal.append(TrialEnded(trial=1, state="FAILED", cause="x" * 20_000))
    assert follow(run_dir, server) == 0
    run = runs_of(server, run_dir)["1"]
    assert run.data.tags["cause"].startswith("x" * 1000)
    assert len(history(server, run, "psnr_y")) == 2


def test_events_are_sent_while_the_study_runs(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    exporter = Exporter(run_dir, server, wait_seconds=0.05)
    exporter.start()
    cursor, size, deadline = run_dir / "mlflow.json", journal.path.stat().st_size, time.monotonic() + 30
    while not (cursor.exists() and json.loads(cursor.read_text())["offset"] == size):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    conclude(journal)
    assert exporter.close() == 0
    assert_whole(server, run_dir)


# --- nothing twice ---------------------------------------------------------------------------------------------------


def test_second_start_stores_nothing_twice(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    assert follow(run_dir, server) == 0
    conclude(journal)
    assert follow(run_dir, server) == 0
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)


@pytest.mark.parametrize("saved", ["nothing", "half"])
def test_crash_before_the_cursor_is_saved_stores_nothing_twice(server: str, run_dir: Path, saved: str) -> None:
    journal, cursor = Journal(run_dir / "journal.jsonl"), run_dir / "mlflow.json"
    if saved == "half":
        begin(journal)
        assert follow(run_dir, server) == 0
        shutil.copy(cursor, run_dir / "older.json")
    else:
        begin(journal)
    conclude(journal)
    assert follow(run_dir, server) == 0
    cursor.unlink()
    if saved == "half":
        (run_dir / "older.json").rename(cursor)
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)


def test_two_studies_of_one_name_have_separate_runs(server: str, run_dir: Path, tmp_path: Path) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    assert follow(run_dir, server) == 0
    other = tmp_path / "other"
    other.mkdir()
    study = read_metadata(run_dir)
    write_study(other, name=study.name, id="another")
    begin(Journal(other / "journal.jsonl"))
    assert follow(other, server) == 0
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 2 * 3


# --- outages ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")


def test_study_goes_on_without_a_server_and_is_sent_later(
    server: str, run_dir: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    exporter = Exporter(run_dir, AWAY, wait_seconds=0.01)
    began = time.monotonic()
    exporter.start()
    assert time.monotonic() - began < 1.0
    time.sleep(0.5)  # some rounds of failing
    conclude(journal)
    assert exporter.close() == len(list(journal.entries()))
    assert time.monotonic() - began < 30.0
    warnings = [record for record in caplog.records if "cannot be written" in record.getMessage()]
    assert len(warnings) == 1  # not one each round
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)


def test_returning_server_gets_what_it_missed(server: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    exporter = Exporter(run_dir, server, wait_seconds=0.02)
    tries: list[str] = []

    def flaky(uri: str) -> Any:
        tries.append(uri)
        if len(tries) < 3:
            raise ConnectionError("away")
        return MlflowClient(tracking_uri=uri)

    monkeypatch.setattr("study.tracking.exporter.connect", flaky)
    exporter.start()
    deadline = time.monotonic() + 30
    while len(tries) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    conclude(Journal(run_dir / "journal.jsonl"))
    assert exporter.close() == 0
    assert_whole(server, run_dir)


def test_cursor_has_no_password(run_dir: Path, impatient: None) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    follow(run_dir, "http://me:secret@127.0.0.1:9")
    assert all("secret" not in path.read_text() for path in run_dir.iterdir())


def test_warnings_have_no_password(run_dir: Path, impatient: None, caplog: pytest.LogCaptureFixture) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    follow(run_dir, "http://me:secret@127.0.0.1:9")
    assert "cannot be written" in caplog.text
    assert "secret" not in caplog.text


def test_default_database_is_beside_the_study(tmp_path: Path) -> None:
    assert default_uri(tmp_path / "runs" / "quick") == f"sqlite:///{tmp_path.resolve()}/runs/mlflow.db"


MAKE_TABLES = """
import sys
from study.tracking.client import connect
assert connect(sys.argv[1]).search_experiments()[0].name == "Default"
"""


def test_concurrent_starts_create_one_usable_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    starting = [
        subprocess.Popen([sys.executable, "-c", MAKE_TABLES, uri], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in starting:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_interpolations_are_metrics_of_their_trial_by_percent(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    first, second = TrialPoint(0, 80), TrialPoint(1, 80)
    metrics = {"psnr_y": 28.5, "swd": 12.0, "ssim_y": 0.9}
    add_interpolation(journal, InterpolatedPoint(FIDELITY, first, "weights", 0.25), metrics)
    add_interpolation(journal, InterpolatedPoint(first, second, "images", 0.25), metrics)
    journal.append(SearchEnded(limits=Limits(trials=2), cause="0.5 of --device-hours 0.5 are spent"))
    assert follow(run_dir, server) == 0
    runs = runs_of(server, run_dir)
    assert history(server, runs["0"], "interpolation.weights.psnr_y") == [(25, 28.5)]
    assert history(server, runs["1"], "interpolation_of_neighbours.images.swd") == [(25, 12.0)]
    assert not any(
        "ssim_y" in name for run in runs.values() for name in run.data.metrics if name.startswith("interpolation")
    )
    assert runs["parent"].data.tags["search_ended"] == "0.5 of --device-hours 0.5 are spent"


def test_interpolations_do_not_replace_a_trials_last_metrics(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    point = InterpolatedPoint(TrialPoint(0, 160), FIDELITY, "weights", 0.1)
    add_interpolation(journal, point, {"psnr_y": 35.0, "swd": 1.0})
    assert follow(run_dir, server) == 0
    shown = runs_of(server, run_dir)["0"].data.metrics
    assert (shown["psnr_y"], shown["swd"]) == POINTS[0, 160]
    assert "iterations" not in shown
    assert history(server, runs_of(server, run_dir)["0"], "interpolation.weights.psnr_y") == [
        (90, 35.0)
    ]  # the trial's share


# --- what was deleted -------------------------------------------------------------------------------------------------


def test_a_deleted_experiment_is_named_and_everything_sent_once_restored(
    server: str, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, client = Journal(run_dir / "journal.jsonl"), MlflowClient(server)
    experiment = client.create_experiment(read_metadata(run_dir).name)
    client.delete_experiment(experiment)
    begin(journal)
    assert follow(run_dir, server) > 0
    assert (
        "was deleted there; restore it in the UI or by `MLFLOW_TRACKING_URI=URI mlflow experiments restore"
        in caplog.text
    )
    restore = ["experiments", "restore", "--experiment-id", experiment]
    subprocess.run(
        [sys.executable, "-m", "mlflow", *restore], env=os.environ | {"MLFLOW_TRACKING_URI": server}, check=True
    )
    conclude(journal)
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)


def test_a_deleted_run_is_named_and_continued_once_restored(
    server: str, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, client = Journal(run_dir / "journal.jsonl"), MlflowClient(server)
    begin(journal)
    assert follow(run_dir, server) == 0
    deleted = runs_of(server, run_dir)["1"].info.run_id
    client.delete_run(deleted)
    conclude(journal)
    assert follow(run_dir, server) > 0
    assert (
        "runs of the study were deleted there (1); restore them in the UI or by "
        f"`mlflow runs restore --run-id {deleted}`" in caplog.text
    )
    client.restore_run(deleted)
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)


def test_an_experiment_that_is_gone_is_sent_again_without_the_cursor(
    server: str, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal, client = Journal(run_dir / "journal.jsonl"), MlflowClient(server)
    begin(journal)
    assert follow(run_dir, server) == 0
    experiment = client.get_experiment_by_name(read_metadata(run_dir).name)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    SqlAlchemyStore(server, str(run_dir))._hard_delete_experiment(experiment.experiment_id)  # as `mlflow gc`
    conclude(journal)
    assert follow(run_dir, server) > 0
    assert f"is not there any more; remove {run_dir / 'mlflow.json'}, and everything is sent again" in caplog.text
    (run_dir / "mlflow.json").unlink()
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)


# --- metadata --------------------------------------------------------------------------------------------------------


def test_every_run_has_its_images_and_code_version(server: str, run_dir: Path) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    assert follow(run_dir, server) == 0
    for run in runs_of(server, run_dir).values():
        inputs = {each.tags[0].value: (each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs}
        assert inputs == {"train": ("photographs", "5f3c9a11"), "val": ("held <b>out</b>", ("00ff" * 16)[:36])}
        assert run.data.tags["mlflow.source.git.commit"] == "abcdef012345"
        assert run.data.tags["code_version"] == "0.1+abcdef012345-dirty"


@pytest.mark.parametrize(
    ("version", "commit"),
    [
        ("0.1.0+63e173b84f89", "63e173b84f89"),
        ("0.1.0+v0.1-12-g63e173b84f89-dirty", "63e173b84f89"),
        ("0.1.0+v0.1", None),
        ("0.1.0", None),
    ],
)
def test_commit_is_found_in_the_code_version(version: str, commit: str | None) -> None:
    assert commit_of(version) == commit


def test_note_describes_the_study_and_escapes_markup(server: str, run_dir: Path) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    hostile = "<script>alert(1)</script> [click](javascript:alert(1)) **big**\n# title"
    search = replace(read_metadata(run_dir).search, space=hostile)
    rewrite_study(run_dir, search=search, notes=(hostile,))
    assert follow(run_dir, server) == 0
    note = runs_of(server, run_dir)["parent"].data.tags["mlflow.note.content"]
    assert "`psnr_y`" in note
    assert "`front` = `yes`" in note
    assert note.count(markdown_text(hostile)) == 2
    for markup in ("<script", r"(?<!\\)\[click", r"(?<!\\)\*\*big", "\n# title"):
        assert not re.search(markup, note)


def test_front_tags_follow_the_front(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    assert follow(run_dir, server) == 0
    standing = lambda: {  # noqa: E731
        name: tuple(run.data.tags.get(f"front{part}") for part in ("", ".points", ".interpolations"))
        for name, run in runs_of(server, run_dir).items()
        if name != "parent"
    }
    assert standing() == {"0": ("no", None, None), "1": ("no", None, None)}
    late, early, other = TrialPoint(0, 160), TrialPoint(0, 80), TrialPoint(1, 80)
    move_front(journal, 1, 1.0, late, early, FIDELITY, InterpolatedPoint(FIDELITY, other, "weights", 0.5))
    assert follow(run_dir, server) == 0
    assert standing() == {"0": ("yes", "2", "0"), "1": ("yes", "0", "1")}
    pairs = ((other, late, 0.25), (early, other, 0.25), (FIDELITY, other, 0.0001))
    between = [InterpolatedPoint(first, second, "images", share) for first, second, share in pairs]
    move_front(journal, 2, 2.0, *between, other)
    move_front(journal, 2, 2.0, other, final=True)
    assert follow(run_dir, server) == 0
    assert standing() == {"0": ("no", "0", "0"), "1": ("yes", "1", "0")}


def test_front_members_are_counted_by_trial() -> None:
    third, twelfth, generator = TrialPoint(3, 80), TrialPoint(12, 160), FidelityPoint("fidelity-0123456789abcdef")
    members = [
        third,
        TrialPoint(12345, 80),
        InterpolatedPoint(generator, TrialPoint(3, 160), "weights", 0.5),
        InterpolatedPoint(third, twelfth, "images", 0.25),
        InterpolatedPoint(twelfth, generator, "weights", 0.5),
        InterpolatedPoint(generator, FIDELITY, "images", 0.5),
        FIDELITY,
    ]
    assert on_front(members) == {"3": [1, 1], "12345": [1, 0], "12": [0, 2]}


# --- few requests ----------------------------------------------------------------------------------------------------


def test_waiting_events_are_sent_in_few_requests(server: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    metrics = {f"metric{index}": float(index) for index in range(3)}  # and two costs of each point
    many = {f"field{index}": index for index in range(250)}
    for trial in range(2):
        journal.append(TrialStarted(trial=trial, config=many, params={}, upstream={}))
    for iteration in range(300):
        for trial in range(2):
            journal.append(evaluated(trial, iteration, metrics))
    sizes: list[tuple[int, int, int]] = []
    plain = SqlAlchemyStore.log_batch

    def counting(self: Any, run_id: str, metrics: Any, params: Any, tags: Any) -> Any:
        sizes.append((len(metrics), len(params), len(tags)))
        return plain(self, run_id, metrics, params, tags)

    monkeypatch.setattr(SqlAlchemyStore, "log_batch", counting)
    assert follow(run_dir, server) == 0
    assert len(sizes) <= 2 * (3 + 2)  # 1,500 metrics and 250 parameters for each of two
    assert all(sum(size) <= 1000 and size[1] <= 100 and size[2] <= 100 for size in sizes)
    for trial in ("0", "1"):
        run = runs_of(server, run_dir)[trial]
        assert history(server, run, "metric2") == [(iteration, 2.0) for iteration in range(300)]
        assert len(run.data.params) == 250


# --- files and models ------------------------------------------------------------------------------------------------


def artifacts_of(server: str, run: Run, folder: str) -> list[str]:
    return sorted(entry.path for entry in MlflowClient(server).list_artifacts(run.info.run_id, folder))


def test_files_arrive_after_an_outage_and_missing_ones_are_skipped(
    server: str, run_dir: Path, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    (run_dir / "crops").mkdir()
    (run_dir / "crops" / "baby.png").write_bytes(b"1")
    (run_dir.parent / "secret.png").write_bytes(b"2")
    paths = ["crops/baby.png", "crops/gone.png", "../secret.png", "crops"]
    publish(journal, 0, "samples/80", *paths)
    publish(journal, None, "report", "study.json")
    assert follow(run_dir, AWAY) > 0
    conclude(journal)
    assert follow(run_dir, server) == 0
    assert_whole(server, run_dir)
    runs = runs_of(server, run_dir)
    assert artifacts_of(server, runs["0"], "samples/80") == ["samples/80/baby.png"]
    assert artifacts_of(server, runs["parent"], "report") == ["report/study.json"]
    assert runs["0"].data.tags["missing.samples/80"] == "crops/gone.png, ../secret.png, crops"
    assert "crops/gone.png" in caplog.text


def test_files_that_the_server_refuses_are_left_out(
    server: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    publish(journal, None, "report", "study.json")
    conclude(journal)
    tries = []

    def refuse(self: Any, run: str, path: str, folder: str) -> None:
        tries.append(path)
        raise PermissionError("this store is not yours")

    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    exporter = Exporter(run_dir, server, wait_seconds=0.001)
    exporter.start()
    deadline = time.monotonic() + 30
    while "left_out.files report" not in runs_of_or_none(server, run_dir):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert exporter.close() == 0
    assert_whole(server, run_dir)
    assert 1 < len(tries) < 50
    assert runs_of(server, run_dir)["parent"].data.tags["left_out.files report"] == "this store is not yours"


def runs_of_or_none(server: str, run_dir: Path) -> dict[str, str]:
    """The parent's tags; none before there is one."""
    name = read_metadata(run_dir).name
    if MlflowClient(server).get_experiment_by_name(name) is None:
        return {}
    parent = runs_of(server, run_dir).get("parent")
    return {} if parent is None else dict(parent.data.tags)


def test_journal_is_uploaded_in_segments(server: str, run_dir: Path) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    begin(journal)
    assert follow(run_dir, server) == 0
    first = journal.path.stat().st_size
    assert follow(run_dir, server) == 0  # nothing new: no segment
    conclude(journal)
    assert follow(run_dir, server) == 0
    parent = runs_of(server, run_dir)["parent"]
    assert artifacts_of(server, parent, "journal") == ["journal/000000000000.jsonl", f"journal/{first:012d}.jsonl"]
    client = MlflowClient(server)
    parts = [
        Path(client.download_artifacts(parent.info.run_id, path)) for path in artifacts_of(server, parent, "journal")
    ]
    assert b"".join(part.read_bytes() for part in parts) == journal.path.read_bytes()
    metadata = client.download_artifacts(parent.info.run_id, "study.json")
    assert Path(metadata).read_text() == (run_dir / "study.json").read_text()
    assert parent.data.tags["journal.bytes"] == str(journal.path.stat().st_size)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"server": 3}', b'{"server": "x", "offset": -1}', b"\xff"])
def test_a_damaged_cursor_is_begun_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mlflow.json"
    path.write_bytes(content)
    assert load_cursor(path, "sqlite:///a.db") == Cursor(digest("sqlite:///a.db"))
    assert "mlflow.json is damaged and begun anew: everything is sent to MLflow again" in caplog.text


@pytest.mark.parametrize("offset", [7, 10**9])
def test_a_cursor_of_another_journal_is_begun_anew(server: str, run_dir: Path, offset: int) -> None:
    begin(Journal(run_dir / "journal.jsonl"))
    save_cursor(run_dir / "mlflow.json", Cursor(digest(server), offset=offset, copied=offset))
    follow(run_dir, server)
    saved = load_cursor(run_dir / "mlflow.json", server)
    assert saved.offset == saved.copied == (run_dir / "journal.jsonl").stat().st_size
