"""Optuna's samplers by name, as a study of several objectives uses them."""

import optuna
from optuna.samplers import BaseSampler

RANDOM_TRIALS = 8
"""How many trials are drawn at random before a sampler that learns has something to learn from."""

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

    Constraints are read from the trials (`optuna.Trial.set_constraint`); random draws and QMC do not heed them.

    Args:
        name: one of `SAMPLERS`.
        seed: of the study; the sampler's own is made of it and the trial's number, so that a study that is continued
            draws what an unbroken one would.
        number: of the trial.
        trials: of the study: a generation of the genetic ones is a quarter of them, 4 to 50.

    Raises:
        ValueError: no such sampler.
    """
    own = (seed * 1_000_003 + number) % 2**32
    population = min(50, max(4, trials // 4))
    match name:
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=own, multivariate=True, group=True, constant_liar=True, n_startup_trials=RANDOM_TRIALS
            )
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=own, population_size=population)
        case "nsga3":
            return optuna.samplers.NSGAIIISampler(seed=own, population_size=population)
        case "gp":
            return optuna.samplers.GPSampler(seed=own, n_startup_trials=RANDOM_TRIALS, warn_independent_sampling=False)
        case "qmc":
            # One sequence for the whole study: Optuna counts in the study how far it has come.
            return optuna.samplers.QMCSampler(
                seed=seed % 2**32,
                scramble=True,
                independent_sampler=optuna.samplers.RandomSampler(seed=own),
                warn_independent_sampling=False,
            )
        case "random":
            return optuna.samplers.RandomSampler(seed=own)
    raise ValueError(f"--sampler must be one of {', '.join(SAMPLERS)}, but got {name}")
