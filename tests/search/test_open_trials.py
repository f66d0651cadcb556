"""Optuna's database follows from the journal: gone, damaged, older or newer, it is rebuilt with the same trials."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from study.config import to_dict
from study.config.recipes import aesop
from study.files import StorageError
from study.record.events import TrialEnded, TrialStarted
from study.record.metadata import RunDirectoryError
from study.record.paths import RunDirectory
from study.record.state import StudyRecord
from study.search import database as database_module
from study.search.database import open_database
from study.search.open_trials import open_trials
from study.search.spaces import load_space
from study.search.trials import Asked, TrialSource

BASE = aesop("tiny")
QUICK = load_space("quick")
Damage = Callable[[Path], None]


def open_source(folder: Path, sampler: str = "tpe") -> TrialSource:
    return TrialSource(folder / "optuna.db", "mine", ["maximize", "minimize"], QUICK, BASE, seed=0, sampler=sampler)


def tell(source: TrialSource, ended: TrialEnded) -> None:
    source.tell(ended.trial, ended.state, (20.0 + ended.trial, 0.5), ended.cause)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, no_flushing: None) -> tuple[Path, list[Asked]]:
    """A database with five trials: COMPLETE, PRUNED, FAILED and two that run."""
    folder = tmp_path_factory.mktemp("drawn")
    source = open_source(folder)
    asked = [source.ask() for _ in range(5)]
    for ended in record_of(asked).ends.values():
        tell(source, ended)
    return folder, asked


@pytest.fixture
def folder(drawn: tuple[Path, list[Asked]], tmp_path: Path) -> Path:
    shutil.copy(drawn[0] / "optuna.db", tmp_path)
    return tmp_path


def record_of(asked: list[Asked], ends: int = 3) -> StudyRecord:
    record = StudyRecord()
    for each in asked:
        config = to_dict(each.config)
        record.apply(TrialStarted(trial=each.number, config=config, params=each.params, upstream={}))
    for number, state in enumerate(("COMPLETE", "PRUNED", "FAILED")[:ends]):
        record.apply(TrialEnded(trial=number, state=state, cause=None if number == 0 else "why"))  # type: ignore[arg-type]
    return record


def contents(folder: Path) -> list[tuple[object, ...]]:
    storage = open_database(folder / "optuna.db")
    trials = optuna.load_study(study_name="mine", storage=storage).trials
    return [(trial.number, trial.state, trial.params, trial.values, trial.user_attrs.get("cause")) for trial in trials]


def cut_in_half(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def restore_older(database: Path) -> None:
    """As of a copy that was made when one trial had been drawn."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("delete from trials where number > 1")
        connection.execute("update trials set state = 'WAITING' where number = 1")


def change_a_state(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update trials set state = 'COMPLETE' where number = 1")


def run_sql(statement: str) -> Damage:
    def damage(database: Path) -> None:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(statement)

    return damage


def test_a_database_that_agrees_is_left_alone(folder: Path, drawn: tuple[Path, list[Asked]]) -> None:
    record = record_of(drawn[1])
    source, note = open_trials(lambda: open_source(folder), RunDirectory(folder), record, tell)
    assert note is None
    assert source.count == 5
    assert [path.name for path in folder.iterdir()] == ["optuna.db"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "it lacks trial 0; rebuilt from the journal"),
        (lambda database: database.write_bytes(b""), "it lacks trial 0"),
        (lambda database: database.write_bytes(b"hello" * 1000), "is no database of Optuna, or is damaged"),
        (cut_in_half, "is damaged"),
        (restore_older, "it lacks trial 1"),
        (change_a_state, "its trial 1 is COMPLETE, the journal's PRUNED"),
        (run_sql("alter table trials rename to others"), "is no database of Optuna, or is damaged"),
        (run_sql("update trial_params set distribution_json = '{'"), "is no database of Optuna, or is damaged"),
        (run_sql("update trial_params set distribution_json = '[]'"), "is no database of Optuna, or is damaged"),
        (run_sql("update trial_params set param_value = 'x'"), "is no database of Optuna, or is damaged"),
        (run_sql("update trial_user_attributes set value_json = '{'"), "is no database of Optuna, or is damaged"),
        (run_sql("update trials set state = 'ODD'"), "is no database of Optuna, or is damaged"),
        (
            run_sql("update trials set number = 9223372036854775807 where number = 1"),
            "its trial 1 has other parameters",
        ),
        (run_sql("update trials set datetime_start = 'never'"), "is no database of Optuna, or is damaged"),
        (run_sql("update study_directions set direction = 'ODD'"), "is no database of Optuna, or is damaged"),
    ],
)
def test_a_database_that_does_not_agree_is_rebuilt(
    folder: Path, drawn: tuple[Path, list[Asked]], damage: Damage, said: str
) -> None:
    before = contents(folder)
    damage(folder / "optuna.db")
    source, note = open_trials(lambda: open_source(folder), RunDirectory(folder), record_of(drawn[1]), tell)
    assert note is not None
    assert said in note
    assert contents(folder) == before
    assert source.unfinished() == drawn[1][3:]
    assert source.count == 5
    source.ask()
    again, note = open_trials(lambda: open_source(folder), RunDirectory(folder), record_of(drawn[1]), tell)
    assert note is None
    assert again.count == 6


