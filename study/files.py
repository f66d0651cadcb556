"""Files that are either whole or absent, written aside and renamed."""

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
    """A file could not be written (disk full, quota, read-only). What was there before is untouched."""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that there is no space left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step, surviving a crash at any moment.

    Raises:
        StorageError: the file system refused; the old file is still whole and nothing half-written is left.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):  # nothing to remove where not even the folder could be made
            aside.unlink()
        raise StorageError(error.errno, _explain(error, path, len(content)), str(path)) from error


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Keep the other processes of this machine out; the system takes the lock back from a holder who dies.

    A file system without locks goes without.
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
        return (
            f"no space left for {size / 2**20:.1f} MiB; what was saved before is whole: free some space and start again"
        )
    return f"could not write ({error.strerror}); check the directory's permissions"
