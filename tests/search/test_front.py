"""Fronts, hypervolumes and attainment surfaces against brute force and figures by hand."""

from itertools import combinations, product

import numpy as np
import pytest

from study.record.goals import Direction
from study.search.front import attainment_surface, hypervolume, non_dominated

UP_DOWN: list[Direction] = ["maximize", "minimize"]


def brute_front(values: np.ndarray, directions: list[Direction]) -> list[bool]:
    """The definition, point by point."""

    def better(a: float, b: float, direction: Direction) -> bool:
        return a > b if direction == "maximize" else a < b

    def beats(a: np.ndarray, b: np.ndarray) -> bool:
        triples = list(zip(a, b, directions, strict=True))
        return all(not better(y, x, d) for x, y, d in triples) and any(better(x, y, d) for x, y, d in triples)

    usable = [index for index, row in enumerate(values) if not np.isnan(row).any()]
    marks = [False] * len(values)
    for index in usable:
        beaten = any(beats(values[other], values[index]) for other in usable)
        repeated = any((values[other] == values[index]).all() for other in usable if other < index)
        marks[index] = not beaten and not repeated
    return marks


def inclusion_exclusion(values: np.ndarray, reference: list[float], directions: list[Direction]) -> float:
    """The volume of a union of boxes, from the volumes of all their intersections."""
    signs = np.array([1.0 if direction == "maximize" else -1.0 for direction in directions])
    sides = np.clip((values - np.array(reference)) * signs, 0, None)
    sides = sides[~np.isnan(sides).any(axis=1)]
    total = 0.0
    for size in range(1, len(sides) + 1):
        for chosen in combinations(range(len(sides)), size):
            total -= (-1) ** size * float(sides[list(chosen)].min(axis=0).prod())
    return total


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("directions", [UP_DOWN, ["minimize", "minimize"], ["maximize", "minimize", "maximize"]])
def test_the_front_is_the_definitions(seed: int, directions: list[Direction]) -> None:
    random = np.random.default_rng(seed)
    # Few distinct values: many ties in one objective, many equal points.
    values = random.integers(0, 7, size=(30, len(directions))).astype(float)
    values[random.random(values.shape) < 0.05] = np.nan
    mask = non_dominated(values, directions)
    assert mask.dtype == bool
    assert mask.tolist() == brute_front(values, directions)
    assert 0 < mask.sum() < 30


def test_the_front_of_continuous_values_is_the_definitions() -> None:
    values = np.random.default_rng(3).normal(size=(200, 3))
    directions: list[Direction] = ["maximize", "maximize", "minimize"]
    assert non_dominated(values, directions).tolist() == brute_front(values, directions)


def test_of_equal_points_the_first_is_kept() -> None:
    values = np.array([[28.0, 0.3], [29.0, 0.2], [29.0, 0.2], [29.0, 0.25], [28.5, 0.2]])
    assert non_dominated(values, UP_DOWN).tolist() == [False, True, False, False, False]


def test_a_nan_is_never_on_the_front_and_dominates_nothing() -> None:
    values = np.array([[np.nan, 0.0], [99.0, np.nan], [20.0, 0.9]])
    assert non_dominated(values, UP_DOWN).tolist() == [False, False, True]
    assert non_dominated(values[:2], UP_DOWN).tolist() == [False, False]


def test_no_points_have_no_front_and_no_volume() -> None:
    nothing = np.empty((0, 2))
    assert non_dominated(nothing, UP_DOWN).tolist() == []
    assert hypervolume(nothing, [20.0, 0.8], UP_DOWN) == 0.0
    assert hypervolume(np.array([[np.nan, 0.1]]), [20.0, 0.8], UP_DOWN) == 0.0


def test_the_callers_values_are_left_alone() -> None:
    values = np.array([[28.0, 0.3], [29.0, 0.2]])
    non_dominated(values, UP_DOWN)
    hypervolume(values, [20.0, 0.8], UP_DOWN)
    assert values.tolist() == [[28.0, 0.3], [29.0, 0.2]]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (0,)])
