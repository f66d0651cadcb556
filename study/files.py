"""Write files atomically (a temporary file, then a rename), and lock them."""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class StorageError(OSError):
    """A file could not be written (disk full, quota, read-only); the old file is unchanged."""


class DamagedError(ValueError):
    """A stored file is not what was written: it was cut short, emptied or changed."""


def storage_fault(error: BaseException | None) -> OSError | None:
    """Return the error of the file system (full, read-only, input/output, ...) that caused an error, None without one.

    Errors of the system have a number; Pillow's errors about a file's content are OSErrors without one.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def check_writable(path: Path, option: str) -> None:
    """Check, before any work, that a file or folder can be written or made; nothing is written.

    Raises:
        StorageError: names the option, the path and the cause.
    """
    try:
        place = path.parent if path.is_file() else path  # a file is replaced
        while not place.exists():
            place = place.parent
        code = 0 if place.is_dir() else errno.ENOTDIR
    except OSError as error:  # a name that is too long, a folder that may not be entered
        place, code = path, error.errno or errno.EIO
    if code or not os.access(place, os.W_OK):
        cause = os.strerror(code) if code else f"{place} is read-only, or not yours"
        raise StorageError(code or errno.EACCES, f"{option} cannot be written: {cause}; name another", str(path))


def write_atomically(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """Replace a file's content in one step: after a crash, the file has either its old or its new content.

    Args:
        path: of the file; its folder is created.
        content: new.
        keep: where the old file is moved, in the same folder; after a crash in between, it is there alone.

    Raises:
        StorageError: the file could not be written; the old file is unchanged and no temporary file is left.
    """
    # A digest, since the name may already have the 255 bytes that a name may have.
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # it does not exist if the folder could not be made
            temporary.unlink()
        raise StorageError(error.errno, _explain(error, path, len(content)), str(path)) from error


@contextmanager
def file_lock(lock: Path) -> Iterator[None]:
    """Hold a lock against other processes of this machine; the system releases the lock of a process that dies.

    On a file system without locks, there is no exclusion.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield


def write_json(path: Path, values: Any) -> None:
    """Write plain JSON types atomically; StorageError as `write_atomically`."""
    write_atomically(path, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())


def write_checked_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object with a further entry, its SHA-256; StorageError as `write_atomically`."""
    write_json(path, {**values, "sha256": _json_digest(values)})


def read_checked_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    """Read a JSON object that `write_checked_json` wrote, without the SHA-256.

    Args:
        path: of the file.
        required: whether an object without a SHA-256 is refused: files that people made have none.

    Raises:
        DamagedError: it is no JSON object, or does not match its SHA-256.
        OSError: the file system refused to read it.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        written = values.pop("sha256", None)
        intact = written == _json_digest(values) or (written is None and not required)
    except (ValueError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise DamagedError(f"{path} is damaged, or was written by an earlier version: it does not match its SHA-256")
    return values


def _json_digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _explain(error: OSError, path: Path, size: int) -> str:
    if error.errno in _FULL:
        return f"no space left for {size / 2**20:.1f} MiB; earlier files are intact: free some space and start again"
    return f"could not write ({error.strerror}); earlier files are intact: check the file system and its permissions"
