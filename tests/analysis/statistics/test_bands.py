"""Bands about fronts: against the front itself, closed forms, and what they must not depend on."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.bands import image_bands, seed_surfaces
from analysis.statistics.groups import Group, GroupComparison
from tests.analysis.statistics.test_dominance import comparison, group

SIGNS = np.array([-1.0, 1.0])


def test_a_single_points_band_is_students_interval() -> None:
    """To the right of the point nothing but its PSNR matters; the other group stands still and has no band's width."""
    noise = np.array([0.4, -0.1, 0.2, -0.5, 0.0])
    noisy = np.stack([noise, np.zeros(5)], axis=1)
    made = comparison(group("a", [(28.0, 0.4)], noisy), group("b", [(28.0, 0.4)], -noisy))
    bands = image_bands(made, SIGNS, draws=20_000)
    low, high = stats.t.interval(0.95, 4, 28 - noise.mean(), stats.sem(noise))
    assert bands["a"].low[-1] == pytest.approx(low, abs=0.01)
    assert bands["a"].high[-1] == pytest.approx(high, abs=0.01)
    assert bands["a"].across.min() >= 0.4 - 1e-9


def test_what_is_hard_for_all_has_no_band() -> None:
    hard = np.array([[3.0, 0.2], [-3.0, -0.2], [1.0, 0.0], [-1.0, 0.0]])
    points = [(29.0, 0.5), (28.0, 0.3)]
    for band in image_bands(comparison(group("a", points, hard), group("b", points, hard)), SIGNS).values():
        np.testing.assert_allclose(band.low, band.high, atol=1e-9)
        assert set(np.round(band.low, 6)) == {28.0, 29.0}


def test_too_few_images_have_no_bands() -> None:
    hard = np.zeros((2, 2))
    assert image_bands(comparison(group("a", [(28, 0.4)], hard)), SIGNS) == {}
    empty = GroupComparison(path="x", groups=(), corner=np.array([-20.0, 1.0]), images=5)
    assert image_bands(empty, SIGNS) == {}


def seeded(fronts: list[list[tuple[float, float]]]) -> Group:
    costs = np.full((sum(map(len, fronts)), len(fronts)), np.inf)
    start = 0
    for seed, front in enumerate(fronts):
        costs[start : start + len(front), seed] = 1.0
        start += len(front)
    points = [point for front in fronts for point in front]
    return group("a", points, np.zeros((3, 2)), costs=costs, seeds=tuple(range(len(fronts))))


def test_surfaces_of_seeds_are_what_all_half_and_any_of_them_reach() -> None:
    found = seed_surfaces(seeded([[(28.0, 0.4)], [(29.0, 0.5)], [(27.0, 0.3)]]), SIGNS)
    assert found is not None
    every, half, some = ({tuple(np.round(row, 6)) for row in surface} for surface in found)
    assert every == {(27.0, 0.5)}
    assert half == {(28.0, 0.5), (27.0, 0.4)}
    assert some == {(29.0, 0.5), (28.0, 0.4), (27.0, 0.3)}
    assert seed_surfaces(seeded([[(28.0, 0.4)]]), SIGNS) is None
    assert not math.isnan(found[0][0, 0])