def test_a_column_too_few_or_too_many_is_refused(shape: tuple[int, ...]) -> None:
    for measure in (non_dominated, lambda values, directions: hypervolume(values, [0.0, 0.0], directions)):
        with pytest.raises(ValueError, match=r"shape \(n, 2\).*got"):
            measure(np.zeros(shape), UP_DOWN)


def test_a_reference_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        hypervolume(np.zeros((1, 2)), [20.0], UP_DOWN)


def test_volume_of_overlapping_boxes_is_their_sum_less_the_overlap() -> None:
    # 8 dB x 0.5 and 9 dB x 0.4 above (20 dB, 0.8); they share 8 dB x 0.4.
    values = np.array([[28.0, 0.3], [29.0, 0.4]])
    assert hypervolume(values, [20.0, 0.8], UP_DOWN) == pytest.approx(4.0 + 3.6 - 3.2)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("directions", "count"), [(UP_DOWN, 7), (["maximize", "minimize", "minimize"], 6)])
def test_the_volume_is_that_of_inclusion_and_exclusion(seed: int, directions: list[Direction], count: int) -> None:
    values = np.random.default_rng(seed).normal(size=(count, len(directions)))
    reference = [0.3 if direction == "minimize" else -0.3 for direction in directions]  # some points lie outside
    expected = inclusion_exclusion(values, reference, directions)
    assert hypervolume(values, reference, directions) == pytest.approx(expected, abs=1e-12)


def test_points_that_do_not_beat_the_reference_add_nothing() -> None:
    reference = [20.0, 0.8]
    for outside in ([19.0, 0.1], [28.0, 0.9], [20.0, 0.1], [28.0, 0.8], [np.nan, 0.1]):
        assert hypervolume(np.array([outside]), reference, UP_DOWN) == 0.0
        assert hypervolume(np.array([[28.0, 0.3], outside]), reference, UP_DOWN) == pytest.approx(4.0)


def test_dominated_and_repeated_points_add_nothing() -> None:
    values = np.array([[28.0, 0.3], [28.0, 0.3], [27.0, 0.3], [28.0, 0.5]])
    assert hypervolume(values, [20.0, 0.8], UP_DOWN) == pytest.approx(4.0)


def test_the_median_of_three_runs_by_hand() -> None:
    """Three single points; two of three runs reach a corner where the second best of each objective meet."""
    fronts = [np.array([[30.0, 0.4]]), np.array([[29.0, 0.3]]), np.array([[28.0, 0.2]])]
    surface = attainment_surface(fronts, UP_DOWN, 2 / 3)
    assert surface.tolist() == [[28.0, 0.3], [29.0, 0.4]]
    assert attainment_surface(fronts, UP_DOWN, 1.0).tolist() == [[28.0, 0.4]]
    assert attainment_surface(fronts, UP_DOWN, 1 / 3).tolist() == [[28.0, 0.2], [29.0, 0.3], [30.0, 0.4]]


@pytest.mark.parametrize("seed", range(5))
def test_corners_are_reached_by_the_share_and_nothing_better_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    fronts = [random.integers(0, 6, (4, 2)).astype(float) for _ in range(5)]

    def reached(psnr: float, lpips: float) -> int:
        return sum(any(point[0] >= psnr and point[1] <= lpips for point in front) for front in fronts)

    surface = attainment_surface(fronts, UP_DOWN, 0.6)
    corners = {tuple(corner) for corner in surface.tolist()}
    grid = list(product(range(7), range(-1, 7)))
    attained = [place for place in grid if reached(*place) >= 3]
    for place in attained:
        assert any(corner[0] >= place[0] and corner[1] <= place[1] for corner in corners), place
    for corner in corners:
        assert reached(*corner) >= 3
        assert reached(corner[0] + 1, corner[1]) < 3
        assert reached(corner[0], corner[1] - 1) < 3
