"""Warm start: the front of an earlier study, and its trials, for a new study to begin with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import RunConfig
from study.record.journal import JournalError
from study.record.metadata import RunDirectoryError, StudyMetadata
from study.record.paths import RunDirectory
from study.record.points import TrialPoint
from study.record.state import StudyRecord
from study.record.stored import read_study
from study.search.database import DamagedDatabaseError, open_database, storage_errors
from study.search.distributions import from_optuna, plain_value
from study.search.pareto_archive import ParetoArchive
from study.search.spaces import SearchSpace, SpaceError

COMPARABLE = ("config", "training images", "held-out images", "objectives")
"""What two studies must have in common for results of one to be learned from in the other."""
_REPAIR = "run the command of that study once more with --resume, which repairs it"


class WarmStartError(ValueError):
    """An earlier study that cannot be used; the message names it, the fault and the remedy."""


@dataclass(frozen=True)
class EarlierStudy:
    """A study to start from or to repeat.

    Attributes:
        origin: the option that names it, and its directory, for messages.
        metadata, record: what it is, and what happened in it.
        trials: of its Optuna study, by number.
    """

    origin: str
    metadata: StudyMetadata
    record: StudyRecord
    trials: tuple[FrozenTrial, ...]

    @property
    def front(self) -> list[int]:
        """Trials with a point or an interpolation on its front: those with a point first, by number."""
        members = ParetoArchive(self.record, self.metadata.goals).points
        points = sorted(member.trial for member in members if isinstance(member, TrialPoint))
        between = [point.trial for point in self.record.interpolations if point in members]
        return list(dict.fromkeys([*points, *(trial for trial in between if trial is not None)]))


@dataclass(frozen=True)
class WarmStart:
    """Parameters and trials to begin a study with.

    Attributes:
        origin: the earlier study's directory.
        front: the parameters of the trials on its front, by Optuna's names.
        finished: its finished trials, to be learned from; empty unless asked for.
    """

    origin: Path
    front: tuple[dict[str, Any], ...]
    finished: tuple[FrozenTrial, ...] = ()


def read_earlier(run_dir: Path, option: str) -> EarlierStudy:
    """Read an earlier study.

    Args:
        run_dir: its directory.
        option: that names it, for messages.

    Raises:
        WarmStartError: the directory holds no study, one of another version, or one that is damaged.
    """
    files = RunDirectory(run_dir)
    origin = f"{option} {run_dir}"
    if not all(path.is_file() for path in (files.journal, files.optuna)):
        raise WarmStartError(
            f"{origin} holds no study ({files.study.name}, {files.journal.name} and {files.optuna.name}); name a "
            "directory that study/sweep.py wrote with --output"
        )
    try:
        stored, trials = read_study(run_dir), _trials_of(files.optuna)
    except (JournalError, RunDirectoryError) as error:
        raise WarmStartError(f"{origin}: {error}") from error
    except DamagedDatabaseError as error:
        raise WarmStartError(f"{origin}: {error}; {_REPAIR}") from error
    if stored.faults:
        raise WarmStartError(f"{origin}: {stored.faults[0]}; {_REPAIR}")
    if any(number >= len(trials) for number in stored.record.trials):
        raise WarmStartError(f"{origin}: {files.optuna} lacks trials of the journal; {_REPAIR}")
    return EarlierStudy(origin, stored.metadata, stored.record, trials)


def load_warm_start(run_dir: Path, space: SearchSpace, base: RunConfig, *, learn: bool) -> WarmStart:
    """Read the front of an earlier study.

    Args:
        run_dir: its directory.
        space, base: of the new study.
        learn: take its finished trials as well; `check_comparable` checks whether their results are comparable.

    Raises:
        WarmStartError: it is no study, has no trial on its front, or a trial of it does not fit the space.
    """
    if space.stratified:
        raise WarmStartError(
            f"--warm-start {run_dir}: space {space.name} stratifies {', '.join(space.stratified)}, so that each value "
            "has equally many trials; trials of another study would change that. Leave --warm-start out"
        )
    earlier = read_earlier(run_dir, "--warm-start")
    numbers = earlier.front
    if not numbers:
        raise WarmStartError(f"{earlier.origin}: no trial of it is on its front; leave --warm-start out")
    for number in numbers:
        draw_again(earlier, number, space, base)
    finished = [trial for trial in earlier.trials if learn and trial.state is TrialState.COMPLETE]
    return WarmStart(run_dir, tuple(earlier.trials[number].params for number in numbers), tuple(finished))


def check_comparable(run_dir: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to learn from results that cannot be compared.

    Args:
        run_dir: the earlier study's.
        identity: of the new study, as in its metadata.

    Raises:
        WarmStartError: names the differences.
    """
    before = read_study(run_dir).metadata.identity
    different = [
        f"{name} (there {before.get(name)}, here {identity[name]})"
        for name in COMPARABLE
        if before.get(name) != identity[name]
    ]
    if different:
        raise WarmStartError(
            f"--learn-from-trials: results in {run_dir} cannot be compared with this study's; it differs in "
            f"{'; '.join(different)}. Leave --learn-from-trials out: the front's parameters are tried all the same"
        )


def draw_again(earlier: EarlierStudy, number: int, space: SearchSpace, base: RunConfig) -> RunConfig:
    """Return the run that a space makes of an earlier trial's parameters.

    Raises:
        WarmStartError: the space has other parameters, or excludes one of the values.
    """
    params = earlier.trials[number].params
    fixed = optuna.trial.FixedTrial(dict(params), number=number)
    try:
        config = space.sample(fixed, base)  # type: ignore[arg-type]
        unused = sorted(set(params) - set(fixed.distributions))
        if unused:
            raise SpaceError(f"the space does not have {', '.join(unused)}")
        _check_offered(params, fixed.distributions)
    except SpaceError as error:
        raise WarmStartError(
            f"{earlier.origin}: its trial {number} does not fit space {space.name} ({error}); name a study of "
            f"the same space, or leave {earlier.origin.split()[0]} out"
        ) from error
    return config


def _check_offered(
    params: Mapping[str, Any], distributions: Mapping[str, optuna.distributions.BaseDistribution]
) -> None:
    """Check that values are in their ranges; Optuna only warns."""
    outside = [
        f"{name} = {params[name]} ({distribution})"
        for name, distribution in distributions.items()
        if not from_optuna(distribution).contains(plain_value(params[name]))
    ]
    if outside:
        raise SpaceError(f"outside of what the space offers: {'; '.join(outside)}")


def _trials_of(database: Path) -> tuple[FrozenTrial, ...]:
    """Return a study's trials by number, without those that it had learned from itself."""
    storage = open_database(database)
    with storage_errors(database):
        studies = optuna.get_all_study_names(storage)
        if len(studies) != 1:
            raise DamagedDatabaseError(f"{database} holds {len(studies)} studies of Optuna instead of one")
        stored = optuna.load_study(study_name=studies[0], storage=storage).trials
    return tuple(trial for trial in stored if "warm_start" not in trial.user_attrs)
