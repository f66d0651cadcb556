"""Optuna's samplers by name, with the settings of a multi-objective study."""

import optuna
from optuna.samplers import BaseSampler

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
