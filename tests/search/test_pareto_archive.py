"""What stands on a study's front."""

from dataclasses import replace

import numpy as np
import pytest

from study.config import RunConfig
from study.record.goals import Constraint, Goals
from study.record.points import TrialPoint
from study.record.state import StudyRecord
from study.search.pareto_archive import Candidate, ParetoArchive, hypervolume_of
from tests.search.small_records import (
    GENERATOR,
    GOALS,
    OBJECTIVES,
    ended,
    evaluated,
    interpolated,
    small_record,
    started,
)


@pytest.fixture
def record(tiny: RunConfig) -> StudyRecord:
    return small_record(tiny)


def front_of(record: StudyRecord, goals: Goals = GOALS) -> list[Candidate]:
    return ParetoArchive(record, goals).members


def bounded(metric: str, bound: float) -> Goals:
    return replace(GOALS, constraints=(Constraint(metric, ">=", bound),))


def test_front_is_of_all_points_that_count(record: StudyRecord) -> None:
    members = front_of(record)
    points = [GENERATOR, *(TrialPoint(*each) for each in ((0, 20), (0, 40), (1, 20), (3, 20)))]
    assert [member.point for member in members] == points
    assert ParetoArchive(record, GOALS).points == tuple(points)
    assert [member.values for member in members][:2] == [(30, 0.5), (29, 0.4)]


def test_interpolation_may_be_on_the_front(record: StudyRecord) -> None:
    better, worse = interpolated(29.5, 0.35), interpolated(29.4, 0.36, space="images", seconds=4.0)
    record.apply(better)
    record.apply(worse)
    assert [member.point for member in front_of(record)][:3] == [GENERATOR, better.point, TrialPoint(0, 40)]
    assert record.device_seconds == 100 + 40 + 20 + 20 + 40 + 3 + 4


def test_point_that_misses_a_bound_does_not_count(record: StudyRecord) -> None:
    between = interpolated(29.5, 0.35, 44.0)
    record.apply(between)
    assert between.point in ParetoArchive(record, GOALS).points
    assert between.point not in ParetoArchive(record, bounded("lr_psnr", 45.0)).points
    none = bounded("psnr_y", 99.0)
    assert front_of(record, none) == []
    assert hypervolume_of([], none) == 0


def test_cost_of_a_trial_may_be_bounded(record: StudyRecord) -> None:
    """Fidelity generators and interpolations have no cost of their own."""
    record.apply(evaluated(0, 60, 35.0, 0.05, peak_gib=41.0))
    memory = Goals(OBJECTIVES, GOALS.reference, (Constraint("peak_gib", "<=", 40.0),))
    assert ParetoArchive(record, GOALS).points == (TrialPoint(0, 60),)
    assert ParetoArchive(record, memory).points == (
        GENERATOR,
        *(TrialPoint(*each) for each in ((0, 20), (0, 40), (1, 20), (3, 20))),
    )


def test_hypervolume_by_hand(record: StudyRecord) -> None:
    """In strips of LPIPS, from the worst to the best: 10 * 0.5 + 9 * 0.1 + 8 * 0.1 + 7 * 0.1 + 6 * 0.1."""
    expected = 5 + 0.9 + 0.8 + 0.7 + 0.6
    assert hypervolume_of(front_of(record), GOALS) == pytest.approx(expected)
    assert ParetoArchive(record, GOALS).hypervolume == pytest.approx(expected)


def test_front_grows_with_the_record_and_loses_failed_trials(record: StudyRecord, tiny: RunConfig) -> None:
    """Kept along the way, it is at each moment what one from scratch is."""
    kept = ParetoArchive(record, GOALS)
    random = np.random.default_rng(0)
    for step in range(60):
        values = float(random.uniform(24, 31)), float(random.uniform(0.05, 0.6))
        match step % 4:
            case 0 | 1:
                record.apply(started(10 + step, tiny))
                record.apply(evaluated(10 + step, 20, *values))
            case 2:
                record.apply(interpolated(*values, share=(1 + step) / 100))
            case 3:
                record.apply(ended(10 + step - 2, "FAILED" if random.random() < 0.5 else "COMPLETE"))
        assert kept.members == front_of(record), step
        assert kept.hypervolume == hypervolume_of(kept.members, GOALS)
    assert record.count("FAILED") > 3
