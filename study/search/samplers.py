"""Optuna's samplers by name, with the settings of a multi-objective study."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from study.record.validation import to_json
from study.search.distributions import config_path

RANDOM_TRIALS = 8
"""Trials that a sampler that learns draws at random first."""

SAMPLERS: dict[str, str] = {
    "tpe": "multivariate tree-structured Parzen estimator, with constant liar",
    "nsga2": "NSGA-II, a genetic algorithm",
    "nsga3": "NSGA-III, a genetic algorithm for many objectives",
    "gp": "Gaussian process, by the expected hypervolume improvement",
    "qmc": "quasi-Monte Carlo: Sobol's points, scrambled",
    "random": "independent draws",
}


def make_sampler(name: str, *, seed: int, number: int, trials: int) -> BaseSampler:
    """Make the sampler that draws one trial of a study.

    Samplers read constraints from the trials (`optuna.Trial.set_constraint`); `random` and `qmc` ignore them.

    Args:
        name: one of `SAMPLERS`.
        seed: of the study; with the trial's number it gives the sampler's seed, so that a resumed study draws what an
            uninterrupted one would.
        number: of the trial.
        trials: of the study; the population of genetic samplers is a quarter of them, 4 to 50.

    Raises:
        ValueError: there is no such sampler.
    """
    trial_seed = (seed * 1_000_003 + number) % 2**32
    population = min(50, max(4, trials // 4))
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=trial_seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=RANDOM_TRIALS
            )
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=trial_seed, population_size=population)
        case "nsga3":
            return optuna.samplers.NSGAIIISampler(seed=trial_seed, population_size=population)
        case "gp":
            return optuna.samplers.GPSampler(
                seed=trial_seed, n_startup_trials=RANDOM_TRIALS, warn_independent_sampling=False
            )
        case "qmc":
            # One sequence for the whole study: Optuna stores the position in the study.
            return optuna.samplers.QMCSampler(
                seed=seed % 2**32,
                scramble=True,
                independent_sampler=optuna.samplers.RandomSampler(seed=trial_seed),
                warn_independent_sampling=False,
            )
        case "random":
            return optuna.samplers.RandomSampler(seed=trial_seed)
    raise ValueError(f"--sampler must be one of {', '.join(SAMPLERS)}, but got {name}")


class RecordedSampler(BaseSampler):
    """Draws the parameters that a trial had before, by config path."""

    def __init__(self, params: Mapping[str, Any], inner: BaseSampler) -> None:
        """Set the parameters; `inner` is called as if it drew, so that it keeps its place in a sequence."""
        self._params, self._inner = params, inner

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space that the inner sampler draws from."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Let the inner sampler draw, and discard the result."""
        self._inner.sample_relative(study, trial, search_space)
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the recorded value; KeyError without one, ValueError if it is none of the choices."""
        value = self._params[config_path(param_name)]
        if not isinstance(param_distribution, CategoricalDistribution):
            return value
        text = to_json(value)
        for choice in param_distribution.choices:
            if to_json(choice) == text:
                return choice
        raise ValueError(f"{param_name} offers {list(param_distribution.choices)}, but the trial had {value}")
