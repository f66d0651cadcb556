"""Attainment surfaces against a plain count: which corners do how many runs reach?"""

import itertools

import numpy as np
import pytest

from study.search.attainment import attainment_surface

PSNR_LPIPS = ("maximize", "minimize")


def test_the_median_of_three_runs_by_hand() -> None:
    """Three single points; two of three runs reach a corner where the second best of each objective meet."""
    fronts = [np.array([[30.0, 0.4]]), np.array([[29.0, 0.3]]), np.array([[28.0, 0.2]])]
    surface = attainment_surface(fronts, PSNR_LPIPS, 2 / 3)
    assert surface.tolist() == [[28.0, 0.3], [29.0, 0.4]]
    assert attainment_surface(fronts, PSNR_LPIPS, 1.0).tolist() == [[28.0, 0.4]]
    assert attainment_surface(fronts, PSNR_LPIPS, 1 / 3).tolist() == [[28.0, 0.2], [29.0, 0.3], [30.0, 0.4]]


@pytest.mark.parametrize("seed", range(5))
def test_corners_are_reached_by_the_share_and_nothing_better_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    fronts = [random.integers(0, 6, (4, 2)).astype(float) for _ in range(5)]

    def reached(psnr: float, lpips: float) -> int:
        return sum(any(point[0] >= psnr and point[1] <= lpips for point in front) for front in fronts)

    surface = attainment_surface(fronts, PSNR_LPIPS, 0.6)
    corners = {tuple(corner) for corner in surface.tolist()}
    grid = list(itertools.product(range(7), range(-1, 7)))
    attained = [place for place in grid if reached(*place) >= 3]
    for place in attained:
        assert any(corner[0] >= place[0] and corner[1] <= place[1] for corner in corners), place
    for corner in corners:
        assert reached(*corner) >= 3
        assert reached(corner[0] + 1, corner[1]) < 3
        assert reached(corner[0], corner[1] - 1) < 3
