"""Store finished artifacts in a folder that all nodes share, or in an object store with a local copy.

An artifact is complete or absent. In a folder, its directory is renamed into place in one step. Object stores cannot
rename: there `complete.json`, which lists the files with their sha256, is written last, and an artifact without it is
absent. If two processes publish one artifact, the second discards its own copy, which is identical.
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
        folder: has one directory for each finished artifact, named by its key.
    """

    def __init__(self, folder: Path) -> None:
        """Set the folder, which is created when something is stored."""
        self.folder = folder

    def __str__(self) -> str:
        """Return the path as given."""
        return str(self.folder)

    def has(self, key: str) -> bool:
        """Return whether an artifact is finished."""
        return (self.folder / key).exists()

    def open(self, key: str) -> Path:
        """Return the local directory of a finished artifact."""
        return self.folder / key

    def partial_dir(self, key: str) -> Path:
        """Return the directory of an unfinished artifact, with its checkpoint if there is one."""
        return self.folder / PARTIAL / key

    def checkpoint_saved(self, key: str) -> None:
        """Do what follows after a checkpoint was written to `partial_dir`: nothing for a folder."""

    def publish(self, key: str) -> None:
        """Move `partial_dir` into place as the finished artifact; StorageError if that fails."""
        partial, final = self.partial_dir(key), self.folder / key
        try:
            os.rename(partial, final)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise StorageError(error.errno, f"could not put the artifact in place ({error})", str(final)) from error
            shutil.rmtree(partial, ignore_errors=True)  # another node, which our lock does not reach, was first
        (final / CHECKPOINT).unlink(missing_ok=True)

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Lock an artifact against other processes of this machine; `cluster/leases.py` does so between nodes."""
        return file_lock(self.folder / ".locks" / key)


class RemoteArtifacts(ArtifactFolder):
    """Artifacts in an object store or another file system of pyarrow.fs; `folder` is the local copy."""

    def __init__(self, uri: str) -> None:
        """Connect to the storage; RemoteError if that fails."""
        super().__init__(cache_folder() / "artifacts" / hashlib.sha256(uri.encode()).hexdigest()[:16])
        self._uri = uri.rstrip("/")
        self._storage, self._root = connect(self._uri)

    def __str__(self) -> str:
        """Return the URI."""
        return self._uri

    def has(self, key: str) -> bool:
        """Return whether an artifact is finished, locally or in the storage."""
        return super().has(key) or self._exists(f"{key}/{MANIFEST}")

    def open(self, key: str) -> Path:
        """Return the local directory of a finished artifact, copied once; StorageError if a checksum does not match."""
        final = self.folder / key
        if not final.exists():
            with self.lock(f"copy-{key}"):
                if not final.exists():
                    self._download(key, final)
        return final

    def partial_dir(self, key: str) -> Path:
        """Return the local directory of an unfinished artifact, with the storage's checkpoint and no other."""
        place = super().partial_dir(key)
        remote = f"{PARTIAL}/{key}/{CHECKPOINT}"
        if self._exists(remote):
            write_atomically(place / CHECKPOINT, self._read(remote))
        else:
            (place / CHECKPOINT).unlink(missing_ok=True)
        return place

    def checkpoint_saved(self, key: str) -> None:
        """Upload the checkpoint, so that any node can continue from it."""
        self._write(f"{PARTIAL}/{key}/{CHECKPOINT}", (super().partial_dir(key) / CHECKPOINT).read_bytes())

    def publish(self, key: str) -> None:
        """Upload the files of `partial_dir`, the manifest last."""
        place = super().partial_dir(key)
        files = sorted(path for path in place.iterdir() if path.name != CHECKPOINT)
        if not self._exists(f"{key}/{MANIFEST}"):
            for path in files:
                self._write(f"{key}/{path.name}", path.read_bytes())
            digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
            self._write(f"{key}/{MANIFEST}", json.dumps(digests).encode())
        self._remove(f"{PARTIAL}/{key}/{CHECKPOINT}")
        shutil.rmtree(place)  # `open` downloads and verifies the stored files

    def _download(self, key: str, final: Path) -> None:
        arriving = self.folder / PARTIAL / f"{key}.arriving"
        shutil.rmtree(arriving, ignore_errors=True)  # left by a killed process; we hold the lock
        arriving.mkdir(parents=True)
        for name, digest in json.loads(self._read(f"{key}/{MANIFEST}")).items():
            if name != Path(name).name:
                raise StorageError(errno.EINVAL, f"{MANIFEST} names a file outside the artifact: {name}", self._at(key))
            content = self._read(f"{key}/{name}")
            if hashlib.sha256(content).hexdigest() != digest:
                raise StorageError(
                    errno.EIO, f"{name} is not what was stored; remove the artifact to train it again", self._at(key)
                )
            write_atomically(arriving / name, content)
        os.rename(arriving, final)

    def _at(self, name: str) -> str:
        return f"{self._uri}/{name}"

    def _exists(self, name: str) -> bool:
        with self._explained(name, "looked up"):
            return bool(self._storage.get_file_info(f"{self._root}/{name}").is_file)

    def _read(self, name: str) -> bytes:
        with self._explained(name, "read"), self._storage.open_input_stream(f"{self._root}/{name}") as stream:
            return bytes(stream.read())

    def _write(self, name: str, content: bytes) -> None:
        """Write an object, in one request or in an upload that becomes visible when it is complete."""
        place = f"{self._root}/{name}"
        with self._explained(name, "written"):
            if self._storage.type_name == "local":  # file:// needs folders, and shows partial files
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
    """Return the store at a path or URI; RemoteError if a URI's storage cannot be reached."""
    return RemoteArtifacts(place) if is_uri(place) else ArtifactFolder(Path(place))
