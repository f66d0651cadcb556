"""Early stopping on hand-made curves: which trial goes on at which rung, and why; ranks against brute force."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from study.search.asha import MultiObjectiveASHA, Rungs, TieBreak, crowding_distances

PSNR_LPIPS = ("maximize", "minimize")
CORNER = (20.0, 0.8)


def asha(
    rungs: Sequence[int] = (100, 300), *, reduction_factor: float = 3.0, tie_break: TieBreak = "hypervolume"
) -> MultiObjectiveASHA:
    return MultiObjectiveASHA(rungs, reduction_factor, PSNR_LPIPS, CORNER, tie_break)


def results(rule: MultiObjectiveASHA, points: Sequence[tuple[int, int, float, float]]) -> list[bool | None]:
    """Add points (trial, iteration, PSNR, LPIPS); return which trials go on, None where nothing was decided."""
    decisions = [rule.on_result(trial, iteration, values) for trial, iteration, *values in points]
    return [None if decision is None else decision.go_on for decision in decisions]


# --- rungs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grace_period", "reduction_factor", "budget", "spacing", "expected"),
    [
        (100, 3, 900, 100, (100, 300)),  # the budget itself is no rung
        (100, 3, 901, 100, (100, 300, 900)),
        (100, 2, 900, 50, (100, 200, 400, 800)),
        (30, 3, 300, 40, (40, 120, 280)),  # 30, 90, 270: where the next point is
        (10, 2, 300, 80, (80, 160)),  # 10 to 80 fall together; 320 is beyond
        (100, 1.5, 230, 25, (100, 150, 225)),
        (250, 3, 300, 1, (250,)),
    ],
)
def test_rungs_stand_at_points_below_the_budget(
    grace_period: int, reduction_factor: float, budget: int, spacing: int, expected: tuple[int, ...]
) -> None:
    assert Rungs(grace_period, reduction_factor).of(budget, spacing) == expected


def test_rungs_out_of_range_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"--grace-period 500 leaves no rung below the 300 iterations .* lower --grace-period",
    ):
        Rungs(500).of(300, 10)
    with pytest.raises(
        ValueError, match=r"--grace-period 290 leaves no rung below the 300.*--grace-period to 250 or less"
    ):
        Rungs(290).of(300, 50)  # its point is that of the budget
    assert Rungs(250).of(300, 50) == (250,)
    with pytest.raises(ValueError, match="--grace-period must be at least 1"):
        Rungs(0)
    for reduction_factor in (1.0, 0.5, math.nan, math.inf):
        with pytest.raises(ValueError, match="--reduction-factor must be above 1 and finite"):
            Rungs(10, reduction_factor)


# --- decisions -----------------------------------------------------------------------------------------------------


def test_one_in_reduction_factor_goes_on() -> None:
    """Each better than the last in both objectives; then each worse."""
    better = [(trial, 100, 25 + trial, 0.5 - trial / 100) for trial in range(9)]
    assert results(asha(), better) == [True] * 9
    worse = [(trial, 100, 25 - trial / 10, 0.5 + trial / 100) for trial in range(9)]
    # The first alone, and the best of two, of three ...; from the sixth on two go on, but the newest is the last.
    assert results(asha(), worse) == [True] + [False] * 8


def test_a_trial_among_the_best_third_goes_on() -> None:
    ranked = [(28.0, 0.30), (27.0, 0.35), (26.0, 0.40), (25.0, 0.45), (24.0, 0.50)]
    rule = asha()
    results(rule, [(trial, 100, *values) for trial, values in enumerate(ranked)])
    decision = rule.on_result(9, 100, (27.5, 0.33))
    assert decision is not None
    assert (decision.go_on, decision.position, decision.among) == (True, 2, 6)
    assert decision.reason == "rank 2 of 6 at iteration 100, of which 2 go on"
    third = rule.on_result(10, 100, (27.2, 0.34))
    assert third is not None
    assert (third.go_on, third.position, third.among) == (False, 3, 7)


def test_of_one_front_the_larger_contribution_goes_on() -> None:
    """A staircase: the hypervolume that only (26, 0.35) has is the least, by hand 1 * 0.01."""
    front = [(28.0, 0.40), (27.0, 0.36), (24.0, 0.20)]
    rule = asha(reduction_factor=1.5)  # of four, two go on
    results(rule, [(trial, 100, *values) for trial, values in enumerate(front)])
    little = rule.on_result(3, 100, (26.0, 0.35))
    assert little is not None
    assert (little.go_on, little.position) == (False, 4)
    much = rule.on_result(4, 100, (25.0, 0.25))
    assert much is not None
    assert much.go_on


def test_crowding_keeps_the_ends_of_a_front() -> None:
    rule = asha(reduction_factor=1.5, tie_break="crowding")
    assert results(rule, [(0, 100, 27.0, 0.3), (1, 100, 27.1, 0.31), (2, 100, 20.0, 0.1)])[2] is True
    middle = rule.on_result(3, 100, (27.05, 0.305))
    assert middle is not None
    assert not middle.go_on


def test_all_dominated_by_one_stop() -> None:
    assert results(asha(), [(0, 100, 30.0, 0.1), *((trial, 100, 25.0, 0.5) for trial in range(1, 6))]) == [
        True,
        *[False] * 5,
    ]


def test_equal_points_are_ordered_by_the_seed_alone() -> None:
    """The place depends on trial and seed, not on the order of arrival."""
    for order in itertools.permutations(range(3)):
        rule = asha(reduction_factor=1.5)
        last = [rule.on_result(trial, 100, (25.0, 0.5)) for trial in order][-1]
        assert last is not None
        ranks = sorted(range(3), key=lambda trial: _position(order, trial))
        assert len(ranks) == 3
        assert last.position == _position(range(3), order[-1]), "the place does not depend on the order"


def _position(order: Sequence[int], trial: int) -> int:
    """The place of a trial among three equals, by the rule itself in another order."""
    others = [number for number in order if number != trial]
    rule = asha(reduction_factor=1.5)
    for number in others:
        rule.on_result(number, 100, (25.0, 0.5))
    decision = rule.on_result(trial, 100, (25.0, 0.5))
    assert decision is not None
    return decision.position


def test_a_value_that_is_not_finite_stops_its_trial_alone() -> None:
    rule = asha()
    assert results(rule, [(0, 100, math.nan, 0.3)]) == [False]  # although it is alone
    assert results(rule, [(1, 100, 25.0, 0.5), (2, 100, 26.0, math.inf)]) == [True, False]
    decision = rule.on_result(3, 100, (26.0, 0.4))
    assert decision is not None
    assert (decision.go_on, decision.position, decision.among) == (True, 1, 4)


def test_a_missing_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="a point needs 2 objectives, but trial 7 has 1"):
        asha().on_result(7, 100, (25.0,))


def test_one_rung() -> None:
    rule = asha((200,))
    assert results(rule, [(0, 100, 25, 0.5), (0, 200, 26, 0.4), (0, 300, 27, 0.3)]) == [None, True, None]
    assert results(rule, [(1, 200, 25, 0.5), (1, 300, 40, 0.0)]) == [False, None]


def test_late_and_repeated_points_are_ignored() -> None:
    rule = asha()
    assert results(rule, [(0, 100, 25, 0.5), (0, 100, 19, 0.9), (0, 300, 26, 0.4), (0, 100, 30, 0.1)]) == [
        True,
        None,
        True,
        None,
    ]
    stopped = rule.on_result(1, 100, (24.0, 0.6))
    assert stopped is not None
    assert not stopped.go_on
    assert results(rule, [(1, 300, 40.0, 0.0), (1, 100, 40.0, 0.0)]) == [None, None]


def test_after_skipped_rungs_the_highest_counts() -> None:
    decision = asha().on_result(0, 450, (25.0, 0.5))
    assert decision is not None
    assert (decision.rung, decision.iteration) == (300, 450)


def test_replayed_points_restore_the_state() -> None:
    """Resumed in the middle, the rule decides as an uninterrupted one does."""
    random = np.random.default_rng(0)
    points = [
        (trial, rung, float(random.uniform(22, 30)), float(random.uniform(0.1, 0.7)))
        for rung in (100, 300)
        for trial in random.permutation(40).tolist()
    ]
    whole = asha()
    expected = [whole.on_result(trial, rung, values) for trial, rung, *values in points]
    assert any(decision is not None and decision.go_on for decision in expected)
    for cut in (1, 17, 40, 63):
        resumed = asha()
        results(resumed, points[:cut])
        assert [resumed.on_result(trial, rung, values) for trial, rung, *values in points[cut:]] == expected[cut:]


# --- ranks ---------------------------------------------------------------------------------------------------------


def _plain_order(points: Sequence[tuple[float, float]]) -> list[set[int]]:
    """Fronts by definition: each in turn those that no point left beats (PSNR up, LPIPS down)."""
    left, fronts = set(range(len(points))), []

    def beats(one: int, other: int) -> bool:
        better = points[one][0] >= points[other][0] and points[one][1] <= points[other][1]
        return better and points[one] != points[other]

    while left:
        front = {index for index in left if not any(beats(other, index) for other in left)}
        fronts.append(front)
        left -= front
    return fronts


def _plain_volume(points: Sequence[tuple[float, float]]) -> float:
    """The area that points dominate, summed in strips."""
    inside = sorted((p for p in points if p[0] > CORNER[0] and p[1] < CORNER[1]), key=lambda p: -p[0])
    area, lowest = 0.0, CORNER[1]
    for psnr, lpips in inside:
        if lpips < lowest:
            area += (psnr - CORNER[0]) * (lowest - lpips)
            lowest = lpips
    return area


@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_those_of_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    points = [(float(random.integers(22, 28)), float(random.integers(1, 7)) / 10) for _ in range(12)]
    rule = asha()
    for trial, values in enumerate(points):
        decision = rule.on_result(trial, 100, values)
    assert decision is not None
    fronts = _plain_order(points)
    level = next(index for index, front in enumerate(fronts) if 11 in front)
    before = sum(len(front) for front in fronts[:level])
    mates = [points[index] for index in fronts[level]]

    def contribution(index: int) -> float:
        others = [points[other] for other in fronts[level] if other != index]
        return _plain_volume(mates) - _plain_volume(others)

    own = contribution(11)
    better = sum(contribution(index) > own + 1e-9 for index in fronts[level])
    equal = sum(abs(contribution(index) - own) <= 1e-9 for index in fronts[level])
    assert before + better < decision.position <= before + better + equal


def test_crowding_distances_by_hand() -> None:
    losses = np.array([[0.0, 10.0], [1.0, 6.0], [4.0, 5.0], [10.0, 0.0]])
    assert crowding_distances(losses).tolist() == [math.inf, 0.4 + 0.5, 0.9 + 0.6, math.inf]
    assert crowding_distances(np.array([[1.0, 1.0], [1.0, 1.0]])).tolist() == [math.inf, math.inf]


# --- constraints ---------------------------------------------------------------------------------------------------


def test_trials_that_violate_a_constraint_rank_last() -> None:
    """Of six two go on: the best that violates its constraint ranks behind the worst that does not."""
    rule = asha()
    for trial in range(4):
        rule.on_result(trial, 100, (25.0 - trial, 0.5 + trial / 100))
    best = rule.on_result(4, 100, (30.0, 0.1), 0.01)
    assert best is not None
    assert (best.go_on, best.position, best.among) == (False, 5, 5)
    assert best.reason == "rank 5 of 5 at iteration 100, of which 1 go on; it violates a constraint"
    second = rule.on_result(5, 100, (24.5, 0.5))
    assert second is not None
    assert (second.go_on, second.position, second.among) == (True, 2, 6)


def test_among_violating_trials_the_least_violation_is_best() -> None:
    rule = asha()
    positions = []
    for trial, missed in enumerate([0.5, 0.1, math.inf, 0.3, 0.1]):
        decision = rule.on_result(trial, 100, (25.0, 0.5), missed)
        assert decision is not None
        positions.append(decision.position)
    # 0.5; before it 0.1; behind both inf; between them 0.3; beside the first 0.1, by lot.
    assert positions[:4] == [1, 1, 3, 2]
    assert positions[4] in (1, 2)
    lost = rule.on_result(9, 100, (math.nan, 0.5), 0.0)
    assert lost is not None
    assert (lost.go_on, lost.position) == (False, 6)
