"""Trials from Optuna: asked for, told, and found again after an interruption."""

import contextlib
import errno
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import optuna
from optuna.trial import TrialState

from study.config import RunConfig, from_dict, to_dict
from study.files import StorageError
from study.search.front import Direction
from study.search.spaces import SearchSpace, SpaceError, config_path, in_turn

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
State = Literal["COMPLETE", "PRUNED", "FAILED"]

_OPTUNA_STATE = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}
_RANDOM_TRIALS = 8  # before TPE has something to learn from


@dataclass(frozen=True)
class Asked:
    """A sampled trial, its parameters by config path."""

    number: int
    params: dict[str, Any]
    config: RunConfig


class UnusableTrial(ValueError):
    """A drawn trial that is no valid run; it has been told as FAILED. Carries its number and parameters."""

    def __init__(self, number: int, params: dict[str, Any], cause: str) -> None:
        super().__init__(cause)
        self.number, self.params = number, params


def _storage(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a database that cannot be written fail as any other file of the study."""

    @functools.wraps(method)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except optuna.exceptions.StorageInternalError as error:
            reason = error.__cause__ or error
            raise StorageError(errno.EIO, f"Optuna's database could not be written: {reason}") from error

    return wrapped


class TrialSource:
    """A multi-objective Optuna study on disk, asked and told by hand.

    Trial 0 has the recipe's own values. Each ask seeds a sampler of its own from (seed, number), so that a continued
    study draws what an unbroken one would, given the same results so far, and never the same point twice.
    """

    def __init__(
        self,
        database: Path,
        name: str,
        directions: Sequence[Direction],
        space: SearchSpace,
        base: RunConfig,
        *,
        seed: int,
    ) -> None:
        """Open the study in an SQLite file, or create it there."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._base, self._seed = space, base, seed
        self._study = optuna.create_study(
            storage=f"sqlite:///{database.resolve()}",
            study_name=name,
            directions=list(directions),
            load_if_exists=True,
        )
        if not self._study.trials:
            self._study.enqueue_trial(space.own_values(base))

    @property
    def count(self) -> int:
        """How many trials were drawn so far."""
        return sum(trial.state != TrialState.WAITING for trial in self._study.get_trials(deepcopy=False))

    @_storage
    def unfinished(self) -> list[Asked]:
        """The trials that were drawn and never told how they ended, oldest first.

        A trial whose draw was cut off is drawn to its end: what it had got stays as it was.
        """
        asked = []
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "config" in frozen.user_attrs:
                config = from_dict(json.loads(frozen.user_attrs["config"]))
                asked.append(Asked(frozen.number, _by_path(frozen.params), config))
            else:
                self._study.sampler = self._sampler(frozen.number)
                with contextlib.suppress(UnusableTrial):
                    asked.append(self._configure(self._live(frozen)))
        return asked

    def failed(self) -> list[tuple[int, dict[str, Any], str]]:
        """The trials that were told FAILED: number, parameters, cause."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        return [(trial.number, _by_path(trial.params), trial.user_attrs.get("cause", "unknown")) for trial in trials]

    @_storage
    def ask(self) -> Asked:
        """Draw the next trial and note its configuration beside it.

        Raises:
            UnusableTrial: the space raised, or drew what is no valid configuration.
        """
        self._study.sampler = self._sampler(self.count)
        return self._configure(self._study.ask())

    @_storage
    def tell(self, number: int, state: State, values: Sequence[float] | None = None, cause: str | None = None) -> None:
        """Say how a trial ended; `values` (one per direction) belong to COMPLETE. Telling twice does nothing."""
        trial = self._study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            return
        if cause is not None:
            self._live(trial).set_user_attr("cause", cause)
        self._study.tell(number, values=values if state == "COMPLETE" else None, state=_OPTUNA_STATE[state])

    def _configure(self, trial: optuna.Trial) -> Asked:
        try:
            config = self._space.sample(trial, self._base)
        except SpaceError as error:
            self.tell(trial.number, "FAILED", cause=str(error))
            raise UnusableTrial(trial.number, _by_path(trial.params), str(error)) from error
        trial.set_user_attr("config", json.dumps(to_dict(config)))
        return Asked(trial.number, _by_path(trial.params), config)

    def _live(self, frozen: optuna.trial.FrozenTrial) -> optuna.Trial:
        return optuna.Trial(self._study, frozen._trial_id)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = (self._seed * 1_000_003 + number) % 2**32
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=_RANDOM_TRIALS
        )
        return in_turn(sampler, self._space, number)


def _by_path(params: Mapping[str, Any]) -> dict[str, Any]:
    return {config_path(name): value for name, value in params.items()}
