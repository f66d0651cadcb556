"""How far MLflow has come with a study's journal, noted on disk so that a driver that is killed goes on from there."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from study.config import digest
from study.files import write_json


@dataclass
class Cursor:
    """What MLflow has of a journal.

    Attributes:
        server: hash of MLflow's address. The address may hold a password: only its hash is written down.
        offset: the journal's events up to this byte are in MLflow.
        copied: the journal's bytes up to this one are in MLflow as artifacts.
        facts: hash of the study.json that is in MLflow.
        experiment, parent: their ids, once they are known.
        runs: ids of the trials' runs, by number.
        front: how many points and interpolations of each trial are on the front.
        model: the name of the registered model, once it is known.
    """

    server: str
    offset: int = 0
    copied: int = 0
    facts: str | None = None
    experiment: str | None = None
    parent: str | None = None
    runs: dict[str, str] = field(default_factory=dict)
    front: dict[str, list[int]] = field(default_factory=dict)
    model: str | None = None

    @property
    def is_new(self) -> bool:
        """Whether nothing is known of what the server has."""
        return self.offset == 0 and self.parent is None


def load_cursor(path: Path, uri: str) -> Cursor:
    """Read the notes on an MLflow server; new ones if there are none, or they are of another server."""
    server = digest(uri)
    if path.exists():
        notes = json.loads(path.read_text())
        if notes["server"] == server:
            # Notes of an older version lack what it did not send: it is sent now, and stored once.
            known = {name: notes[name] for name in Cursor.__dataclass_fields__ if name in notes}
            return Cursor(**known)
    return Cursor(server)


def save_cursor(path: Path, cursor: Cursor) -> None:
    """Write the notes; StorageError if the file system refuses."""
    write_json(path, asdict(cursor))