def test_trials_that_only_the_database_knows_run_again(folder: Path, drawn: tuple[Path, list[Asked]]) -> None:
    """The journal was cut: it has the first two trials, and the end of the first."""
    record = record_of(drawn[1][:2], ends=1)
    source, note = open_trials(lambda: open_source(folder), RunDirectory(folder), record, tell)
    assert note is not None
    assert "its trial 1 is PRUNED, the journal's RUNNING" in note
    assert [asked.config for asked in source.unfinished()] == [asked.config for asked in drawn[1][1:]]
    assert [asked.params for asked in source.unfinished()] == [asked.params for asked in drawn[1][1:]]
    assert source.count == 5


def test_files_of_a_trial_that_nothing_knows_are_not_used(folder: Path, drawn: tuple[Path, list[Asked]]) -> None:
    files = RunDirectory(folder)
    files.trial(7).root.mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match=r"trials/0007: neither journal\.jsonl nor optuna\.db has the param"):
        open_trials(lambda: open_source(folder), files, record_of(drawn[1]), tell)
    files.trial(7).root.rename(folder / "elsewhere")  # the remedy
    open_trials(lambda: open_source(folder), files, record_of(drawn[1]), tell)


def test_a_sequence_goes_on_behind_the_trials_that_it_gave(tmp_path: Path) -> None:
    source = open_source(tmp_path, "qmc")
    asked = []
    for _ in range(6):
        asked.append(source.ask())
        tell(source, TrialEnded(trial=asked[-1].number, state="COMPLETE"))
    record = record_of(asked, ends=0)
    for each in asked:
        record.apply(TrialEnded(trial=each.number, state="COMPLETE"))
    expected = source.ask().params
    (tmp_path / "optuna.db").unlink()
    rebuilt, _ = open_trials(lambda: open_source(tmp_path, "qmc"), RunDirectory(tmp_path), record, tell)
    assert rebuilt.ask().params == expected


@pytest.mark.parametrize(("wait", "halts"), [(60.0, False), (0.2, True)])
def test_a_reader_s_lock_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch, wait: float, halts: bool) -> None:
    monkeypatch.setattr(database_module, "LOCK_SECONDS", wait)
    source = open_source(folder)
    locked, release = threading.Event(), threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(folder / "optuna.db", isolation_level=None)) as connection:
            connection.execute("begin")
            connection.execute("select * from trials").fetchone()
            locked.set()
            release.wait(30)

    reader = threading.Thread(target=read)
    reader.start()
    locked.wait(30)
    try:
        if halts:
            with pytest.raises(StorageError, match="another program has locked Optuna's database for 0 s; end it"):
                source.tell(3, "PRUNED")
        else:
            threading.Timer(6.0, release.set).start()  # longer than SQLite's own five seconds
            began = time.monotonic()
            source.tell(3, "PRUNED")
            assert time.monotonic() - began > 5
    finally:
        release.set()
        reader.join()
