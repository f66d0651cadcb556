"""Intervals against Student's closed form, and small cases by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.resampling import Source, bootstrap_interval, resampled_weights, student_reach


def test_weights_are_shares_of_as_many_draws_as_there_are_units() -> None:
    weights = resampled_weights(5, 2000, np.random.default_rng(0))
    assert weights.shape == (2000, 5)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert set(np.unique(np.round(weights * 5, 9))) <= {0, 1, 2, 3, 4, 5}
    # The variance of a multinomial share: (1 - 1/5) / 5 / 5.
    np.testing.assert_allclose(weights.var(axis=0), 0.032, rtol=0.1)


@pytest.mark.parametrize("units", [3, 5, 20])
def test_the_interval_of_a_mean_is_students(units: int) -> None:
    random = np.random.default_rng(units)
    values = random.normal(2.0, 3.0, units)
    draws = resampled_weights(units, 200_000, random) @ values
    found = bootstrap_interval(values.mean(), [Source(draws, units, units - 1)])
    low, high = stats.t.interval(0.95, units - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.01)
    test = stats.ttest_1samp(values, 0, alternative="greater")
    assert found.positive == pytest.approx(1 - test.pvalue, abs=0.005)


def test_independent_sources_add_up_to_welchs_interval() -> None:
    """The difference of two means of unlike variances and sizes: Welch's t interval has Satterthwaite's freedom."""
    random = np.random.default_rng(1)
    one, other = random.normal(1.0, 1.0, 8), random.normal(0.0, 3.0, 14)
    sources = [
        Source(resampled_weights(len(values), 200_000, random) @ values, len(values), len(values) - 1)
        for values in (one, other)
    ]
    found = bootstrap_interval(one.mean() - other.mean(), sources)
    welch = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high), rel=0.01)


def test_what_cannot_vary_gives_no_interval() -> None:
    alone = bootstrap_interval(1.5, [Source(np.full(10, 1.5), 1, 0)])
    assert alone.estimate == 1.5
    assert math.isnan(alone.low)
    assert math.isnan(alone.positive)
    for estimate, positive in ((1.5, 1.0), (0.0, 0.5), (-2.0, 0.0)):
        constant = bootstrap_interval(estimate, [Source(np.full(10, estimate), 4, 3)])
        assert (constant.low, constant.high, constant.positive) == (estimate, estimate, positive)


def test_the_reach_of_draws_is_students() -> None:
    random = np.random.default_rng(3)
    values = random.normal(0, 2, (6, 4))
    draws = resampled_weights(6, 100_000, random) @ values
    reach = student_reach(draws, 6)
    np.testing.assert_allclose(reach, stats.t.ppf(0.975, 5) * stats.sem(values), rtol=0.02)
