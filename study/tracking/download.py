"""Download of a study from MLflow into a directory, to report on it with access to the server alone.

A study's parent run holds `study.json`, its journal in segments named by their byte offset, and crops of its front: a
few files, where a thousand trials would need thousands of requests for metrics. The directory is then read like one
that study/sweep.py wrote.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from study.files import write_atomically
from study.record.entries import EventError, read_entry
from study.record.events import FilesPublished
from study.record.paths import STUDY, RunDirectory
from study.tracking.address import public_uri, sqlite_file, without_secrets
from study.tracking.client import open_client, segment_path
from study.tracking.runs import STUDY_PART, trial_part

_SEGMENT = re.compile(r"journal/(\d{12})\.jsonl")
_THREADS = 8


class MlflowSourceError(ValueError):
    """A study that cannot be fetched: what was looked for, what was found, and the remedy."""


def fetch_study(uri: str, name: str, into: Path) -> Path:
    """Download a study's journal, metadata and sample crops.

    Args:
        uri: MLflow's tracking URI.
        name: of the study; where several have it, NAME/ID with the first digits of its id.
        into: gets the files; made if it does not exist. A study that was fetched there before is replaced.

    Returns:
        `into`, which `analysis.statistics.tables.load_results` reads.

    Raises:
        MlflowSourceError: the server does not answer, has no such study or several, or lacks a part of it; or `into`
            is the directory of a study that was run there.
    """
    directory = RunDirectory(into)
    if directory.lock.exists():
        raise MlflowSourceError(f"{into} is the directory that a study was run in; name another to fetch one into")
    client = _connect(uri)
    try:
        parent = _parent(client, uri, name)
        metadata = _read_metadata(client, parent.info.run_id, name)
        journal = _journal(client, parent.info.run_id, int(parent.data.tags.get("journal.bytes", 0)), name)
        crops = list(_published_crops(journal, name))
        into.mkdir(parents=True, exist_ok=True)
        write_atomically(directory.journal, journal)
        write_atomically(directory.study, metadata)  # last: without it, this is no run directory
        _fetch_crops(client, parent, crops, into)
    except MlflowSourceError:
        raise
    except _mlflow_errors() as error:
        raise _unreadable(uri, error) from error
    return into


def _connect(uri: str) -> Any:
    database = sqlite_file(uri)
    if database is not None and not database.is_file():
        raise MlflowSourceError(f"there is no database {database}; check the path in {uri}")
    try:
        return open_client(uri, retries=2, timeout_seconds=30)
    except Exception as error:
        raise _unreadable(uri, error) from error


def _mlflow_errors() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


def _unreadable(uri: str, error: Exception) -> MlflowSourceError:
    reason = without_secrets(str(error), uri).splitlines()
    return MlflowSourceError(
        f"MLflow at {public_uri(uri)} cannot be read: {reason[0] if reason else type(error).__name__}; "
        "check the address, and that the server runs"
    )


def _parent(client: Any, uri: str, name: str) -> Any:
    """Return the study's run."""
    plain, _, identity = name.partition("/")
    experiment = client.get_experiment_by_name(plain)
    if experiment is None:
        studies = sorted(found.name for found in client.search_experiments(max_results=1000) if found.name != "Default")
        raise MlflowSourceError(
            f"MLflow at {public_uri(uri)} has no study {plain!r}; there are: {', '.join(studies) or 'none'}"
        )
    runs = client.search_runs([experiment.experiment_id], f"tags.`aesop.part` = '{STUDY_PART}'", max_results=1000)
    found = [run for run in runs if run.data.tags["aesop.study"].startswith(identity)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(f"{plain}/{run.data.tags['aesop.study'][:8]}" for run in runs)
    if not runs:
        raise MlflowSourceError(f"the experiment {plain!r} holds no study of this software; name another")
    what = f"{len(found)} studies are called {name!r}" if found else f"no study is called {name!r}"
    raise MlflowSourceError(f"{what}; name one of: {ids}")


def _journal(client: Any, run: str, size: int, name: str) -> bytes:
    """Join all segments, which overlap where a driver died before it had saved its cursor.

    Raises:
        MlflowSourceError: a gap.
    """
    sizes = {}
    for entry in client.list_artifacts(run, "journal"):
        match = _SEGMENT.fullmatch(entry.path)
        if match is not None and entry.file_size:  # an empty one is of a journal that was repaired since
            sizes[int(match.group(1))] = entry.file_size
    chosen = _covering(sizes, size, name)
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda offset: _read(client, run, segment_path(offset)), chosen))
    journal = b""
    for offset, part in zip(chosen, parts, strict=True):
        if offset > len(journal):
            raise _gap(len(journal), name)
        journal += part[len(journal) - offset :]
    return journal


def _covering(sizes: Mapping[int, int], size: int, name: str) -> list[int]:
    """Return the fewest segments, by offset, that hold all bytes: up to the last one's end, and at least `size`."""
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
        f"the journal of {name!r} in MLflow lacks the segment {segment_path(offset)}; run its sweep once more with "
        "--resume, or report on its directory"
    )


def _read(client: Any, run: str, path: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run, path, folder)).read_bytes()


def _read_metadata(client: Any, run: str, name: str) -> bytes:
    try:
        return _read(client, run, STUDY)
    except _mlflow_errors() as error:
        raise MlflowSourceError(
            f"the run of {name!r} in MLflow has no {STUDY}; it comes within a minute of a study's start, "
            "or with its --resume"
        ) from error


def _published_crops(journal: bytes, name: str) -> Iterator[FilesPublished]:
    """Yield the crops that the journal says were uploaded; MlflowSourceError if it cannot be read."""
    for line in journal.splitlines():
        if b'"files_published"' not in line:
            continue
        try:
            event = read_entry(line).event
        except EventError as error:
            raise MlflowSourceError(f"the journal of {name!r} in MLflow cannot be read: {error}") from None
        if isinstance(event, FilesPublished) and event.folder.startswith("samples/"):
            yield event


def _fetch_crops(client: Any, parent: Any, crops: Sequence[FilesPublished], into: Path) -> None:
    """Put crops where the journal has them; missing ones are left out, as in a report."""
    runs = {trial: _run_of(client, parent, trial) for trial in {event.trial for event in crops}}
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda event: _fetch_folder(client, runs[event.trial], event, into), crops))


def _run_of(client: Any, parent: Any, trial: int | None) -> str | None:
    """Return the id of a trial's run, or of the study's for None; None if a trial has no run."""
    if trial is None:
        return str(parent.info.run_id)
    study = parent.data.tags["aesop.study"]
    query = f"tags.`aesop.study` = '{study}' and tags.`aesop.part` = '{trial_part(trial)}'"
    found = client.search_runs([parent.info.experiment_id], query, max_results=1)
    return found[0].info.run_id if found else None


def _fetch_folder(client: Any, run: str | None, crops: FilesPublished, into: Path) -> None:
    if run is None:
        return
    with tempfile.TemporaryDirectory() as aside:
        try:
            fetched = Path(client.download_artifacts(run, crops.folder, aside))
        except _mlflow_errors():
            return
        for path in crops.paths:
            source, target = fetched / Path(path).name, (into / path).resolve()
            # The journal comes from a server: its paths may not lead out of the directory, nor replace other files.
            if path.endswith(".png") and source.is_file() and target.is_relative_to(into.resolve()):
                write_atomically(target, source.read_bytes())
