"""What MLflow would cut or refuse arrives cut with a hint, or under another name, and in full as an artifact."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import load_text
from mlflow.entities import Run

from study.record.events import ArtifactEnded, PointEvaluated, StudyStateChanged, TrialEnded, TrialStarted
from study.record.journal import Journal
from study.record.metadata import ImageSetInfo, read_metadata
from study.tracking.exporter import Exporter
from study.tracking.values import PARAM_LENGTH, TAG_LENGTH, fit, valid_name
from tests.tracking.journals import CONFIG, evaluated, rewrite_study

LONG_URL = "https://example.org/" + "photographs/" * 600


def journal_of(run_dir: Path, *events: TrialStarted | TrialEnded | ArtifactEnded | PointEvaluated) -> None:
    journal = Journal(run_dir / "journal.jsonl")
    for event in (StudyStateChanged(state="RUNNING"), *events, StudyStateChanged(state="COMPLETE")):
        journal.append(event)


def started(**values: object) -> TrialStarted:
    return TrialStarted(trial=0, config={**CONFIG, **values}, params={}, upstream={})


def sent(server: str, run_dir: Path) -> dict[str, Run]:
    """Export all, and return the runs: `parent`, and the children by trial number."""
    exporter = Exporter(run_dir, server, wait_seconds=0.01)
    exporter.start()
    assert exporter.close(timeout=5) == 0
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(read_metadata(run_dir).name)
    assert experiment is not None
    return {run.data.tags.get("trial", "parent"): run for run in client.search_runs([experiment.experiment_id])}


def full_text(run: Run, name: str) -> str:
    return str(load_text(f"{run.info.artifact_uri}/values/{name}.txt"))


def assert_cut(run: Run, shown: str, name: str, whole: str, limit: int) -> None:
    """The value ends in its length and its artifact, which has all of it."""
    assert len(shown) <= limit
    assert shown.endswith(f"... ({len(whole):,} characters; artifact values/{name}.txt has all)")
    assert whole.startswith(shown[:100])
    assert full_text(run, name) == f"{name}\n{whole}\n"


def test_long_parameters_and_tags_are_whole_in_artifacts(server: str, run_dir: Path) -> None:
    cause = "Traceback: " + "x" * 20_000
    failed = TrialEnded(trial=0, state="FAILED", cause=cause)
    journal_of(run_dir, started(data={**CONFIG["data"], "train": LONG_URL}), failed)
    run = sent(server, run_dir)["0"]
    assert_cut(run, run.data.params["data.train"], "data.train", LONG_URL, PARAM_LENGTH)
    assert_cut(run, run.data.tags["cause"], "cause", cause, TAG_LENGTH)


def test_a_long_note_is_whole_in_an_artifact(server: str, run_dir: Path) -> None:
    images = {part: ImageSetInfo("folder " * 100, "5f3c9a11", ("a",)) for part in ("train", "val")}
    rewrite_study(run_dir, notes=tuple(f"ignored: folder {index} " * 10 for index in range(60)), images=images)
    journal_of(run_dir, started())
    runs = sent(server, run_dir)
    note = runs["parent"].data.tags["mlflow.note.content"]
    whole = full_text(runs["parent"], "mlflow.note.content")
    assert note.endswith("artifact values/mlflow.note.content.txt has all)")
    assert "folder 59" not in note
    assert "folder 59" in whole
    dataset = MlflowClient(server).get_run(runs["parent"].info.run_id).inputs.dataset_inputs[0].dataset
    assert dataset.name.endswith("... (700 characters; artifact study.json has all)")


def test_names_that_mlflow_refuses_are_changed_and_kept_in_artifacts(server: str, run_dir: Path) -> None:
    journal_of(run_dir, started(**{"a=b": 3}))
    run = sent(server, run_dir)["0"]
    (changed,) = (name for name in run.data.params if name.startswith("a_b"))
    assert run.data.params[changed] == "3"
    assert full_text(run, changed).startswith("a=b\n")


def test_a_parameter_that_differs_on_the_server_does_not_stop_the_export(server: str, run_dir: Path) -> None:
    journal_of(run_dir, started(seed=1), evaluated(0, 80, {"psnr_y": 27.5}))
    sent(server, run_dir)
    (run_dir / "journal.jsonl").unlink()
    (run_dir / "mlflow.json").unlink()
    journal_of(run_dir, started(seed=2), evaluated(0, 160, {"psnr_y": 28.5}), TrialEnded(trial=0, state="COMPLETE"))
    run = sent(server, run_dir)["0"]
    assert (run.info.status, run.data.metrics["psnr_y"], run.data.params["seed"]) == ("FINISHED", 28.5, "1")
    assert run.data.tags["left_out.params"] == "MLflow keeps the first values of: seed (2 is new)"


@pytest.mark.parametrize(
    ("name", "fits"),
    [("loss.fidelity", True), ("a b/c:1", True), ("a[0]", False), ("../up", False), ("/a", False), ("x" * 251, False)],
)
def test_names_are_changed_only_where_mlflow_refuses_them(name: str, fits: bool) -> None:
    changed = valid_name(name)
    assert (changed == name) == fits
    assert valid_name(changed) == changed
    assert changed != valid_name(f"{name}=") or fits


def test_short_values_have_no_artifact_and_none_is_left_out() -> None:
    assert fit({"a": "x" * 10, "b": None, "c": 3}, 10) == ({"a": "x" * 10, "c": "3"}, {})
