"""What stands on a study's front, and which jobs make it denser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.cluster.interpolation_jobs import InterpolationJobs, parents_of
from study.config import RunConfig, to_dict
from study.record.journal import Journal
from study.record.state import Records
from study.search.constraints import Constraint
from study.search.pareto_archive import Candidate, Goals, ParetoArchive
from study.training.stages.graph import Need

GOALS = Goals({"psnr_y": "maximize", "lpips_alex": "minimize"}, {"psnr_y": 20.0, "lpips_alex": 1.0})
KEY = "fidelity-0123456789abcdef"


def metrics(psnr: float, lpips: float, lr_psnr: float = 50.0) -> dict[str, float]:
    return {"psnr_y": psnr, "lpips_alex": lpips, "lr_psnr": lr_psnr}


def point(iteration: int, *values: float) -> dict[str, Any]:
    return {"iteration": iteration, "metrics": metrics(*values), "budget": {"device_seconds": float(iteration)}}


@pytest.fixture
def records(tmp_path: Path, tiny: RunConfig) -> Records:
    """Trials 0 (COMPLETE), 1 (PRUNED), 2 (FAILED) and 3 (RUNNING), each of which has a point on the front but 2."""
    records = Records(Journal(tmp_path / "journal.jsonl"))
    facts = {
        "budget": {"device_seconds": 100.0},
        "reused": False,
        "metrics": metrics(30, 0.5),
        "images": {},
        "samples": "",
    }
    records.artifact_made(Need(KEY, "fidelity", tiny), facts, reference_scale=tiny.data.scale)
    for number in range(4):
        records.trial(number, to_dict(tiny), {}, {"fidelity": KEY})
    for number, *points in ((0, (29, 0.4), (28, 0.3)), (1, (27, 0.2)), (2, (40, 0.0)), (3, (26, 0.1), (25, 0.6))):
        for index, values in enumerate(points):
            records.point(number, point(20 * (index + 1), *values))
    for number, state in ((0, "COMPLETE"), (1, "PRUNED"), (2, "FAILED")):
        records.end(number, state)
    return records


def front_of(records: Records, goals: Goals) -> list[Candidate]:
    return ParetoArchive(records, goals).members


def densifier_of(records: Records, **more: Any) -> InterpolationJobs:
    return InterpolationJobs(records, ParetoArchive(records, GOALS), **more)


# --- the front -----------------------------------------------------------------------------------------------------


def test_the_front_is_of_all_that_counts(records: Records) -> None:
    labels = [member.label for member in front_of(records, GOALS)]
    assert labels == ["fidelity abcdef", "trial 0 at 20", "trial 0 at 40", "trial 1 at 20", "trial 3 at 20"]
    assert [member.values for member in front_of(records, GOALS)][:2] == [(30, 0.5), (29, 0.4)]


def test_a_interpolation_may_stand_on_it(records: Records) -> None:
    records.interpolation("a--b", "weights-5000", {"metrics": metrics(29.5, 0.35), "budget": {"device_seconds": 3.0}})
    records.interpolation("a--b", "pixels-5000", {"metrics": metrics(29.4, 0.36), "budget": {"device_seconds": 4.0}})
    assert [member.label for member in front_of(records, GOALS)][:3] == [
        "fidelity abcdef",
        "a--b weights-5000",
        "trial 0 at 40",
    ]
    assert records.device_seconds == 100 + 40 + 20 + 20 + 40 + 3 + 4


def test_what_misses_a_bound_does_not_count(records: Records) -> None:
    records.interpolation("a--b", "weights-5000", {"metrics": metrics(29.5, 0.35, 44.0)})
    bounded = Goals(GOALS.directions, GOALS.reference, [Constraint("lr_psnr", ">=", 45.0)])
    assert "a--b weights-5000" in [member.label for member in front_of(records, GOALS)]
    assert "a--b weights-5000" not in [member.label for member in front_of(records, bounded)]
    none = Goals(GOALS.directions, GOALS.reference, [Constraint("psnr_y", ">=", 99.0)])
    assert front_of(records, none) == []
    assert none.hypervolume([]) == 0


def test_its_hypervolume_by_hand(records: Records) -> None:
    """In strips of LPIPS, from the worst to the best: 10 * 0.5 + 9 * 0.1 + 8 * 0.1 + 7 * 0.1 + 6 * 0.1."""
    assert GOALS.hypervolume(front_of(records, GOALS)) == pytest.approx(5 + 0.9 + 0.8 + 0.7 + 0.6)


def test_it_grows_with_the_records_and_loses_what_failed(records: Records) -> None:
    """Kept along the way, it is at each moment what one from scratch is."""
    kept = ParetoArchive(records, GOALS)
    random = np.random.default_rng(0)
    for step in range(60):
        values = float(random.uniform(24, 31)), float(random.uniform(0.05, 0.6))
        match step % 4:
            case 0 | 1:
                records.trial(10 + step, {}, {}, {})
                records.point(10 + step, point(20, *values))
            case 2:
                records.interpolation("a--b", f"weights-{step}", {"metrics": metrics(*values)})
            case 3:
                records.end(10 + step - 2, "FAILED" if random.random() < 0.5 else "COMPLETE")
        assert kept.members == ParetoArchive(records, GOALS).members, step
        assert kept.hypervolume == GOALS.hypervolume(kept.members)
    assert records.count("FAILED") > 3


# --- densification -------------------------------------------------------------------------------------------------


def names(interpolation_jobs: InterpolationJobs, *, last: bool) -> list[str]:
    return [job.name for job in interpolation_jobs.jobs(last)]


def test_points_on_the_front_are_interpolationed_once_their_trial_has_ended(records: Records) -> None:
    interpolation_jobs = densifier_of(records, interpolations=3)
    assert names(interpolation_jobs, last=False) == [f"{KEY}--0000-0000040", f"{KEY}--0001-0000020"]  # the last of each
    records.end(3, "COMPLETE")
    assert f"{KEY}--0003-0000020" in names(interpolation_jobs, last=False)


def test_neighbours_come_last_and_no_pair_twice(records: Records) -> None:
    records.end(3, "PRUNED")
    found = names(densifier_of(records, interpolations=3), last=True)
    assert found == [
        f"{KEY}--0000-0000020",  # its own generator's, and its neighbour as well
        f"{KEY}--0000-0000040",
        f"{KEY}--0001-0000020",
        f"{KEY}--0003-0000020",
        "0000-0000020--0000-0000040",
        "0000-0000040--0001-0000020",
        "0001-0000020--0003-0000020",
    ]


def test_what_is_done_is_not_done_again(records: Records) -> None:
    interpolation_jobs = densifier_of(records, interpolations=3)
    first = names(interpolation_jobs, last=True)
    records.pair(first[0], "COMPLETE")
    records.pair(first[1], "FAILED", "an image was not finite")
    assert names(interpolation_jobs, last=True) == first[2:]
    again = densifier_of(Records(records.journal), interpolations=3)
    assert names(again, last=True) == first[2:]


def test_a_job_says_all_that_a_worker_needs(records: Records, tiny: RunConfig) -> None:
    job = next(iter(densifier_of(records, interpolations=3).jobs(last=False)))
    assert (job.kind, job.workers, job.config) == ("interpolation", 1, tiny)
    assert job.pair is not None
    assert (job.pair["spaces"], job.pair["shares"]) == (["weights", "images"], [0.25, 0.5, 0.75])
    assert [parent["config"] for parent in job.pair["parents"]] == [to_dict(tiny)] * 2
    assert parents_of(job) == [
        {"trial": None, "iteration": None, "fidelity": KEY, "label": "fidelity abcdef"},
        {"trial": 0, "iteration": 40, "fidelity": KEY, "label": "trial 0 at 40"},
    ]


def test_every_point_is_interpolationed_for_a_recording(records: Records) -> None:
    interpolation_jobs = densifier_of(records, interpolations=2, extent="all")
    records.point(0, point(60, 20.0, 0.9))  # far from the front
    found = list(interpolation_jobs.jobs(last=False))
    assert [job.name for job in found] == [
        f"{KEY}--0000-0000020",
        f"{KEY}--0000-0000040",
        f"{KEY}--0001-0000020",
        f"{KEY}--0000-0000060",
    ]
    assert all(job.pair is not None and job.pair["spaces"] == ["weights"] for job in found)


def test_nothing_is_interpolationed_where_no_interpolations_are_asked_for(records: Records) -> None:
    assert names(densifier_of(records, interpolations=0), last=True) == []
