"""Fetch a study from MLflow into a directory, so that whoever has only the server can report on it.

A study's parent run holds its facts and its journal, in segments named by their byte offset, and crops of its front;
the directory is then read like one that study/sweep.py wrote. So a thousand trials are a few files, not thousands of
requests for metrics.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from study.files import write_atomically
from study.tracking.address import public_uri, without_secrets

_FACTS, _JOURNAL = "study.json", "journal.jsonl"
_SEGMENT = re.compile(r"journal/(\d{12})\.jsonl")
_AT_A_TIME = 8


class MlflowSourceError(ValueError):
    """A study that cannot be fetched: what was looked for, what is there, and what to do."""


def fetch_study(uri: str, name: str, into: Path) -> Path:
    """Download a study's journal, facts and sample crops.

    Args:
        uri: MLflow's tracking URI.
        name: of the study; where several have it, NAME/ID with the first digits of its id.
        into: gets the files; made if it is not there. A study that was fetched there before is replaced.

    Returns:
        `into`, which `analysis.statistics.tables.load_results` reads.

    Raises:
        MlflowSourceError: the server does not answer, has no such study or several, or misses a part of it; or `into`
            is the directory of a study that was run there.
    """
    if (into / ".driver.lock").exists():
        raise MlflowSourceError(f"{into} is the directory that a study was run in; name another to fetch one into")
    client = _connect(uri)
    try:
        parent = _parent(client, uri, name)
        facts = _read(client, parent.info.run_id, _FACTS, name)
        journal = _journal(client, parent.info.run_id, int(parent.data.tags.get("journal.bytes", 0)), name)
        into.mkdir(parents=True, exist_ok=True)
        write_atomically(into / _JOURNAL, journal)
        write_atomically(into / _FACTS, facts)  # last: without it, this is no run directory
        _fetch_crops(client, parent, journal, into)
    except MlflowSourceError:
        raise
    except _engine_errors() as error:
        raise _away(uri, error) from error
    return into


def _connect(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise MlflowSourceError(f"there is no database {uri.removeprefix('sqlite:///')}; check the path in {uri}")
    try:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise _away(uri, error) from error
    return client


def _engine_errors() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


def _away(uri: str, error: Exception) -> MlflowSourceError:
    reason = without_secrets(str(error), uri).splitlines()
    return MlflowSourceError(
        f"MLflow at {public_uri(uri)} cannot be read: {reason[0] if reason else type(error).__name__}; "
        "check the address, and that the server runs"
    )


def _parent(client: Any, uri: str, name: str) -> Any:
    """The study's run."""
    plain, _, identity = name.partition("/")
    experiment = client.get_experiment_by_name(plain)
    if experiment is None:
        there = sorted(found.name for found in client.search_experiments(max_results=1000) if found.name != "Default")
        known = ", ".join(there) if there else "none"
        raise MlflowSourceError(f"MLflow at {public_uri(uri)} has no study {plain!r}; there are: {known}")
    runs = client.search_runs([experiment.experiment_id], "tags.`aesop.part` = 'study'", max_results=1000)
    found = [run for run in runs if run.data.tags["aesop.study"].startswith(identity)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(f"{plain}/{run.data.tags['aesop.study'][:8]}" for run in runs)
    if not runs:
        raise MlflowSourceError(f"the experiment {plain!r} holds no study of ours; name another")
    what = f"{len(found)} studies are called {name!r}" if found else f"no study is called {name!r}"
    raise MlflowSourceError(f"{what}; name one of: {ids}")


def _journal(client: Any, run: str, size: int, name: str) -> bytes:
    """All segments put together. Where a driver died before it had noted one, they overlap: they are parts of one file.

    Raises:
        MlflowSourceError: a gap.
    """
    sizes = {}
    for entry in client.list_artifacts(run, "journal"):
        match = _SEGMENT.fullmatch(entry.path)
        if match is not None:
            sizes[int(match.group(1))] = entry.file_size
    chosen = _covering(sizes, size, name)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        parts = list(pool.map(lambda offset: _read(client, run, _segment(offset), name), chosen))
    journal = b""
    for offset, part in zip(chosen, parts, strict=True):
        if offset > len(journal):
            raise _gap(len(journal), name)
        journal += part[len(journal) - offset :]
    return journal


def _covering(sizes: Mapping[int, int], size: int, name: str) -> list[int]:
    """The fewest segments, by offset, that hold all bytes: up to the last that is there, and `size` at least."""
    chosen: list[int] = []
    reached, end = 0, max([size, 1, *(offset + length for offset, length in sizes.items())])
    while reached < end:
        fitting = [offset for offset in sizes if offset <= reached < offset + sizes[offset]]
        if not fitting:
            raise _gap(reached, name)
        chosen.append(max(fitting, key=lambda offset: offset + sizes[offset]))
        reached = chosen[-1] + sizes[chosen[-1]]
    return chosen


def _gap(offset: int, name: str) -> MlflowSourceError:
    return MlflowSourceError(
        f"the journal of {name!r} in MLflow lacks the segment {_segment(offset)}; run its sweep once more with "
        "--resume, or report on its directory"
    )


def _segment(offset: int) -> str:
    return f"journal/{offset:012d}.jsonl"


def _read(client: Any, run: str, path: str, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run, path, folder)).read_bytes()
        except _engine_errors() as error:
            if path == _FACTS:
                raise MlflowSourceError(
                    f"the run of {name!r} in MLflow has no {_FACTS}; it comes within a minute of a study's start, "
                    "or with its --resume"
                ) from error
            raise


def _fetch_crops(client: Any, parent: Any, journal: bytes, into: Path) -> None:
    """Put published crops where the journal's `samples` say; one that is missing is left out, as in a report."""
    wanted = list(_published_crops(journal))
    runs = {trial: _run_of(client, parent, trial) for trial in {trial for trial, _, _ in wanted}}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(lambda each: _fetch_folder(client, runs[each[0]], each[1], each[2], into), wanted))


def _published_crops(journal: bytes) -> Iterator[tuple[int | None, str, list[str]]]:
    """Trial, folder in MLflow and paths of each lot of crops."""
    for line in journal.splitlines():
        if b'"event": "files"' not in line:
            continue
        event = json.loads(line)
        folder, paths = str(event.get("folder", "")), [str(path) for path in event.get("paths", ())]
        if event.get("event") == "files" and folder.startswith("samples/"):
            yield event.get("run"), folder, [path for path in paths if path.endswith(".png")]


def _run_of(client: Any, parent: Any, trial: int | None) -> str | None:
    if trial is None:
        return str(parent.info.run_id)
    study = parent.data.tags["aesop.study"]
    query = f"tags.`aesop.study` = '{study}' and tags.`aesop.part` = 'trial-{int(trial):04d}'"
    found = client.search_runs([parent.info.experiment_id], query, max_results=1)
    return found[0].info.run_id if found else None


def _fetch_folder(client: Any, run: str | None, folder: str, paths: Sequence[str], into: Path) -> None:
    with tempfile.TemporaryDirectory() as aside:
        try:
            fetched = Path(client.download_artifacts(run, folder, aside)) if run is not None else Path(aside)
        except _engine_errors():
            return
        for path in paths:
            source, target = fetched / Path(path).name, (into / path).resolve()
            # The journal came from elsewhere: its names may not lead out of the directory.
            if source.is_file() and target.is_relative_to(into.resolve()):
                write_atomically(target, source.read_bytes())
