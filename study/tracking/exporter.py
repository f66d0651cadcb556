"""From the journal to MLflow: one parent run a study, a child a trial, written by the driver alone.

The journal is the cursor. A thread follows it and notes how far MLflow has come; when the server is away, nothing waits
for it, and what it missed is sent later, in order. What is sent twice (a crash between sending and noting) is stored
once: metrics carry the time of their event, runs and models are looked up before they are made, files are replaced.

The journal itself goes there, too, in segments named by their byte offset (`study/tracking/download.py` puts them
together), so that whoever has only the server can make the report.
"""

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

from study.config import digest
from study.record.journal import read_events
from study.tracking.address import public_uri, without_secrets
from study.tracking.client import connect
from study.tracking.cursor import load_cursor, save_cursor
from study.tracking.translation import BARRIERS, Event, Sender

log = logging.getLogger(__name__)

_ENOUGH = 10_000  # metrics, parameters and tags between two notes
_SEGMENT_SECONDS = 60.0
_MOST_TRIES = 10
FACTS, JOURNAL = "study.json", "journal.jsonl"


class Exporter:
    """Follows a journal into MLflow, in a thread of its own."""

    def __init__(self, run_dir: Path, uri: str, *, wait_seconds: float = 1.0) -> None:
        """Set up; nothing is sent before `start`.

        Args:
            run_dir: holds `study.json` and `journal.jsonl`; gets `mlflow.json`, how far MLflow has come.
            uri: MLflow's tracking URI.
            wait_seconds: how often to look for new events; after a failure ten times that.
        """
        self._run_dir, self._uri, self._wait = run_dir, uri, wait_seconds
        self._study = json.loads((run_dir / FACTS).read_text())
        self._notes = run_dir / "mlflow.json"
        self._cursor = load_cursor(self._notes, uri)
        self._client: Any = None
        self._sender: Sender | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)
        self._complained = False
        self._copied_at = time.monotonic()
        self._moved_at = time.monotonic()
        self._refused = (-1, 0)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self, timeout: float = 60.0) -> int:
        """Send what is left and stop; returns how many events could not be sent and wait for the next start.

        Args:
            timeout: how many seconds to wait while nothing moves.
        """
        self._moved_at = time.monotonic()
        self._stop.set()
        while self._thread.is_alive() and time.monotonic() < self._moved_at + timeout:
            self._thread.join(0.1)
        noted = load_cursor(self._notes, self._uri).offset
        return sum(1 for _ in read_events(self._run_dir / JOURNAL, noted))

    def _follow(self) -> None:
        while True:
            last_round = self._stop.is_set()
            try:
                self._send_all()
                if last_round or time.monotonic() >= self._copied_at + _SEGMENT_SECONDS:
                    self._copy_journal()
                wait, self._complained = self._wait, False
            except Exception as error:
                self._complain(error)
                self._forget()
                wait = 10 * self._wait
            if last_round:
                return
            self._stop.wait(wait)

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            log.warning(
                "MLflow (%s) cannot be written: %s. The study goes on; what is missing is sent once it answers.",
                public_uri(self._uri),
                without_secrets(str(error), self._uri),
            )
        self._complained = True

    def _forget(self) -> None:
        """Go back to what is noted on disk: of what came after, nobody knows what has arrived."""
        self._cursor, self._sender = load_cursor(self._notes, self._uri), None

    def _send_all(self) -> None:
        sender = self._open()
        for event, offset in read_events(self._run_dir / JOURNAL, self._cursor.offset):
            if event["event"] in BARRIERS:
                self._flush(sender)
                self._take_in_turn(sender, event)
                self._cursor.offset = offset
                self._flush(sender)
            else:
                sender.take(event)
                self._cursor.offset = offset
                if sender.waiting >= _ENOUGH:
                    self._flush(sender)
        self._flush(sender)

    def _open(self) -> Sender:
        if self._client is None:
            self._client = connect(self._uri)
        if self._sender is None:
            place = self._artifact_location()
            self._sender = Sender(self._client, self._run_dir, self._study, self._cursor, place)
        return self._sender

    def _flush(self, sender: Sender) -> None:
        """Send what is gathered, then note it."""
        sender.flush()
        save_cursor(self._notes, self._cursor)
        sender.runs.in_no_doubt()
        self._moved_at = time.monotonic()

    def _take_in_turn(self, sender: Sender, event: Event) -> None:
        """Send files or a model. What a server that answers has refused again and again shall not hold up the rest."""
        try:
            sender.take(event)
        except Exception as error:
            if not sender.answers():
                raise
            offset, tries = self._refused
            self._refused = (self._cursor.offset, tries + 1 if offset == self._cursor.offset else 1)
            if self._refused[1] < _MOST_TRIES:
                raise
            sender.give_up(event, without_secrets(str(error), self._uri))

    def _copy_journal(self) -> None:
        """Add what MLflow has come to of the journal to the parent's artifacts, and the facts if they changed."""
        cursor, client = self._cursor, self._client
        if cursor.parent is None:
            return
        facts = (self._run_dir / FACTS).read_text()
        if cursor.facts != digest(facts):
            client.log_text(cursor.parent, facts, FACTS)
            cursor.facts = digest(facts)
        if cursor.offset > cursor.copied:
            with open(self._run_dir / JOURNAL, "rb") as file:
                file.seek(cursor.copied)
                segment = file.read(cursor.offset - cursor.copied)
            client.log_text(cursor.parent, segment.decode(), f"journal/{cursor.copied:012d}.jsonl")
            cursor.copied = cursor.offset
            client.set_tag(cursor.parent, "journal.bytes", str(cursor.copied))
        save_cursor(self._notes, cursor)
        self._copied_at = self._moved_at = time.monotonic()

    def _artifact_location(self) -> str | None:
        """Beside the study, where MLflow is a database; a server knows its own place."""
        if self._uri.startswith(("http://", "https://")):
            return None
        return (self._run_dir.resolve().parent / "mlartifacts" / self._study["name"]).as_uri()
