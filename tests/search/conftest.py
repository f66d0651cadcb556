"""Settings of all tests of the search."""

import sqlite3
import warnings
from collections.abc import Iterator

import optuna
import pytest
from sqlalchemy import Engine, event


@pytest.fixture(autouse=True)
def no_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        yield


@pytest.fixture(scope="package", autouse=True)
def no_flushing() -> Iterator[None]:
    """Let SQLite not wait for the disk, which takes most of the time of tests that need not survive a power cut."""

    def relax(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", relax)
    yield
    event.remove(Engine, "connect", relax)
