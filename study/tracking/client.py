"""The way to an MLflow database or server."""

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from study.files import file_lock


def default_uri(output: Path) -> str:
    """The SQLite database beside a study's directory: `runs/quick` goes into `runs/mlflow.db`."""
    return f"sqlite:///{output.resolve().parent / 'mlflow.db'}"


def connect(uri: str) -> Any:
    """A client of MLflow that fails soon; any exception of MLflow's or SQLAlchemy's if it is away."""
    # A server that is away shall be noticed in seconds: we keep the records and try again ourselves.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Else it prints a line for each run that ends, with the server's address, password and all.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    with _making_tables(uri):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # makes the tables of a new database now
    return client


def _making_tables(uri: str) -> AbstractContextManager[None]:
    """One after the other: two studies that make a database's tables at the same time leave it broken for good."""
    if not uri.startswith("sqlite:///"):
        return nullcontext()  # a server makes its own
    database = Path(uri.removeprefix("sqlite:///"))
    return file_lock(database.with_name(f".{database.name}.lock"))
