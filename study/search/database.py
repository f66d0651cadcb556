"""Optuna's database: opened by its path, with its errors in one sentence."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

from study.files import StorageError

LOCK_SECONDS = 60.0
"""How long to wait for another program, such as a dashboard or a backup, that reads the database at that moment."""

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_UNAVAILABLE = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)


class DamagedDatabaseError(ValueError):
    """A file that is no database of Optuna, or no longer; the message names it and the fault."""


def open_database(path: Path | None) -> BaseStorage:
    """Open Optuna's database, or create it; None keeps it in memory.

    Raises:
        DamagedDatabaseError: the file is no such database.
        StorageError: it cannot be read or written, or another program has locked it.
    """
    if path is None:
        return InMemoryStorage()
    with storage_errors(path):
        _check_integrity(path)
        storage = RDBStorage(sqlite_url(path), engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}})
        _check_values(path, storage)
        return storage


def sqlite_url(path: Path) -> str:
    """Return a database's URL for Optuna, whatever characters its path has."""
    url = sqlalchemy.URL.create("sqlite", database=str(path.resolve()))
    # Optuna fills in a template: braces stand for fields of it.
    return url.render_as_string().replace("{", "{{").replace("}", "}}")


@contextmanager
def storage_errors(path: Path | None) -> Iterator[None]:
    """Turn the database's errors into DamagedDatabaseError, or StorageError where the file may be whole."""
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as error:
        reason = _reason(error)
        code = (getattr(reason, "sqlite_errorcode", None) or 0) & 0xFF
        if code in _BUSY:
            raise StorageError(
                errno.EBUSY,
                f"another program has locked Optuna's database for {LOCK_SECONDS:.0f} s; end it, then --resume",
                str(path),
            ) from error
        if code in _UNAVAILABLE:
            number = errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO
            raise StorageError(number, f"Optuna's database cannot be used: {reason}", str(path)) from error
        raise DamagedDatabaseError(f"{path} is no database of Optuna, or is damaged ({reason})") from error


def _check_integrity(path: Path) -> None:
    if not path.exists():
        return
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        connection.close()
    if found != "ok":
        raise DamagedDatabaseError(f"{path} is damaged ({found})")


def _check_values(path: Path, storage: BaseStorage) -> None:
    """Read all that is stored: a whole table may hold values that are none of Optuna's."""
    try:
        for study in storage.get_all_studies():
            storage.get_all_trials(study._study_id, deepcopy=False)
    except (ValueError, LookupError, TypeError) as error:
        raise DamagedDatabaseError(
            f"{path} is no database of Optuna, or is damaged ({type(error).__name__}: {error})"
        ) from error


def _reason(error: BaseException) -> BaseException:
    """Return the error of SQLite behind those of Optuna and SQLAlchemy."""
    while True:
        cause = getattr(error, "orig", None) or error.__cause__
        if cause is None:
            return error
        error = cause
