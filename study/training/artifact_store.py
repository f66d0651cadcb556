"""Store finished artifacts in a folder that all nodes share, or in an object store with a local copy.

An artifact is complete or absent: `complete.json` lists its files with their sha256, and an artifact without it is
absent. In a folder, the artifact's directory is renamed into place in one step. Object stores cannot rename: there
`complete.json` is written last. If two processes publish one artifact, the second discards its own copy, which is
identical. `verify` compares the files with their sha256 before a job uses them.
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
from study.files import DamagedError, StorageError, file_lock, write_atomically, write_json
from study.training.checkpoints import previous_checkpoint

CHECKPOINT = "checkpoint.pt"
_CHECKPOINTS = (CHECKPOINT, previous_checkpoint(Path(CHECKPOINT)).name)
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
        """Return whether an artifact is finished; its files may be damaged (`verify`)."""
        return (self.folder / key / MANIFEST).is_file()

    def verify(self, key: str) -> bool:
        """Return whether an artifact is finished, after a comparison of its files with their sha256.

        Raises:
            DamagedError: a file is not what was stored, or is missing.
            StorageError: the storage refused to read a file.
        """
        place = self.folder / key
        if not place.exists():
            return False
        _check_files(place)
        return True

    def remove(self, key: str) -> None:
        """Remove an artifact that is damaged."""
        _discard(self.folder / key)

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
        write_json(partial / MANIFEST, _digests(partial))
        try:
            _move(partial, final)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise StorageError(error.errno, f"could not put the artifact in place ({error})", str(final)) from error
            shutil.rmtree(partial, ignore_errors=True)  # another node, which our lock does not reach, was first
        for name in _CHECKPOINTS:
            (final / name).unlink(missing_ok=True)

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

    def verify(self, key: str) -> bool:
        """Return whether an artifact is finished; its files are copied here and compared; errors as above."""
        if not self.has(key):
            return False
        self.open(key)
        return True

    def remove(self, key: str) -> None:
        """Remove an artifact that is damaged, locally and, by its manifest, in the storage."""
        super().remove(key)
        self._remove(f"{key}/{MANIFEST}")

    def open(self, key: str) -> Path:
        """Return the local directory of a finished artifact, copied unless an intact copy is there.

        Raises:
            DamagedError: a file in the storage is not what was stored.
            StorageError: the storage refused.
        """
        final = self.folder / key
        with self.lock(f"copy-{key}"):
            try:
                intact = super().verify(key)
            except DamagedError:
                intact = False
            if not intact:
                _discard(final)
                self._download(key, final)
        return final

    def partial_dir(self, key: str) -> Path:
        """Return the local directory of an unfinished artifact, with the storage's checkpoints and no others."""
        place = super().partial_dir(key)
        for name in _CHECKPOINTS:
            remote = f"{PARTIAL}/{key}/{name}"
            if self._exists(remote):
                write_atomically(place / name, self._read(remote))
            else:
                (place / name).unlink(missing_ok=True)
        return place

    def checkpoint_saved(self, key: str) -> None:
        """Upload the checkpoint, so that any node can continue from it; the one before stays in the storage."""
        last, before = (f"{PARTIAL}/{key}/{name}" for name in _CHECKPOINTS)
        if self._exists(last):
            with self._explained(before, "written"):
                self._storage.copy_file(f"{self._root}/{last}", f"{self._root}/{before}")
        self._write(last, (super().partial_dir(key) / CHECKPOINT).read_bytes())

    def publish(self, key: str) -> None:
        """Upload the files of `partial_dir`, the manifest last."""
        place = super().partial_dir(key)
        if not self._exists(f"{key}/{MANIFEST}"):
            digests = _digests(place)
            for name in digests:
                self._write(f"{key}/{name}", (place / name).read_bytes())
            self._write(f"{key}/{MANIFEST}", json.dumps(digests).encode())
        for name in _CHECKPOINTS:
            self._remove(f"{PARTIAL}/{key}/{name}")
        shutil.rmtree(place)  # `open` downloads and verifies the stored files

    def _download(self, key: str, final: Path) -> None:
        arriving = self.folder / PARTIAL / f"{key}.arriving"
        shutil.rmtree(arriving, ignore_errors=True)  # left by a killed process; we hold the lock
        manifest = self._read(f"{key}/{MANIFEST}")
        for name in _listed(manifest, self._at(key)):
            if self._exists(f"{key}/{name}"):
                write_atomically(arriving / name, self._read(f"{key}/{name}"))
        write_atomically(arriving / MANIFEST, manifest)
        _check_files(arriving, self._at(key))
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


def _digests(place: Path) -> dict[str, str]:
    """Return the sha256 of each file of an artifact, by name."""
    files = sorted(path for path in place.iterdir() if path.name not in (*_CHECKPOINTS, MANIFEST))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _listed(manifest: bytes, shown: str) -> dict[str, str]:
    """Return the digests in a manifest; DamagedError if it is none, or names a file outside the artifact."""
    try:
        digests: dict[str, str] = json.loads(manifest)
        inside = isinstance(digests, dict) and bool(digests) and all(name == Path(name).name for name in digests)
    except (ValueError, TypeError, RecursionError):
        inside = False
    if not inside:
        raise DamagedError(f"the artifact {shown} is damaged: its {MANIFEST} is no list of its files")
    return digests


def _check_files(place: Path, shown: str = "") -> None:
    """Raise DamagedError, naming artifact and file, unless the files in a directory are those of its manifest."""
    shown = shown or str(place)
    name = MANIFEST
    try:
        for name, digest in _listed((place / MANIFEST).read_bytes(), shown).items():
            if hashlib.sha256((place / name).read_bytes()).hexdigest() != digest:
                raise DamagedError(f"the artifact {shown} is damaged: {name} is not what was stored")
    except FileNotFoundError:
        raise DamagedError(f"the artifact {shown} is damaged, or of an earlier version: {name} is missing") from None


def _discard(place: Path) -> None:
    """Remove a directory; other processes see it whole or not at all."""
    aside = place.with_name(f".{place.name}.{os.getpid()}.removed")
    with suppress(FileNotFoundError):
        os.rename(place, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _move(partial: Path, final: Path) -> None:
    """Rename a directory; between two file systems, copy its files beside the target first."""
    try:
        os.rename(partial, final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = final.with_name(f".{final.name}.{os.getpid()}.tmp")
        for name in (*_digests(partial), MANIFEST):
            write_atomically(beside / name, (partial / name).read_bytes())
        os.rename(beside, final)
        shutil.rmtree(partial, ignore_errors=True)


def open_artifacts(place: str) -> ArtifactFolder:
    """Return the store at a path or URI; RemoteError if a URI's storage cannot be reached."""
    return RemoteArtifacts(place) if is_uri(place) else ArtifactFolder(Path(place))
