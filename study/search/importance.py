"""Importance of each sampled parameter for a result, by Optuna's fANOVA."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna

from study.record.points import Distribution
from study.search.distributions import plain_value, to_optuna

FEWEST_TRIALS = 8
TREES, DEPTH = 48, 10
"""Of the forest: Optuna's 64 trees of unbounded depth take four times as long for 1,000 trials."""


def importances(
    params: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    distributions: Mapping[str, Distribution],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Compute the share of a result's variance that each parameter explains (fANOVA, Hutter et al., ICML 2014).

    Parameters that a trial lacks, that have a single value, or that have no distribution are left out.

    Args:
        params: the parameters of each trial.
        values: the result of each trial.
        distributions: by parameter; each must contain all of its values.
        seed: of the forest.

    Returns:
        By parameter, the largest first; they add up to 1. Empty for fewer than `FEWEST_TRIALS` trials, or where
        nothing varies.
    """
    if len(params) < FEWEST_TRIALS or len(set(values)) < 2:
        return {}
    known = {name: [each.get(name) for each in params] for name in params[0] if name in distributions}
    varying = [name for name, found in known.items() if None not in found and len(set(found)) > 1]
    if not varying:
        return {}
    study = _study({name: distributions[name] for name in varying}, params, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


def joint_distributions(trials: Iterable[Mapping[str, Distribution]]) -> dict[str, Distribution]:
    """Return for each parameter the narrowest distribution that covers those of all trials.

    Trials differ in the range of a parameter where a space gives each method its own. A parameter of different kinds is
    left out.
    """
    found: dict[str, dict[Distribution, None]] = {}
    for distributions in trials:
        for name, distribution in distributions.items():
            found.setdefault(name, {})[distribution] = None
    return {name: _joint(list(parts)) for name, parts in found.items() if len({part.kind for part in parts}) == 1}


def _joint(parts: Sequence[Distribution]) -> Distribution:
    first = parts[0]
    if len(parts) == 1:
        return first
    if first.kind == "categorical":
        return replace(first, choices=tuple(dict.fromkeys(choice for part in parts for choice in part.choices)))
    return Distribution(
        first.kind,
        min(part.low for part in parts if part.low is not None),
        max(part.high for part in parts if part.high is not None),
        all(part.log for part in parts),
    )


def _study(
    distributions: Mapping[str, Distribution], params: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> optuna.Study:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(before)
    offered = {name: to_optuna(distribution) for name, distribution in distributions.items()}
    for each, value in zip(params, values, strict=True):
        chosen = {name: _offered(each[name], distribution) for name, distribution in distributions.items()}
        study.add_trial(optuna.create_trial(params=chosen, distributions=offered, value=float(value)))
    return study


def _offered(value: Any, distribution: Distribution) -> Any:
    return value if distribution.kind != "categorical" or value in distribution.choices else plain_value(value)
