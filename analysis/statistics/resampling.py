"""Bootstrap over few units: validation images, seeds.

A plain percentile interval of a mean over n units is too narrow by sqrt((n - 1) / n) and by the ratio of Student's to
the normal quantile (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician, 2015): of
such 95% intervals over five images, some 83% cover the truth. So intervals here are Student's, with the bootstrap's
standard error corrected; `benchmarks/coverage.py` measures their coverage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from scipy import stats

_RIVALS = 24  # points of the front that others are compared with


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; all but the estimate are NaN where nothing could vary.

    Attributes:
        estimate: the statistic.
        low, high: the interval's ends.
        positive: probability that the statistic is above 0, by the confidence distribution of the interval.
    """

    estimate: float
    low: float
    high: float
    positive: float


def resampled_weights(units: int, draws: int, random: np.random.Generator) -> np.ndarray:
    """Draw how often each unit occurs among as many draws with replacement as there are units, as shares.

    Returns:
        Shape (draws, units); each row sums to 1.
    """
    return random.multinomial(units, np.full(units, 1 / units), size=draws) / units


def may_be_best(losses: np.ndarray) -> np.ndarray:
    """Exclude points that one point of the front beats on every single unit: no weights bring them to the front.

    Args:
        losses: less is better, shape (points, units, objectives).

    Returns:
        Mask, shape (points,). The points left have the same front for any weights of the units.
    """
    kept = np.ones(len(losses), dtype=bool)
    if not len(losses):
        return kept
    best = np.flatnonzero(moocore.is_nondominated(losses.mean(axis=1), keep_weakly=False))
    for index in best[np.linspace(0, len(best) - 1, min(len(best), _RIVALS)).astype(int)]:
        rival = losses[index]
        beaten = (rival <= losses).all(axis=(1, 2)) & (rival < losses).any(axis=(1, 2))
        kept &= ~beaten
    return kept


def weighted_means(losses: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute weighted means over units, shape (draws, points, objectives)."""
    points, units, objectives = losses.shape
    flat = weights @ losses.transpose(1, 0, 2).reshape(units, points * objectives)
    return flat.reshape(len(weights), points, objectives)


def student_reach(draws: np.ndarray, units: int, *, level: float = 0.95) -> np.ndarray:
    """Compute the half-width of a statistic's interval.

    Args:
        draws: the statistic over bootstrap draws of all units, shape (draws, ...).
        units: how many there are; at least 2.
        level: of the interval.

    Returns:
        Shape (...).
    """
    error = np.std(draws, axis=0) * math.sqrt(units / (units - 1))
    reach: np.ndarray = stats.t.ppf((1 + level) / 2, units - 1) * error
    return reach


@dataclass(frozen=True)
class Source:
    """One source of variation: the statistic when that alone is resampled.

    Attributes:
        draws: the statistic over bootstrap draws.
        units: how many units each mean is over; the draws' variance is too small by (units - 1) / units.
        freedom: degrees of freedom of that variance.
    """

    draws: np.ndarray
    units: float
    freedom: float


def bootstrap_interval(estimate: float, sources: Sequence[Source], *, level: float = 0.95) -> Interval:
    """Compute an interval from independent sources of variation.

    Corrected variances add up; the degrees of freedom are Satterthwaite's (Biometrics 1946).

    Args:
        estimate: the statistic with nothing resampled.
        sources: one with a single unit has no variance, and is left out.
        level: of the interval.
    """
    parts = [
        (float(np.var(source.draws)) * source.units / (source.units - 1), source.freedom)
        for source in sources
        if source.units > 1
    ]
    variance = sum(part for part, _ in parts)
    if not parts:
        return Interval(estimate, math.nan, math.nan, math.nan)
    if variance == 0:
        return Interval(estimate, estimate, estimate, 0.5 + 0.5 * float(np.sign(estimate)))
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = math.sqrt(variance)
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Interval(estimate, estimate - reach, estimate + reach, float(stats.t.cdf(estimate / error, freedom)))
