"""Which pairs are interpolated, and in which spaces."""

from collections.abc import Sequence
from typing import Any

import pytest

from study.config import RunConfig, from_dict, to_dict
from study.config.recipes import get_recipe
from study.record.events import PairEnded
from study.record.points import FidelityPoint, TrialPoint
from study.record.state import StudyRecord
from study.search.interpolation import InterpolationPlan, Pair, Parent, neighbours, shares_of, with_own_generators
from study.search.pareto_archive import ParetoArchive
from tests.search.small_records import GOALS, KEY, ended, evaluated, generator, interpolated, small_record, started

GENERATOR = Parent(FidelityPoint("fidelity-aaaaaa111111"), "fidelity-aaaaaa111111", "rrdb")
OTHER = Parent(FidelityPoint("fidelity-bbbbbb222222"), "fidelity-bbbbbb222222", "rrdb")


@pytest.fixture
def record(tiny: RunConfig) -> StudyRecord:
    return small_record(tiny)


def point(trial: int, fidelity: str | None = GENERATOR.fidelity, form: str = "rrdb") -> Parent:
    return Parent(TrialPoint(trial, 40), fidelity, form)


def plan_of(record: StudyRecord, count: int = 3, **more: Any) -> InterpolationPlan:
    return InterpolationPlan(record, ParetoArchive(record, GOALS), count, **more)


def names(pairs: Sequence[Pair]) -> list[str]:
    return [pair.name for pair in pairs]


# --- pairs ---------------------------------------------------------------------------------------------------------


def test_points_go_with_the_generator_that_they_started_from() -> None:
    points = [point(0), point(1, OTHER.fidelity), point(2, None), point(3, "fidelity-unknown"), GENERATOR]
    assert with_own_generators(points, [GENERATOR, OTHER]) == [Pair(GENERATOR, point(0)), Pair(OTHER, points[1])]


def test_neighbours_go_with_the_next() -> None:
    front = [GENERATOR, point(1), point(0)]
    assert neighbours(front) == [Pair(GENERATOR, point(1)), Pair(point(1), point(0))]
    assert neighbours(front[:1]) == []


def test_weights_are_interpolated_only_between_related_equal_networks() -> None:
    assert Pair(GENERATOR, point(0)).spaces == ("weights", "images")
    assert Pair(point(0), point(1)).spaces == ("weights", "images")
    assert Pair(point(0), point(1, OTHER.fidelity)).spaces == ("images",)
    assert Pair(point(0, None), point(1, None)).spaces == ("images",)  # both from scratch
    assert Pair(GENERATOR, point(0, form="spsr")).spaces == ("images",)


def test_images_may_be_left_out() -> None:
    assert Pair(GENERATOR, point(0), weights_only=True).spaces == ("weights",)
    assert Pair(point(0, None), point(1, None), weights_only=True).spaces == ()


def test_interpolations_lie_evenly_between_their_parents() -> None:
    assert shares_of(3) == (0.25, 0.5, 0.75)
    assert shares_of(0) == ()


def test_labels_are_those_of_the_front() -> None:
    assert point(3).label == "trial 3 at 40"
    assert GENERATOR.label == "fidelity 111111"


# --- the plan of a study -------------------------------------------------------------------------------------------


def test_points_on_the_front_are_due_once_their_trial_ended(record: StudyRecord) -> None:
    plan = plan_of(record)
    assert names(plan.pairs(last=False)) == [f"{KEY}--0000-0000040", f"{KEY}--0001-0000020"]  # the last of each
    record.apply(ended(3))
    assert f"{KEY}--0003-0000020" in names(plan.pairs(last=False))


def test_neighbours_come_last_and_no_pair_twice(record: StudyRecord) -> None:
    record.apply(ended(3, "PRUNED"))
    assert names(plan_of(record).pairs(last=True)) == [
        f"{KEY}--0000-0000020",  # its own generator's, and its neighbour as well
        f"{KEY}--0000-0000040",
        f"{KEY}--0001-0000020",
        f"{KEY}--0003-0000020",
        "0000-0000020--0000-0000040",
        "0000-0000040--0001-0000020",
        "0001-0000020--0003-0000020",
    ]


def test_interpolations_on_the_front_are_no_parents(record: StudyRecord) -> None:
    before = names(plan_of(record).pairs(last=True))
    record.apply(interpolated(29.9, 0.45, share=0.25))
    assert names(plan_of(record).pairs(last=True)) == before


def test_pairs_that_are_done_are_not_due_again(record: StudyRecord) -> None:
    plan = plan_of(record)
    first = plan.pairs(last=True)
    done, failed = first[:2]
    record.apply(PairEnded(first=done.first.point, second=done.second.point, state="COMPLETE"))
    record.apply(PairEnded(first=failed.first.point, second=failed.second.point, state="FAILED"))
    assert plan.pairs(last=True) == first[2:]
    assert plan_of(record).pairs(last=True) == first[2:]


def test_plan_gives_all_that_a_job_needs(record: StudyRecord, tiny: RunConfig) -> None:
    plan = plan_of(record)
    pair = plan.pairs(last=False)[0]
    assert (pair.first.point, pair.second.point) == (FidelityPoint(KEY), TrialPoint(0, 40))
    assert (pair.first.fidelity, pair.second.fidelity) == (KEY, KEY)
    assert (pair.spaces, plan.shares) == (("weights", "images"), (0.25, 0.5, 0.75))
    assert [plan.config_of(parent) for parent in (pair.first, pair.second)] == [to_dict(tiny)] * 2
    assert from_dict(plan.config_of(pair.second)) == tiny


def test_generator_of_another_form_shares_no_weights() -> None:
    """SPSR has a gradient branch that its fidelity generator lacks."""
    spsr = get_recipe("spsr", "tiny")
    record = StudyRecord()
    for event in (generator(30, 0.5), started(0, spsr), evaluated(0, 40, 29, 0.4), ended(0)):
        record.apply(event)
    (pair,) = plan_of(record).pairs(last=False)
    assert pair.spaces == ("images",)


def test_every_point_is_due_for_a_tabular_benchmark(record: StudyRecord) -> None:
    record.apply(evaluated(0, 60, 20.0, 0.9))  # far from the front
    found = plan_of(record, 2, extent="all").pairs(last=False)
    assert names(found) == [
        f"{KEY}--0000-0000020",
        f"{KEY}--0000-0000040",
        f"{KEY}--0001-0000020",
        f"{KEY}--0000-0000060",
    ]
    assert all(pair.spaces == ("weights",) for pair in found)


def test_no_pair_is_due_without_interpolations(record: StudyRecord) -> None:
    assert plan_of(record, 0).pairs(last=True) == []
