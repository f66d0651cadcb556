"""Optuna's study opened beside a journal, which is the record: a database that does not agree with it is rebuilt."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from study.record.events import TrialEnded
from study.record.metadata import RunDirectoryError
from study.record.paths import RunDirectory
from study.record.state import StudyRecord
from study.record.stored import set_aside
from study.record.validation import to_json
from study.search.database import DamagedDatabaseError
from study.search.trials import OPTUNA_STATE, TrialSource, UnusableTrial, params_by_path

Tell = Callable[[TrialSource, TrialEnded], None]


def open_trials(
    open_source: Callable[[], TrialSource], files: RunDirectory, record: StudyRecord, tell: Tell
) -> tuple[TrialSource, str | None]:
    """Open a study's source of trials; tell it how they ended.

    A database that is missing, damaged or older or newer than the journal is set aside, and its trials are drawn again
    with the parameters that the journal has, or else the database. Trials that only the database knows to have ended
    run again: their points are recorded from their files.

    Args:
        open_source: opens the database, or creates it where there is none.
        files: the run directory.
        record: the study.
        tell: tells a source how a trial ended.

    Returns:
        The source, and what was done about the database; None if nothing.

    Raises:
        RunDirectoryError: a trial has files, but neither the journal nor the database has its parameters.
        StorageError: the database cannot be read or written.
    """
    stored: Mapping[int, FrozenTrial] = {}
    try:
        source = open_source()
        stored = source.stored()
        problem = _difference(stored, record)
    except DamagedDatabaseError as error:
        problem = str(error)
    params = {number: params_by_path(trial) for number, trial in stored.items() if _is_complete(trial)}
    params |= {number: dict(started.params) for number, started in record.trials.items()}
    _check_directories(files, params)
    if problem is None:
        for ended in record.ends.values():
            tell(source, ended)  # a driver may have died after it wrote the journal
        return source, None
    kept = _set_aside(files.optuna) if stored or problem.startswith(str(files.optuna)) else None
    source = open_source() if kept else source
    _replay(source, params, record, tell)
    return source, f"{files.optuna}: {problem}; rebuilt from the journal{f' (the former file: {kept})' if kept else ''}"


def _difference(stored: Mapping[int, FrozenTrial], record: StudyRecord) -> str | None:
    """Return where a database does not agree with the journal; None if it does, or is a step ahead as usual."""
    for number, started in record.trials.items():
        if number not in stored:
            return f"it lacks trial {number}"
        if to_json(params_by_path(stored[number])) != to_json(dict(started.params)):
            return f"its trial {number} has other parameters"
    for number, trial in stored.items():
        ended = record.ends.get(number)
        if not trial.state.is_finished() or (ended is None and not _is_complete(trial, run=True)):
            continue
        if ended is None or OPTUNA_STATE[ended.state] != trial.state:
            return f"its trial {number} is {trial.state.name}, the journal's {record.trial_state(number)}"
    return None


def _is_complete(trial: FrozenTrial, *, run: bool = False) -> bool:
    """Return whether a draw was completed: as a valid run, or (unless `run`) as none."""
    return "config" in trial.user_attrs or (not run and trial.state is TrialState.FAIL)


def _check_directories(files: RunDirectory, params: Mapping[int, Any]) -> None:
    for number in files.trial_numbers():
        if number not in params:
            raise RunDirectoryError(
                f"{files.trial(number).root}: neither {files.journal.name} nor {files.optuna.name} has the parameters "
                "of this trial; restore one of them from a copy, or move this folder elsewhere to draw the trial again"
            )


def _set_aside(database: Path) -> Path | None:
    kept = set_aside(database)
    for suffix in ("-journal", "-wal", "-shm"):  # SQLite would apply them to the new file
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{database}{suffix}", f"{kept}{suffix}")
    return kept


def _replay(source: TrialSource, params: Mapping[int, Mapping[str, Any]], record: StudyRecord, tell: Tell) -> None:
    for number in range(max(params, default=-1) + 1):
        if number in params:
            started = record.trials.get(number)
            source.draw_again(params[number], {} if started is None else started.config)
        else:  # nothing is known of it, and nothing was trained for it
            with contextlib.suppress(UnusableTrial):
                source.ask()
        if number in record.ends:
            tell(source, record.ends[number])
