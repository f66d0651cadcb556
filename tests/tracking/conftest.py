"""An MLflow database, and a study's directory."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tracking.journals import write_study


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow database; made once, for its tables take long. Each test's study has an experiment of its own."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    MlflowClient(uri).search_experiments()
    return uri


@pytest.fixture
def run_dir(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The directory of a study that has written no event yet."""
    folder = tmp_path / "quick"
    folder.mkdir()
    write_study(folder, name=request.node.name, id=f"id-of-{request.node.name}")
    return folder
