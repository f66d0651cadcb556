"""A driver's run in the journal and in MLflow: begun, and ended whatever happens, at the latest by the next look."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from study.files import StorageError
from study.record.directory import died, sole_driver
from study.record.events import StudyStateChanged
from study.record.journal import Journal
from study.record.paths import RunDirectory
from study.record.state import Recorder
from study.tracking.client import default_uri
from study.tracking.cursor import load_cursor
from study.tracking.exporter import Exporter

_LOOK_SECONDS = 15.0


class Session:
    """Context in which a study is RUNNING; at its end the study is INTERRUPTED, unless `COMPLETE` was recorded.

    Attributes:
        unsent: number of events that were not sent to MLflow; known after the context.
    """

    def __init__(self, output: Path, recorder: Recorder, uri: str) -> None:
        """Set up.

        Args:
            output: the study's directory.
            recorder: of its journal.
            uri: MLflow's tracking URI.
        """
        self.unsent = 0
        self._recorder, self._exporter = recorder, Exporter(output, uri)

    def __enter__(self) -> "Session":
        self._recorder.add(StudyStateChanged(state="RUNNING"))
        self._exporter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            record_interruption(self._recorder)
        finally:
            self.unsent = self._exporter.close()


def record_interruption(recorder: Recorder) -> None:
    """Record that a study that is RUNNING is INTERRUPTED; no effect on a full disk."""
    if recorder.record.state == "RUNNING":
        with suppress(StorageError):
            recorder.add(StudyStateChanged(state="INTERRUPTED"))


def end_dead_run(run_dir: Path) -> None:
    """Record the end of a study whose driver died, in the journal and in the MLflow that has the study.

    No effect while a driver runs, after one that ended in order, and where files cannot be written or read. MLflow's
    address is not stored, for it may hold a password: it is the database beside the run directory, or
    `MLFLOW_TRACKING_URI`, if one of them has the study; else `--resume` sends the rest.
    """
    if not died(run_dir):
        return
    with suppress(OSError, ValueError), sole_driver(run_dir):
        record_interruption(Recorder(Journal(RunDirectory(run_dir).journal)))
        for uri in (default_uri(run_dir), os.environ.get("MLFLOW_TRACKING_URI", "")):
            if load_cursor(RunDirectory(run_dir).cursor, uri).offset > 0:
                exporter = Exporter(run_dir, uri)
                exporter.start()
                exporter.close(_LOOK_SECONDS)
