"""Where finished artifacts are: a folder that every node sees, or an object store with a copy of what is used here.

An artifact is there whole or not at all. In a folder its directory is renamed into place, in one step. Object stores
cannot rename; there `complete.json`, which lists the files by their sha256, is written after all others, and what has
none is not there. Whoever comes second finds that it is there and drops its own, which is the same.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from study.data.remote import cache_folder, connect, is_uri
from study.files import StorageError, file_lock, write_atomically

CHECKPOINT = "checkpoint.pt"
MANIFEST = "complete.json"
PARTIAL = ".partial"

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


class ArtifactFolder:
    """Artifacts in a folder of a local or network file system.

    Attributes:
        folder: where finished artifacts are, by key.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made when something is stored."""
        self.folder = folder

    def __str__(self) -> str:
        """The place, as it was given."""
        return str(self.folder)

    def has(self, key: str) -> bool:
        """Whether an artifact is finished."""
        return (self.folder / key).exists()

    def open(self, key: str) -> Path:
        """The directory of a finished artifact, on this machine."""
        return self.folder / key

    def workplace(self, key: str) -> Path:
        """The directory in which an artifact grows, with the checkpoint that was left, if there is one."""
        return self.folder / PARTIAL / key

    def saved(self, key: str) -> None:
        """Take note that a checkpoint was written into a workplace; StorageError if it cannot be kept."""

    def publish(self, key: str) -> None:
        """Make what lies in a workplace the finished artifact, at once and whole; StorageError if that fails."""
        partial, final = self.workplace(key), self.folder / key
        try:
            os.rename(partial, final)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise StorageError(error.errno, f"could not put the artifact in place ({error})", str(final)) from error
            shutil.rmtree(partial, ignore_errors=True)  # another node, beyond the reach of our lock, was first
        (final / CHECKPOINT).unlink(missing_ok=True)

    def only_one(self, key: str) -> AbstractContextManager[None]:
        """Keep the other processes of this machine from an artifact; between nodes `cluster/leases.py` does it."""
        return file_lock(self.folder / ".locks" / key)


class RemoteArtifacts(ArtifactFolder):
    """Artifacts in an object store, or on whatever else pyarrow.fs reaches; `folder` is this machine's copy.

    Raises:
        RemoteError: the storage cannot be reached.
    """

    def __init__(self, uri: str) -> None:
        """Connect to the storage."""
        super().__init__(cache_folder() / "artifacts" / hashlib.sha256(uri.encode()).hexdigest()[:16])
        self._uri = uri.rstrip("/")
        self._storage, self._root = connect(self._uri)

    def __str__(self) -> str:
        """The URI."""
        return self._uri

    def has(self, key: str) -> bool:
        """Whether an artifact is finished, here or in the storage."""
        return super().has(key) or self._is_there(f"{key}/{MANIFEST}")

    def open(self, key: str) -> Path:
        """The directory of a finished artifact, copied here once; StorageError if what came is not what was stored."""
        final = self.folder / key
        if not final.exists():
            with self.only_one(f"copy-{key}"):
                if not final.exists():
                    self._bring(key, final)
        return final

    def workplace(self, key: str) -> Path:
        """A directory of this machine, made to hold the checkpoint that the storage has, and no other."""
        place = super().workplace(key)
        remote = f"{PARTIAL}/{key}/{CHECKPOINT}"
        if self._is_there(remote):
            write_atomically(place / CHECKPOINT, self._read(remote))
        else:
            (place / CHECKPOINT).unlink(missing_ok=True)
        return place

    def saved(self, key: str) -> None:
        """Copy a workplace's checkpoint into the storage, from where any node can go on."""
        self._write(f"{PARTIAL}/{key}/{CHECKPOINT}", (super().workplace(key) / CHECKPOINT).read_bytes())

    def publish(self, key: str) -> None:
        """Copy what lies in a workplace into the storage, its manifest last."""
        place = super().workplace(key)
        files = sorted(path for path in place.iterdir() if path.name != CHECKPOINT)
        if not self._is_there(f"{key}/{MANIFEST}"):
            for path in files:
                self._write(f"{key}/{path.name}", path.read_bytes())
            digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
            self._write(f"{key}/{MANIFEST}", json.dumps(digests).encode())
        self._remove(f"{PARTIAL}/{key}/{CHECKPOINT}")
        shutil.rmtree(place)  # what counts is what the storage has: `open` copies and checks it

    def _bring(self, key: str, final: Path) -> None:
        arriving = self.folder / PARTIAL / f"{key}.arriving"
        shutil.rmtree(arriving, ignore_errors=True)  # what a killed process left; we hold the lock
        arriving.mkdir(parents=True)
        for name, digest in json.loads(self._read(f"{key}/{MANIFEST}")).items():
            if name != Path(name).name:
                raise StorageError(errno.EINVAL, f"{MANIFEST} names a file outside the artifact: {name}", self._at(key))
            content = self._read(f"{key}/{name}")
            if hashlib.sha256(content).hexdigest() != digest:
                raise StorageError(
                    errno.EIO, f"{name} is not what was stored; remove the artifact to train it anew", self._at(key)
                )
            write_atomically(arriving / name, content)
        os.rename(arriving, final)

    def _at(self, name: str) -> str:
        return f"{self._uri}/{name}"

    def _is_there(self, name: str) -> bool:
        with self._explained(name, "asked for"):
            return bool(self._storage.get_file_info(f"{self._root}/{name}").is_file)

    def _read(self, name: str) -> bytes:
        with self._explained(name, "read"), self._storage.open_input_stream(f"{self._root}/{name}") as stream:
            return bytes(stream.read())

    def _write(self, name: str, content: bytes) -> None:
        """Write an object: one request, or an upload that counts only once it is whole."""
        place = f"{self._root}/{name}"
        with self._explained(name, "written"):
            if self._storage.type_name == "local":  # file://, which needs its folders, and could be seen half-written
                write_atomically(Path(place), content)
                return
            with self._storage.open_output_stream(place) as stream:
                stream.write(content)

    def _remove(self, name: str) -> None:
        with suppress(OSError):  # already gone
            self._storage.delete_file(f"{self._root}/{name}")

    @contextmanager
    def _explained(self, name: str, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            number = error.errno or errno.EIO
            raise StorageError(
                number, f"could not be {what} ({error}); check the storage and its credentials", self._at(name)
            ) from error


def open_artifacts(place: str) -> ArtifactFolder:
    """The store at a path or URI; RemoteError where a URI's storage cannot be reached."""
    return RemoteArtifacts(place) if is_uri(place) else ArtifactFolder(Path(place))
