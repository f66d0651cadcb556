"""How much of a study's journal MLflow has, kept on disk so that a driver that was killed continues from there."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from study.config import digest
from study.files import write_json


@dataclass
class Cursor:
    """What MLflow has of a study.

    Attributes:
        server: hash of MLflow's address; the address itself may hold a password.
        offset: the journal's events up to this byte are in MLflow.
        copied: the journal's bytes up to this one are in MLflow as artifacts.
        metadata: hash of the `study.json` that is in MLflow.
        experiment, parent: their ids, once they are known.
        runs: ids of the trials' runs, by number.
        unfinished: numbers of the trials that have not ended.
        front: by trial number, how many of its points and interpolations are on the front.
        model: name of the registered model, once it is known.
    """

    server: str
    offset: int = 0
    copied: int = 0
    metadata: str | None = None
    experiment: str | None = None
    parent: str | None = None
    runs: dict[str, str] = field(default_factory=dict)
    unfinished: list[int] = field(default_factory=list)
    front: dict[str, list[int]] = field(default_factory=dict)
    model: str | None = None

    @property
    def is_new(self) -> bool:
        """Whether it lacks even the study's run."""
        return self.offset == 0 and self.parent is None


def load_cursor(path: Path, uri: str) -> Cursor:
    """Read the cursor of an MLflow server; a new one if there is none, or if it belongs to another server."""
    server = digest(uri)
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["server"] == server:
            # An older version lacks fields: what they stand for is sent again, and stored once.
            return Cursor(**{name: stored[name] for name in Cursor.__dataclass_fields__ if name in stored})
    return Cursor(server)


def save_cursor(path: Path, cursor: Cursor) -> None:
    """Write the cursor; StorageError if the file system refuses."""
    write_json(path, asdict(cursor))
