"""Connections to MLflow, and batches of what is sent there: a request costs far more than its content."""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.files import file_lock
from study.tracking.address import check_tracking_uri, sqlite_file
from study.tracking.values import PARAM_LENGTH, TAG_LENGTH, fit


def default_uri(output: Path) -> str:
    """Return the URI of the SQLite database beside a study's directory: `runs/quick` goes into `runs/mlflow.db`."""
    return f"sqlite:///{output.resolve().parent / 'mlflow.db'}"


def tracking_uri(given: str | None, output: Path) -> str:
    """Return the URI of `--mlflow`, else the default; ValueError if MLflow cannot use it."""
    if given is not None:
        return check_tracking_uri(given)
    folder = output.resolve().parent
    if set("%?") & set(str(folder)):  # MLflow would also make a folder of another name
        raise ValueError(
            f"MLflow's database cannot be in a folder with % or ? in its path, but --output is in {folder}; "
            "name another place with --mlflow, such as sqlite:////path/mlflow.db"
        )
    return default_uri(output)


def connect(uri: str) -> Any:
    """Return a client that writes, after making a new database's tables.

    It gives up in seconds: the journal keeps what could not be sent.

    Raises:
        Exception: MLflow's or SQLAlchemy's, if the server or database is away.
    """
    with _lock_tables(uri):
        return open_client(uri, retries=1, timeout_seconds=10)


def open_client(uri: str, *, retries: int, timeout_seconds: int) -> Any:
    """Return a client after a first request; raises as `connect`. Variables of the environment take precedence."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(timeout_seconds))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Else MLflow prints a line for each run that ends, with the server's address and password.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)  # makes the tables of a new database now
    return client


def segment_path(offset: int) -> str:
    """Return the artifact path of the part of a journal that begins at a byte."""
    return f"journal/{offset:012d}.jsonl"


@dataclass
class _Batch:
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)  # what does not fit, by the path of its artifact
    status: tuple[str, int | None] | None = None


class Batches:
    """Metrics, parameters and tags that wait to be sent, by run, in the order in which they came."""

    def __init__(self) -> None:
        self._runs: dict[str, _Batch] = {}
        self.size = 0
        """Number of metrics, parameters and tags that wait."""

    def add(
        self,
        run: str,
        at: int,
        metrics: Mapping[str, float] | None = None,
        *,
        step: int = 0,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Add values to a run's batch.

        Args:
            run: its id.
            at: time of the event in milliseconds. It makes sending twice harmless: MLflow stores the same name, step,
                time and value once.
            metrics, step: values by name, and the step that they belong to.
            params: values by name.
            tags: values by name; a later one replaces an earlier one, None is left out.
        """
        batch = self._runs.setdefault(run, _Batch())
        names, renamed = fit(dict.fromkeys(metrics or {}, "a metric"), TAG_LENGTH)
        batch.metrics += [
            (name, float(value), at, step) for name, value in zip(names, (metrics or {}).values(), strict=True)
        ]
        fitting_params, long_params = fit(params or {}, PARAM_LENGTH)
        fitting_tags, long_tags = fit(tags or {}, TAG_LENGTH)
        batch.params |= fitting_params
        batch.tags |= fitting_tags
        batch.whole |= renamed | long_params | long_tags
        self.size += len(metrics or {}) + len(params or {}) + len(tags or {})

    def set_status(self, run: str, status: str, ended_at: int | None = None) -> None:
        """Set a run's status once all that was added before is sent; `ended_at` in milliseconds."""
        self._runs.setdefault(run, _Batch()).status = (status, ended_at)

    def send(self, client: Any) -> None:
        """Send everything; the client cuts long batches into requests of the size that MLflow accepts."""
        for run, batch in self._runs.items():
            for path, text in batch.whole.items():
                client.log_text(run, text, path)
            _log_batch(client, run, batch)
            if batch.status is not None:
                _set_status(client, run, *batch.status)
        self._runs, self.size = {}, 0


def _log_batch(client: Any, run: str, batch: _Batch) -> None:
    """Send a run's values; those of parameters that have other values there already are left out, named in a tag.

    MLflow never changes a parameter. A trial that a damaged journal lost has run again with another configuration.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    metrics, tags = [Metric(*metric) for metric in batch.metrics], [RunTag(*tag) for tag in batch.tags.items()]
    try:
        client.log_batch(run, metrics, [Param(*param) for param in batch.params.items()], tags)
    except MlflowException:
        there = client.get_run(run).data.params
        other = {name: value for name, value in batch.params.items() if there.get(name, value) != value}
        if not other:
            raise
        new = [Param(name, value) for name, value in batch.params.items() if name not in other]
        named = ", ".join(f"{name} ({value} is new)" for name, value in other.items())
        left_out, whole = fit({"left_out.params": f"MLflow keeps the first values of: {named}"}, TAG_LENGTH)
        for path, text in whole.items():
            client.log_text(run, text, path)
        client.log_batch(run, metrics, new, [*tags, *(RunTag(*tag) for tag in left_out.items())])


def _lock_tables(uri: str) -> AbstractContextManager[None]:
    """Keep other processes of this machine out: tables that two make at the same time stay broken."""
    database = sqlite_file(uri)
    if database is None:
        return nullcontext()  # a server makes its own
    return file_lock(database.with_name(f".{database.name}.lock"))


def _set_status(client: Any, run: str, status: str, ended_at: int | None) -> None:
    if ended_at is None:
        client.update_run(run, status=status)
    else:
        client.set_terminated(run, status, end_time=ended_at)
