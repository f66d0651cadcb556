"""Write files atomically (a temporary file, then a rename), and lock them."""

import errno
import fcntl
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


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, means that no space is left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step: after a crash, the file has either its old or its new content.

    Raises:
        StorageError: the file could not be written; the old file is unchanged and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
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


def _explain(error: OSError, path: Path, size: int) -> str:
    if error.errno in _FULL:
        return f"no space left for {size / 2**20:.1f} MiB; earlier files are intact: free some space and start again"
    return f"could not write ({error.strerror}); check the directory's permissions"
