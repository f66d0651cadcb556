"""Trials from Optuna: asked for, told, and found again after an interruption."""

import contextlib
import errno
import functools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import optuna
from optuna.trial import TrialState

from study.config import RunConfig, from_dict, replace, to_dict
from study.files import StorageError
from study.search.front import Direction
from study.search.repetition import RepeatedRun
from study.search.samplers import make_sampler
from study.search.spaces import SearchSpace, SpaceError, config_path, in_turn
from study.search.warm_start import WarmStart

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
State = Literal["COMPLETE", "PRUNED", "FAILED"]

_OPTUNA_STATE = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


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

    Trial 0 has the recipe's own values; those of an earlier study's front follow. A study that repeats an earlier one
    has that one's values alone, with seeds of their own. Each ask seeds a sampler of its own
    from (seed, number), so that a continued study draws what an unbroken one would, given the same results so far, and
    never the same point twice. Trials of an earlier study that are learned from come before trial 0 in the database,
    and have no number here.
    """

    def __init__(
        self,
        database: Path | None,
        name: str,
        directions: Sequence[Direction],
        space: SearchSpace,
        base: RunConfig,
        *,
        seed: int,
        sampler: str = "tpe",
        trials: int = 64,
        warm_start: WarmStart | None = None,
        repeated: Sequence[RepeatedRun] = (),
        metrics: Sequence[str] = (),
    ) -> None:
        """Open the study in an SQLite file, or create it there.

        Args:
            database: the file; None keeps the study in memory, for simulations.
            name: of the study in it.
            directions: of the objectives.
            space, base: what varies around which run.
            seed: of the sampler.
            sampler: one of `samplers.SAMPLERS`.
            trials: about how many will be asked for; a genetic sampler's generations depend on it.
            warm_start: an earlier study; heeded when this one is created.
            repeated: runs of an earlier study, which are all that is tried here; heeded when this one is created.
            metrics: names of the objectives, for those who look at the database.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._base, self._seed = space, base, seed
        self._sampler_name, self._trials = sampler, trials
        self._study = optuna.create_study(
            storage=None if database is None else f"sqlite:///{database.resolve()}",
            study_name=name,
            directions=list(directions),
            load_if_exists=True,
        )
        if metrics:
            _name_objectives(self._study, metrics)
        if not self._study.trials:
            self._begin(warm_start, repeated)
        there = self._study.get_trials(deepcopy=False)
        self._taken_over = sum("warm_start" in trial.user_attrs for trial in there)
        self._count = sum(trial.state != TrialState.WAITING for trial in there) - self._taken_over

    @property
    def count(self) -> int:
        """How many trials were drawn so far; nobody else draws from this study."""
        return self._count

    @_storage
    def unfinished(self) -> list[Asked]:
        """The trials that were drawn and never told how they ended, oldest first.

        A trial whose draw was cut off is drawn to its end: what it had got stays as it was.
        """
        asked = []
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "config" in frozen.user_attrs:
                config = from_dict(json.loads(frozen.user_attrs["config"]))
                asked.append(Asked(self._number(frozen), _by_path(frozen), config))
            else:
                self._study.sampler = self._sampler(self._number(frozen))
                with contextlib.suppress(UnusableTrial):
                    asked.append(self._configure(self._live(frozen)))
        return asked

    def failed(self) -> list[tuple[int, dict[str, Any], str]]:
        """The trials that were told FAILED: number, parameters, cause."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        own = [trial for trial in trials if "warm_start" not in trial.user_attrs]
        return [(self._number(trial), _by_path(trial), trial.user_attrs.get("cause", "unknown")) for trial in own]

    @_storage
    def ask(self) -> Asked:
        """Draw the next trial and note its configuration beside it.

        Raises:
            UnusableTrial: the space raised, or drew what is no valid configuration.
        """
        self._study.sampler = self._sampler(self._count)
        drawn = self._study.ask()
        self._count += 1
        return self._configure(drawn)

    @_storage
    def tell(
        self,
        number: int,
        state: State,
        values: Sequence[float] | None = None,
        cause: str | None = None,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Say how a trial ended; telling twice does nothing.

        Args:
            number: of the trial.
            state: how it ended.
            values: one per direction, of a COMPLETE one.
            cause: why it is not COMPLETE.
            violations: by how much it misses each constraint, at most 0 where it does not.
        """
        trial = self._study.get_trials(deepcopy=False)[number + self._taken_over]
        if trial.state.is_finished():
            return
        live = self._live(trial)
        if cause is not None:
            live.set_user_attr("cause", cause)
        for name, violation in (violations or {}).items():
            live.set_constraint(name, violation)
        self._study.tell(trial.number, values=values if state == "COMPLETE" else None, state=_OPTUNA_STATE[state])

    def _begin(self, warm_start: WarmStart | None, repeated: Sequence[RepeatedRun]) -> None:
        """Fill a new study: what is learned from first, then what is to be tried first."""
        for run in repeated:
            self._study.enqueue_trial(dict(run.params), user_attrs={"seed": run.seed, "repeats": run.trial})
        if repeated:
            return
        own = self._space.own_values(self._base)
        earlier = warm_start or WarmStart(Path(), ())
        for trial in earlier.finished:
            trial.user_attrs = {"warm_start": str(earlier.origin)}
            self._study.add_trial(trial)
        for params in (own, *(params for params in earlier.front if params != own)):
            self._study.enqueue_trial(params)

    def _number(self, frozen: optuna.trial.FrozenTrial) -> int:
        return frozen.number - self._taken_over

    def _configure(self, trial: optuna.Trial) -> Asked:
        try:
            config = self._space.sample(trial, self._base)
        except SpaceError as error:
            number = trial.number - self._taken_over
            self.tell(number, "FAILED", cause=str(error))
            raise UnusableTrial(number, _by_path(trial), str(error)) from error
        if "seed" in trial.user_attrs:
            config = replace(config, {"seed": trial.user_attrs["seed"]})
        trial.set_user_attr("config", json.dumps(to_dict(config)))
        return Asked(trial.number - self._taken_over, _by_path(trial), config)

    def _live(self, frozen: optuna.trial.FrozenTrial) -> optuna.Trial:
        return optuna.Trial(self._study, frozen._trial_id)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        sampler = make_sampler(self._sampler_name, seed=self._seed, number=number, trials=self._trials)
        return in_turn(sampler, self._space, number)


def _by_path(trial: optuna.Trial | optuna.trial.FrozenTrial) -> dict[str, Any]:
    """What was drawn for a trial, and the seed that it was given if it repeats another."""
    own = {name: trial.user_attrs[name] for name in ("seed",) if name in trial.user_attrs}
    return {**{config_path(name): value for name, value in trial.params.items()}, **own}


def _name_objectives(study: optuna.Study, names: Sequence[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))
