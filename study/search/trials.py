"""Trials from an Optuna study on disk: asked for, told, and resumed after an interruption."""

import contextlib
import functools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.config import RunConfig, from_dict, replace, to_dict
from study.record.events import TrialState as State
from study.record.goals import Direction
from study.record.points import ConfigValues, Distribution
from study.search.database import open_database, storage_errors
from study.search.distributions import by_path, config_path
from study.search.repetition import RepeatedRun
from study.search.samplers import RecordedSampler, make_sampler
from study.search.spaces import SearchSpace, SpaceError, stratify
from study.search.warm_start import WarmStart

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

OPTUNA_STATE = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


@dataclass(frozen=True)
class Asked:
    """A sampled trial.

    Attributes:
        number: from 0.
        params: the sampled values, by config path; the seed as well for a repeated run.
        config: the run.
        distributions: of the sampled values, by config path.
    """

    number: int
    params: dict[str, Any]
    config: RunConfig
    distributions: Mapping[str, Distribution] = field(default_factory=dict)


class UnusableTrial(ValueError):
    """A sampled trial that is no valid run; told as FAILED. Attributes as of `Asked`."""

    def __init__(
        self, number: int, params: dict[str, Any], cause: str, distributions: Mapping[str, Distribution] | None = None
    ) -> None:
        super().__init__(cause)
        self.number, self.params, self.distributions = number, params, distributions or {}


