"""Pairs of groups: small cases by hand, and whether the intervals hold what they claim."""

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.statistics.dominance import compare_all
from analysis.statistics.groups import Group, GroupComparison
from tests.analysis.statistics.made_comparisons import World

CORNER = np.array([-20.0, 1.0])


def group(name: str, means: list[tuple[float, float]], hard: np.ndarray, **changes: object) -> Group:
    """Points of (PSNR, LPIPS) whose value on each image is shifted by the image's difficulty."""
    losses = np.array([[-psnr, lpips] for psnr, lpips in means])[:, None] + hard
    number = len(means)
    fields: dict = {
        "value": name,
        "seeds": (0,),
        "repeated": (0, number),
        "settings": np.arange(number),
        "trials": np.arange(number),
        "losses": losses,
        "costs": np.arange(1.0, number + 1)[:, None],
    }
    return Group(**fields | changes)


def comparison(*groups: Group) -> GroupComparison:
    return GroupComparison(path="loss.guidance", groups=groups, corner=CORNER, images=groups[0].losses.shape[1])


HARD = np.array([[1.0, 0.1], [-1.0, -0.1], [0.5, 0.0], [-0.5, 0.0]])


def test_a_group_that_is_better_everywhere_is_so_for_sure() -> None:
    """29 x 0.5 against 27 x 0.5, from the corner (20, 1): (9 - 7) * 0.5 on average."""
    (found,) = compare_all(comparison(group("a", [(29, 0.5)], HARD), group("b", [(27, 0.5)], HARD)))
    assert (found.one, found.other) == ("a", "b")
    assert found.volumes == pytest.approx((4.5, 3.5))
    assert found.difference.estimate == pytest.approx(1.0)
    assert found.difference.low > 0
    assert found.difference.positive > 0.999
    assert (found.dominates, found.dominated) == (1.0, 0.0)


def test_what_is_hard_for_both_cancels() -> None:
    """The images vary by a decibel and more, the difference hardly: it is that of the same two boxes each time."""
    (found,) = compare_all(comparison(group("a", [(27.1, 0.5)], HARD), group("b", [(27, 0.5)], HARD)))
    width = found.difference.high - found.difference.low
    assert found.difference.estimate == pytest.approx(0.05)
    assert width < 0.05
    apart = compare_all(comparison(group("a", [(27.1, 0.5)], HARD), group("b", [(27, 0.5)], HARD[::-1])))[0]
    assert apart.difference.high - apart.difference.low > 20 * width


def test_the_same_front_twice_is_a_draw() -> None:
    points = [(29.0, 0.5), (28.0, 0.3)]
    (found,) = compare_all(comparison(group("a", points, HARD), group("b", points, HARD)))
    assert (found.difference.low, found.difference.high, found.difference.positive) == (0, 0, 0.5)
    assert (found.dominates, found.dominated) == (0, 0)


def test_crossing_fronts_do_not_dominate_each_other() -> None:
    one, other = group("a", [(29, 0.5)], HARD), group("b", [(28, 0.3)], HARD)
    (found,) = compare_all(comparison(one, other))
    assert (found.dominates, found.dominated) == (0, 0)


def test_budgets_are_equal() -> None:
    """The second group has spent 4 by its best point, the first 2 in all: the best point comes too late."""
    one = group("a", [(27, 0.5), (28, 0.5)], HARD)
    other = group("b", [(26, 0.5), (25, 0.5), (24, 0.5), (35, 0.1)], HARD)
    (found,) = compare_all(comparison(one, other))
    assert found.budget == 2.0
    assert found.volumes == pytest.approx((4.0, 3.0))


def test_a_group_without_a_point_at_the_compared_cost_is_not_compared() -> None:
    """The first group has spent 2 in all, the other's first point comes at 5; counted as 0, it would lose for sure."""
    late = group("b", [(35, 0.1)], HARD, costs=np.array([[5.0]]))
    (found,) = compare_all(comparison(group("a", [(27, 0.5), (28, 0.5)], HARD), late))
    assert (found.budget, found.runs) == (2.0, (2, 0))
    assert found.volumes[0] == pytest.approx(4.0)
    unknown = (found.volumes[1], found.difference.estimate, found.difference.low, found.difference.positive)
    assert all(map(math.isnan, (*unknown, found.dominates, found.dominated)))


def test_points_that_are_beaten_on_every_image_change_nothing() -> None:
    front = [(29.0, 0.5), (28.0, 0.3)]
    noise = np.random.default_rng(0).normal(0, 0.2, (60, 4, 2)) * (1.0, 0.05)
    many = group("a", [*front, *[(27.9, 0.51)] * 58], HARD)
    many = replace(many, losses=many.losses + noise, costs=np.ones((60, 1)))
    alone = replace(many, losses=many.losses[:2], costs=many.costs[:2], settings=np.arange(2), trials=np.arange(2))
    other = group("b", [(28.5, 0.4)], HARD)
    first, second = (compare_all(comparison(one, other))[0] for one in (many, alone))
    # The others are off by less than they vary: some draws do bring them to the front.
    assert first.difference.estimate >= second.difference.estimate - 1e-12
    far = replace(many, losses=np.concatenate([alone.losses, many.losses[2:] + np.array([3.0, 0.3])]))
    assert compare_all(comparison(far, other))[0].difference == second.difference


def test_a_single_image_and_seed_give_no_interval() -> None:
    (found,) = compare_all(comparison(group("a", [(29, 0.5)], HARD[:1]), group("b", [(27, 0.5)], HARD[:1])))
    assert found.difference.estimate == pytest.approx(8 * 0.4 - 6 * 0.4)
    assert math.isnan(found.difference.low)
    assert math.isnan(found.dominates)


def test_seeds_are_averaged_and_widen_the_interval() -> None:
    """Two settings, each run twice; a seed's study holds one run of each."""
    means = [(29.0, 0.5), (28.0, 0.3), (31.0, 0.5), (30.0, 0.3)]
    twice: dict = {"seeds": (0, 1), "repeated": (2, 2), "settings": np.array([0, 1, 0, 1])}
    costs = np.array([[1, np.inf], [2, np.inf], [np.inf, 1], [np.inf, 2.0]])
    one = group("a", means, HARD, costs=costs, **twice)
    other = group("b", [(27.0, 0.5)], HARD, costs=np.array([[2.0]]))
    (found,) = compare_all(comparison(one, other))
    volumes = [(9 + down) * 0.5 + (8 + down) * 0.2 for down in (0.0, 2.0)]
    assert found.volumes[0] == pytest.approx(np.mean(volumes))
    still = group("a", [(30.0, 0.5), (29.0, 0.3)], HARD)
    (without,) = compare_all(comparison(still, other))
    assert found.difference.low < without.difference.low
    assert found.difference.high > without.difference.high


def test_fewer_than_two_groups_are_not_compared() -> None:
    assert compare_all(comparison(group("a", [(29, 0.5)], HARD))) == ()


@pytest.mark.parametrize("world", [World(), World(images=5, shift=0.0), World(seeds=2, by_seed=0.15, by_point=0.05)])
def test_intervals_hold_the_truth_as_often_as_they_claim(world: World) -> None:
    """150 studies each; benchmarks/coverage.py has more."""
    truth, held = world.truth(np.random.default_rng(99)), 0
    for number in range(150):
        (found,) = compare_all(world.comparison(np.random.default_rng(number)), draws=200, seed=number)
        held += found.difference.low <= truth <= found.difference.high
    assert 0.91 <= held / 150 <= 0.99
