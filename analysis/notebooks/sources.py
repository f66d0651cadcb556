"""Reads a study from its run directory or from MLflow."""

import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from analysis.statistics.tables import Results, load_results

_CHECKOUT = Path(__file__).resolve().parents[2]
_DATABASE = "sqlite:///"


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study that was read.

    Attributes:
        run_dir: with its sample crops.
        artifacts: the folder with its auto-encoders; it may be missing.
        results: its tables.
        _fetched: holds a fetched study as long as this object lives.
    """

    run_dir: Path
    artifacts: Path
    results: Results
    _fetched: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)


def open_study(study: str, mlflow: str | None = None, *, artifacts: str | None = None) -> OpenStudy:
    """Read a study.

    A relative path is looked up in the working directory, then in the checkout: notebooks run in their own folder.

    Args:
        study: the run directory; with `mlflow`, the study's name there.
        mlflow: MLflow's tracking URI.
        artifacts: folder of the study's artifacts; None for the one beside the run directory.

    Raises:
        RunDirectoryError, JournalError: the directory has no usable study.json or journal.
        MlflowSourceError: MLflow does not respond, or has no such study.
    """
    fetched = tempfile.TemporaryDirectory(prefix="aesop-study-") if mlflow else None
    if mlflow and fetched is not None:
        run_dir = _fetch(_database_found(mlflow), study, Path(fetched.name) / "run")
    else:
        run_dir = found(study)
    return OpenStudy(
        run_dir=run_dir,
        artifacts=found(artifacts) if artifacts else run_dir.parent / "artifacts",
        results=load_results(run_dir),
        _fetched=fetched,
    )


def _fetch(uri: str, name: str, into: Path) -> Path:
    from study.tracking.download import fetch_study

    with warnings.catch_warnings():
        # In a notebook, MLflow's import warns that the widgets of its progress bars are missing.
        warnings.filterwarnings("ignore", "IProgress not found")
        return fetch_study(uri, name, into)


def found(place: str) -> Path:
    """Return a path if it exists or is missing below the checkout as well, else the one below the checkout."""
    path = Path(place).expanduser()
    below = _CHECKOUT / path
    return below if not path.exists() and below.exists() else path


def _database_found(uri: str) -> str:
    if not uri.startswith(_DATABASE):
        return uri
    return f"{_DATABASE}{found(uri.removeprefix(_DATABASE))}"