def _storage(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Turn the errors of a source's database into those of `database.storage_errors`."""

    @functools.wraps(method)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with storage_errors(getattr(args[0], "path", None)):  # of a TrialSource
            return method(*args, **kwargs)

    return wrapped


class TrialSource:
    """A multi-objective Optuna study, through its ask-and-tell interface.

    Trial 0 has the recipe's own values; those of an earlier study's front follow. A study that repeats an earlier one
    has the repeated runs alone. Each trial has its own sampler, seeded by (seed, number): given the same results, a
    resumed study draws what an uninterrupted one would. Trials of an earlier study that the sampler learns from precede
    trial 0 in the database and have no number here.

    Attributes:
        path: of the database; None for one in memory.
    """

    @_storage
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
            name: of the study.
            directions: of the objectives.
            space, base: the search space and the run that it varies.
            seed: of the sampler.
            sampler: one of `samplers.SAMPLERS`.
            trials: about how many will be asked for; sets the population of genetic samplers.
            warm_start: an earlier study; used only when the study is created.
            repeated: the only runs to try, if any; used only when the study is created.
            metrics: names of the objectives, shown by Optuna's dashboard.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._base, self._seed = space, base, seed
        self._sampler_name, self._trials = sampler, trials
        self.path, self._database = database, open_database(database)
        self._study = optuna.create_study(
            storage=self._database, study_name=name, directions=list(directions), load_if_exists=True
        )
        if metrics:
            _name_objectives(self._study, metrics)
        if not self._study.trials:
            self._begin(warm_start, repeated)
        stored = self._study.get_trials(deepcopy=False)
        self._learned = sum("warm_start" in trial.user_attrs for trial in stored)
        self._count = sum(trial.state != TrialState.WAITING for trial in stored) - self._learned

    @_storage
    def stored(self) -> dict[int, FrozenTrial]:
        """Return the trials that were drawn, by number."""
        trials = self._study.get_trials(deepcopy=False)[self._learned :]
        return {number: trial for number, trial in enumerate(trials) if trial.state != TrialState.WAITING}

    @property
    def count(self) -> int:
        """Number of trials that were drawn so far."""
        return self._count

    @_storage
    def unfinished(self) -> list[Asked]:
        """Return the trials that were drawn and not told, oldest first.

        A draw that was interrupted is completed; values that it had are kept.
        """
        asked = []
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            number = frozen.number - self._learned
            if "config" in frozen.user_attrs:
                config = from_dict(json.loads(frozen.user_attrs["config"]))
                asked.append(Asked(number, params_by_path(frozen), config, by_path(frozen.distributions)))
            else:
                self._study.sampler = self._sampler(number)
                with contextlib.suppress(UnusableTrial):
                    asked.append(self._configure(self._live(frozen)))
        return asked

    def failed(self) -> list[UnusableTrial]:
        """Return the trials that were told FAILED, each with its cause."""
        return [
            UnusableTrial(
                trial.number - self._learned,
                params_by_path(trial),
                trial.user_attrs.get("cause", "unknown"),
                by_path(trial.distributions),
            )
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
            if "warm_start" not in trial.user_attrs
        ]

    @_storage
    def ask(self) -> Asked:
        """Draw the next trial and store its configuration.

        Raises:
            UnusableTrial: the space raised, or the sampled values make no valid configuration.
        """
        self._study.sampler = self._sampler(self._count)
        drawn = self._study.ask()
        self._count += 1
        return self._configure(drawn)

    @_storage
    def draw_again(self, params: Mapping[str, Any], config: ConfigValues) -> None:
        """Draw the next trial with the parameters that it had in a database that is lost.

        Args:
            params: by config path.
            config: its run as recorded; empty where there was none.

        Raises:
            SpaceError: the space makes no run of them, but there was one.
        """
        number, is_sequence = self._count, self._sampler_name == "qmc"  # which keeps its place in the database
        inner = self._sampler(number) if is_sequence else optuna.samplers.RandomSampler()
        self._study.sampler = RecordedSampler(params, inner)
        drawn = self._study.ask()
        self._count += 1
        try:
            self._configure(drawn)
        except UnusableTrial as error:
            if config:
                raise SpaceError(f"trial {number} of the journal does not fit the space any more: {error}") from error
        else:
            if config:
                drawn.set_user_attr("config", json.dumps(config))

    @_storage
    def tell(
        self,
        number: int,
        state: State,
        values: Sequence[float] | None = None,
        cause: str | None = None,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Store how a trial ended; a trial that has ended already is left as it is.

        Args:
            number: of the trial.
            state: how it ended.
            values: one per direction; used of a COMPLETE trial only.
            cause: why it is not COMPLETE.
            violations: of each constraint, by name; at most 0 where it is met.
        """
        trial = self._study.get_trials(deepcopy=False)[number + self._learned]
        if trial.state.is_finished():
            return
        live = self._live(trial)
        if cause is not None:
            live.set_user_attr("cause", cause)
        for name, violation in (violations or {}).items():
            live.set_constraint(name, violation)
        self._study.tell(trial.number, values=values if state == "COMPLETE" else None, state=OPTUNA_STATE[state])

    def _begin(self, warm_start: WarmStart | None, repeated: Sequence[RepeatedRun]) -> None:
        """Fill a new study with the trials to learn from and those to try first."""
        for run in repeated:
            self._study.enqueue_trial(dict(run.params), user_attrs={"seed": run.seed, "repeats": run.trial})
        if repeated:
            return
        recipe = self._space.own_values(self._base)
        earlier = warm_start or WarmStart(Path(), ())
        for trial in earlier.finished:
            trial.user_attrs = {"warm_start": str(earlier.origin)}
            self._study.add_trial(trial)
        for params in (recipe, *(params for params in earlier.front if params != recipe)):
            self._study.enqueue_trial(params)

    def _configure(self, trial: optuna.Trial) -> Asked:
        number = trial.number - self._learned
        try:
            config = self._space.sample(trial, self._base)
        except SpaceError as error:
            self.tell(number, "FAILED", cause=str(error))
            raise UnusableTrial(number, params_by_path(trial), str(error), by_path(trial.distributions)) from error
        if "seed" in trial.user_attrs:
            config = replace(config, {"seed": trial.user_attrs["seed"]})
        trial.set_user_attr("config", json.dumps(to_dict(config)))
        return Asked(number, params_by_path(trial), config, by_path(trial.distributions))

    def _live(self, frozen: FrozenTrial) -> optuna.Trial:
        study_id = self._database.get_study_id_from_name(self._study.study_name)
        trial_id = self._database.get_trial_id_from_study_id_trial_number(study_id, frozen.number)
        return optuna.Trial(self._study, trial_id)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        sampler = make_sampler(self._sampler_name, seed=self._seed, number=number, trials=self._trials)
        return stratify(sampler, self._space, number)


def params_by_path(trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
    """Return a trial's values by config path, and the seed of a repeated run."""
    seed = {name: trial.user_attrs[name] for name in ("seed",) if name in trial.user_attrs}
    return {**{config_path(name): value for name, value in trial.params.items()}, **seed}


def _name_objectives(study: optuna.Study, names: Sequence[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))
