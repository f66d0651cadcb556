"""Exclusive use of a run directory: one study, one driver at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.files import StorageError, check_writable
from study.record.driver_lock import driver_lock, is_abandoned
from study.record.metadata import OccupiedError
from study.record.paths import BUDGET, CONFIG, WEIGHTS, RunDirectory
from study.record.stored import read_study


def check_output(output: Path, *, resume: bool) -> None:
    """Refuse an output directory that is not empty, unless its study is resumed.

    Raises:
        OccupiedError: names the content and the remedy.
        StorageError: the directory cannot be written.
        RunDirectoryError, JournalError: it holds a study that cannot be read.
    """
    run_dir = RunDirectory(output)
    check_writable(output, "--output")
    if not output.exists():
        return
    if not output.is_dir():
        raise OccupiedError(f"--output must be a directory, but {output} is a file; name another")
    if run_dir.study.exists() or run_dir.journal.exists():
        name = read_study(output).metadata.name
        if not resume:
            raise OccupiedError(
                f"{output} holds the study {name!r} already; continue it with --resume, or name another --output"
            )
    elif any(path.name != run_dir.lock.name for path in output.iterdir()):
        raise OccupiedError(f"{output} is not empty and holds no study; name another --output")


def check_not_recorded(path: Path, option: str) -> None:
    """Check that an output of another command is none of the files that a study or a run writes, nor among them.

    The files of its report are left out: they can be written again.

    Args:
        path: of the file or folder to write; it need not exist.
        option: that names it.

    Raises:
        OccupiedError: names the option, the path and the study's directory.
    """
    target = path.resolve()
    for root in target.parents:
        run = RunDirectory(root)
        if (run.study.exists() or run.journal.exists()) and root / target.relative_to(root).parts[0] in run.recorded:
            raise OccupiedError(f"{option} {path} would be one of the files of the study in {root}; name another")
    if (target.parent / BUDGET).is_file() and target.name in (WEIGHTS, CONFIG, BUDGET):
        raise OccupiedError(f"{option} {path} is a file of the artifact {target.parent.name}; name another")


@contextmanager
def sole_driver(output: Path) -> Iterator[None]:
    """Create a run directory and lock it.

    Raises:
        OccupiedError: another driver holds the lock.
        StorageError: the directory cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        RunDirectory(output).lock.touch()
    except OSError as error:
        cause = f"--output cannot be written: {error.strerror}; name another"
        raise StorageError(error.errno, cause, str(output)) from error
    with driver_lock(RunDirectory(output).lock):
        yield


def died(output: Path) -> bool:
    """Return whether the last driver of a run directory ended without leaving its lock, and none runs there now."""
    return is_abandoned(RunDirectory(output).lock)
