"""How much of a study's journal MLflow has, kept on disk so that a driver that was killed continues from there."""

import logging
from dataclasses import asdict, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from study.config import digest
from study.files import write_json
from study.record.values import Count

log = logging.getLogger(__name__)


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
    offset: Count = 0
    copied: Count = 0
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


_ADAPTER: TypeAdapter[Cursor] = TypeAdapter(Cursor)


def load_cursor(path: Path, uri: str) -> Cursor:
    """Read the cursor of an MLflow server; a new one if there is none, or it is damaged or of another server.

    With a new one, everything is sent again, and stored once.
    """
    server = digest(uri)
    if path.exists():
        try:
            stored = _ADAPTER.validate_json(path.read_bytes(), strict=True)
        except ValidationError:
            log.warning("%s is damaged and begun anew: everything is sent to MLflow again, and stored once.", path)
        else:
            if stored.server == server:
                return stored
    return Cursor(server)


def save_cursor(path: Path, cursor: Cursor) -> None:
    """Write the cursor; StorageError if the file system refuses."""
    write_json(path, asdict(cursor))
