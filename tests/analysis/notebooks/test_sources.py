"""A study is the same from its directory and from MLflow, wherever the notebook's kernel runs."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis.notebooks.sources import found, open_study
from analysis.statistics.tables import load_results
from study.record.metadata import RunDirectoryError


def test_a_run_directory(full_run: Path) -> None:
    study = open_study(str(full_run))
    assert study.run_dir == full_run
    assert study.artifacts == full_run.parent / "artifacts"
    assert study.results.metadata.name == "quick"


def test_artifacts_elsewhere(full_run: Path, tmp_path: Path) -> None:
    assert open_study(str(full_run), artifacts=str(tmp_path)).artifacts == tmp_path


def test_a_relative_path_is_found_in_the_checkout_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = Path(__file__).resolve().parents[3]
    monkeypatch.chdir(tmp_path)
    assert found("tests/analysis") == checkout / "tests/analysis"
    (tmp_path / "tests/analysis").mkdir(parents=True)
    assert found("tests/analysis") == Path("tests/analysis")  # what is here comes first
    assert found("nowhere") == Path("nowhere")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"study\.json"):
        open_study(str(tmp_path / "none"))


def test_from_mlflow_it_is_the_same_study(full_run: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("quick", (tmp_path / "files").as_uri())
    run = client.create_run(experiment, tags={"aesop.study": "0af1", "aesop.part": "study"}).info.run_id
    client.log_text(run, (full_run / "study.json").read_text(), "study.json")
    client.log_text(run, (full_run / "journal.jsonl").read_text(), "journal/000000000000.jsonl")
    study = open_study("quick", uri)
    there = study.run_dir
    pd.testing.assert_frame_equal(study.results.points, load_results(full_run).points)
    assert (there / "study.json").is_file()
    del study
    assert not there.exists()  # what was fetched goes with the study
