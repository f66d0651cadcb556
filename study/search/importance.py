"""How much of the difference between trials each sampled setting explains."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

FEWEST_TRIALS = 8
LOG_RATIO = 20.0
"""A setting whose largest value is so many times its smallest is taken to have been searched by its logarithm."""
TREES, DEPTH = 48, 10
"""Of the forest: Optuna's 64 trees without a bound on their depth take four times as long for 1,000 trials."""
MOST_CHOICES = 6
"""Numbers with no more different values than this, fewer than half the trials, are taken for choices."""


def importances(params: Sequence[Mapping[str, Any]], values: Sequence[float], *, seed: int = 0) -> dict[str, float]:
    """The share of the variance of a result that each setting explains (fANOVA, Hutter et al., ICML 2014; Optuna's).

    Settings that only some of the trials have are left out, and those with a single value.

    Args:
        params: the settings of each trial.
        values: the result of each.
        seed: of the forest.

    Returns:
        By setting, the largest first; they add up to 1. Empty for fewer than `FEWEST_TRIALS` trials, or where nothing
        varies.
    """
    if len(params) < FEWEST_TRIALS or len(set(values)) < 2:
        return {}
    shared = [name for name in params[0] if all(name in each and each[name] is not None for each in params)]
    known = {name: [each[name] for each in params] for name in shared}
    distributions = {name: _distribution(found) for name, found in known.items() if len(set(found)) > 1}
    if not distributions:
        return {}
    study = _study(distributions, params, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def _study(
    distributions: Mapping[str, BaseDistribution], params: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> optuna.Study:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(before)
    for each, value in zip(params, values, strict=True):
        own = {name: _value(each[name], kind) for name, kind in distributions.items()}
        study.add_trial(optuna.create_trial(params=own, distributions=dict(distributions), value=float(value)))
    return study


def _distribution(found: Sequence[Any]) -> BaseDistribution:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    few = len(set(found)) <= MOST_CHOICES and 2 * len(set(found)) <= len(found)
    if not numbers or few:
        return CategoricalDistribution(sorted({_value(value, None) for value in found}, key=str))
    low, high = float(min(found)), float(max(found))
    return FloatDistribution(low, high, log=low > 0 and high / low >= LOG_RATIO)


def _value(value: Any, kind: BaseDistribution | None) -> Any:
    if isinstance(kind, FloatDistribution):
        return float(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
