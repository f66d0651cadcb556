"""Uncertainty bands of groups' fronts: over other validation images, or other seeds."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.statistics.groups import Group, GroupComparison
from analysis.statistics.resampling import may_be_best, resampled_weights, student_reach, weighted_means
from study.search.front import attainment_surface

DRAWS = 400
"""Enough for a standard error to 4%."""
STEPS = 160


@dataclass(frozen=True, kw_only=True)
class Band:
    """A band about a front: for each value of the second objective, the best first objective between two limits.

    Attributes:
        across: values of the second objective, in its own unit, shape (n,).
        low, high: of the first objective, in its own unit, shape (n,); `low` is the worse.
    """

    across: np.ndarray
    low: np.ndarray
    high: np.ndarray


def image_bands(
    comparison: GroupComparison, signs: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Band]:
    """Compute the pointwise 95% band of each group's front over bootstrap draws of the validation images.

    The effect of an image on all points alike is subtracted first (Cousineau 2005): it moves all fronts together, and
    would hide how far they may move against each other.

    Args:
        comparison: the groups.
        signs: -1 for each objective that is maximised, else 1.
        draws: of the bootstrap.
        seed: of the draws.

    Returns:
        By group; none for fewer than three images.
    """
    if comparison.images < 3 or not comparison.groups:
        return {}
    weights = resampled_weights(comparison.images, draws, np.random.default_rng(seed))
    everything = np.concatenate([group.losses for group in comparison.groups])
    common = everything.mean(axis=0) - everything.mean(axis=(0, 1))
    relative = {group.value: group.losses - common for group in comparison.groups}
    end = max(_reach(losses) for losses in relative.values())
    return {value: _band(losses, weights, end, signs) for value, losses in relative.items()}


def _band(losses: np.ndarray, weights: np.ndarray, end: float, signs: np.ndarray) -> Band:
    losses = losses[:, :, :2]
    observed = losses.mean(axis=1)
    across = np.linspace(observed[:, 1].min(), end, STEPS)
    losses = losses[may_be_best(losses)]
    stairs = np.array([_stairs(means, across) for means in weighted_means(losses, weights)])
    # Without a front in every draw there is no band.
    shown = np.isfinite(stairs).all(axis=0)
    middle, reach = _stairs(observed, across)[shown], student_reach(stairs[:, shown], weights.shape[1])
    return Band(across=across[shown] * signs[1], low=(middle + reach) * signs[0], high=(middle - reach) * signs[0])


def _reach(losses: np.ndarray) -> float:
    """Return how far a front extends along the second objective in nearly all draws."""
    end = losses[losses[:, :, 0].mean(axis=1).argmin(), :, 1]
    spread = float(end.std()) / math.sqrt(max(1, len(end) - 1))
    return float(end.mean()) + (5 * spread or 0.02 * abs(float(end.mean())) or 1.0)


def _stairs(means: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the least first loss among points whose second is at most each value; infinite without one."""
    order = np.argsort(means[:, 1], kind="stable")
    least = np.minimum.accumulate(means[order, 0])
    count = np.searchsorted(means[order, 1], across, side="right")
    return np.where(count > 0, least[np.maximum(count, 1) - 1], np.inf)


def seed_surfaces(group: Group, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Compute what all seeds, half of the seeds and any seed of a group reach: attainment surfaces of two objectives.

    Returns:
        The corners of each, shape (n, 2), in the objectives' own units; None for a single seed.
    """
    if len(group.seeds) < 2:
        return None
    means = group.losses.mean(axis=1)[:, :2]
    fronts = [means[np.isfinite(costs)] for costs in group.costs.T]
    every, half, some = (
        attainment_surface(fronts, ("minimize", "minimize"), share) * signs[:2] for share in (1.0, 0.5, 1 / len(fronts))
    )
    return every, half, some
