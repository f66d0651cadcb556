"""Export of a journal to MLflow: one parent run a study, a child a trial, written by the driver alone.

A thread follows the journal and keeps the byte offset that MLflow has reached. While the server is away, the study goes
on, and the rest is sent later, in order. What is sent twice (after a crash between sending and saving the offset) is
stored once: metrics carry the time of their event, runs and models are looked up before they are made, files are
replaced.

The journal is uploaded, too, in segments named by their byte offset; `study/tracking/download.py` puts them together.
"""

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from study.config import digest
from study.record.entries import Entry
from study.record.journal import is_line_end, read_entries
from study.record.metadata import read_metadata
from study.record.paths import STUDY, RunDirectory
from study.record.state import Published
from study.tracking.address import public_uri, without_secrets
from study.tracking.client import connect, segment_path
from study.tracking.cursor import Cursor, load_cursor, save_cursor
from study.tracking.runs import deletion
from study.tracking.translation import Sender

log = logging.getLogger(__name__)

_BATCH_SIZE = 10_000  # metrics, parameters and tags
_SEGMENT_SECONDS = 60.0
_MAX_TRIES = 10


@dataclass
class _Failures:
    """Whether the present failure was logged, and how often the server refused the event at an offset."""

    logged: bool = False
    offset: int = -1
    tries: int = 0


class Exporter:
    """Follows a journal into MLflow, in a thread of its own."""

    def __init__(self, run_dir: Path, uri: str, *, wait_seconds: float = 1.0) -> None:
        """Set up; nothing is sent before `start`.

        Args:
            run_dir: holds `study.json` and `journal.jsonl`; gets `mlflow.json`, the cursor.
            uri: MLflow's tracking URI.
            wait_seconds: between two looks for new events; after a failure ten times that.
        """
        self._run_dir, self._uri, self._wait = RunDirectory(run_dir), uri, wait_seconds
        self._study = read_metadata(run_dir)
        self._sender: Sender | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)
        self._failures = _Failures()
        self._copied_at = self._moved_at = time.monotonic()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self, timeout: float = 60.0) -> int:
        """Send the rest and stop; returns the number of events that were not sent and wait for the next start.

        Args:
            timeout: seconds to wait without progress.
        """
        self._moved_at = time.monotonic()
        self._stop.set()
        while self._thread.is_alive() and time.monotonic() < self._moved_at + timeout:
            self._thread.join(0.1)
        return sum(1 for _ in read_entries(self._run_dir.journal, self._cursor().offset))

    def _follow(self) -> None:
        while True:
            last_round = self._stop.is_set()
            try:
                sender = self._open()
                self._send_all(sender)
                if last_round or time.monotonic() >= self._copied_at + _SEGMENT_SECONDS:
                    self._copy_journal(sender)
                wait, self._failures.logged = self._wait, False
            except Exception as error:
                self._log_once(error)
                self._sender = None  # rewind to the saved cursor: later events may not have been stored
                wait = 10 * self._wait
            if last_round:
                return
            self._stop.wait(wait)

    def _log_once(self, error: Exception) -> None:
        if not self._failures.logged:
            log.warning(
                "MLflow (%s) cannot be written: %s. The study goes on; what is missing is sent once that is possible.",
                public_uri(self._uri),
                self._deletion() or without_secrets(str(error), self._uri),
            )
        self._failures.logged = True

    def _deletion(self) -> str | None:
        """Return what of the study was deleted in MLflow, and the remedy; None if nothing was, or it is away."""
        with suppress(Exception):
            return deletion(connect(self._uri), self._study, self._run_dir.cursor)
        return None

    def _open(self) -> Sender:
        if self._sender is None:
            client, cursor = connect(self._uri), self._cursor()
            self._sender = Sender(client, self._run_dir.root, self._study, cursor, self._artifact_location())
        return self._sender

    def _cursor(self) -> Cursor:
        """Return the saved cursor; a new one where it is of another journal than this one."""
        cursor, journal = load_cursor(self._run_dir.cursor, self._uri), self._run_dir.journal
        known = is_line_end(journal, cursor.offset) and is_line_end(journal, cursor.copied)
        return cursor if known else Cursor(cursor.server)

    def _send_all(self, sender: Sender) -> None:
        for entry, offset in read_entries(self._run_dir.journal, sender.cursor.offset):
            if isinstance(entry.event, Published):
                self._flush(sender)
                self._publish(sender, entry)
                sender.cursor.offset = offset
                self._flush(sender)
            else:
                sender.dispatch(entry)
                sender.cursor.offset = offset
                if sender.waiting >= _BATCH_SIZE:
                    self._flush(sender)
        self._flush(sender)

    def _flush(self, sender: Sender) -> None:
        """Send what is gathered, then save the cursor."""
        sender.flush()
        if self._run_dir.root.is_dir():  # else it was moved; a new one here would be taken for the study's
            save_cursor(self._run_dir.cursor, sender.cursor)
        sender.runs.trust_cursor()
        self._moved_at = time.monotonic()

    def _publish(self, sender: Sender, entry: Entry) -> None:
        """Send files or a model; leave them out once a server that answers has refused them `_MAX_TRIES` times."""
        try:
            sender.dispatch(entry)
        except Exception as error:
            if not sender.is_connected():
                raise
            failures, offset = self._failures, sender.cursor.offset
            failures.tries = failures.tries + 1 if offset == failures.offset else 1
            failures.offset = offset
            if failures.tries < _MAX_TRIES:
                raise
            sender.leave_out(entry, without_secrets(str(error), self._uri))

    def _copy_journal(self, sender: Sender) -> None:
        """Upload the part of the journal that was exported since the last time, and `study.json` if it changed."""
        cursor, client = sender.cursor, sender.client
        if cursor.parent is None:
            return
        metadata = self._run_dir.study.read_text()
        if cursor.metadata != digest(metadata):
            client.log_text(cursor.parent, metadata, STUDY)
            cursor.metadata = digest(metadata)
        if cursor.copied == 0:  # segments of a former journal would be mixed with those of this one
            for former in client.list_artifacts(cursor.parent, Path(segment_path(0)).parent.name):
                client.log_text(cursor.parent, "", former.path)
        if cursor.offset > cursor.copied:
            with open(self._run_dir.journal, "rb") as file:
                file.seek(cursor.copied)
                segment = file.read(cursor.offset - cursor.copied)
            client.log_text(cursor.parent, segment.decode(), segment_path(cursor.copied))
            cursor.copied = cursor.offset
            client.set_tag(cursor.parent, "journal.bytes", str(cursor.copied))
        save_cursor(self._run_dir.cursor, cursor)
        self._copied_at = self._moved_at = time.monotonic()

    def _artifact_location(self) -> str | None:
        """Return a folder beside the study for an MLflow database; None for a server, which has its own."""
        if self._uri.startswith(("http://", "https://")):
            return None
        return (self._run_dir.root.resolve().parent / "mlartifacts" / self._study.name).as_uri()
