"""The driver's memory: each fact written once, and the same after the journal is opened again."""

from pathlib import Path
from typing import Any

import pytest

from study.cluster.jobs import Need
from study.config import RunConfig, Stage, replace, to_dict
from study.config.recipes import aesop
from study.record.journal import Journal
from study.record.state import Records

TINY = aesop("tiny")
GOOD = {"psnr_y": 28.0, "swd": 12.5}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(Journal(tmp_path / "journal.jsonl"))


def events(records: Records, kind: str) -> list[dict[str, Any]]:
    return [event for event in records.journal.events() if event["event"] == kind]


def memory(records: Records) -> dict[str, Any]:
    """All that it knows, but the time at which events were written."""
    known = {name: value for name, value in vars(records).items() if name != "journal"}
    artifacts = {key: {**event, "time": None} for key, event in records.artifacts.items()}
    return {**known, "artifacts": artifacts, "uses": records.uses}


def draw(records: Records, number: int, **upstream: str) -> None:
    records.trial(number, {"seed": number}, {"loss.fidelity": 1.0}, upstream)


def point(iteration: int, **metrics: float) -> dict[str, Any]:
    return {"iteration": iteration, "metrics": metrics or GOOD, "terms": {}, "budget": {}}


def need(key: str, stage: Stage, config: RunConfig = TINY) -> Need:
    return Need(key, stage, config)


def make(records: Records, needed: Need, *, reused: bool = False) -> None:
    budget = {"iterations": 800, "pixels_seen": 9, "device_seconds": 2.5}
    facts = {"metrics": GOOD, "images": {"swd": {"coffee": 1.0}}, "samples": f"references/{needed.key}"}
    records.artifact_made(needed, {"budget": budget, "reused": reused, **facts}, reference_scale=4)


def a_study(records: Records) -> None:
    records.study("RUNNING")
    records.reference("bicubic", kind="bicubic", metrics={"psnr_y": 26.0, "swd": 34.0})
    draw(records, 0, fidelity="fidelity-1", autoencoder="autoencoder-1")
    draw(records, 1, fidelity="fidelity-1")
    draw(records, 2, fidelity="fidelity-1", autoencoder="autoencoder-2")
    draw(records, 3, fidelity="fidelity-1")
    make(records, need("fidelity-1", "fidelity"))
    make(records, need("autoencoder-1", "autoencoder"))
    records.artifact_failed(need("autoencoder-2", "autoencoder"), "diverged")
    records.point(0, point(80))
    records.point(0, point(160, psnr_y=27.0, swd=11.0))
    records.point(1, point(80))
    records.end(0, "COMPLETE", warm=False, overhead_seconds=3.0, seconds=20.0)
    records.end(1, "PRUNED", warm=True, overhead_seconds=0.02, seconds=10.0)
    records.end(2, "FAILED", cause="its autoencoder-2 failed: diverged")
    records.front(trials_ended=3, hypervolume=4.0, members=["trial 0 at 160"])


def test_it_knows_how_each_trial_stands(records: Records) -> None:
    a_study(records)
    assert records.states == {0: "COMPLETE", 1: "PRUNED", 2: "FAILED", 3: "RUNNING"}
    assert [records.count(state) for state in ("COMPLETE", "PRUNED", "FAILED", "RUNNING")] == [1, 1, 1, 1]
    assert records.causes == {2: "its autoencoder-2 failed: diverged"}
    assert records.references == {"bicubic": {"psnr_y": 26.0, "swd": 34.0}, "fidelity-1": GOOD}


def test_uses_count_the_trials_that_start_from_each_artifact(records: Records) -> None:
    a_study(records)
    assert records.uses == {"fidelity-1": 4, "autoencoder-1": 1, "autoencoder-2": 1}


def test_overheads_are_of_warm_workers_durations_of_all_that_entered(records: Records) -> None:
    a_study(records)
    assert records.overheads == [0.02]
    assert records.durations == [20.0, 10.0]


def test_an_opened_journal_gives_the_same_memory(records: Records) -> None:
    a_study(records)
    again = Records(Journal(records.journal.path))
    assert memory(again) == memory(records)
    assert len(list(again.journal.events())) == 17


def test_what_is_told_twice_is_written_once_also_after_a_restart(records: Records) -> None:
    a_study(records)
    lines = records.journal.path.read_text()
    for told in (records, Records(Journal(records.journal.path))):
        draw(told, 0, fidelity="fidelity-9")
        told.point(0, point(80, psnr_y=1.0, swd=1.0))
        told.end(0, "FAILED", cause="too late")
        told.end(2, "COMPLETE")
        told.artifact_failed(need("fidelity-1", "fidelity"), "too late")
        make(told, need("fidelity-1", "fidelity"), reused=True)
        told.reference("bicubic", kind="bicubic", metrics={"psnr_y": 0.0})
        assert told.states[0] == "COMPLETE"
        assert told.points[0, 80] == GOOD
        assert told.uses["fidelity-9"] == 0
    assert records.journal.path.read_text() == lines


def test_a_failed_artifact_may_be_trained_again_a_finished_one_stays(records: Records) -> None:
    a_study(records)
    make(records, need("autoencoder-2", "autoencoder"))
    records.artifact_failed(need("autoencoder-2", "autoencoder"), "later")
    of_it = [event for event in events(records, "artifact") if event["key"] == "autoencoder-2"]
    assert [(event["state"], event["cause"]) for event in of_it] == [("FAILED", "diverged"), ("COMPLETE", None)]
    assert records.artifacts["autoencoder-2"]["state"] == "COMPLETE"


def test_an_artifact_is_written_with_what_it_is_and_what_it_cost(records: Records) -> None:
    make(records, need("autoencoder-1", "autoencoder"), reused=True)
    (event,) = events(records, "artifact")
    assert event["config"] == to_dict(TINY)
    assert (event["stage"], event["state"], event["reused"]) == ("autoencoder", "COMPLETE", True)
    assert event["budget"] == {"iterations": 800, "pixels_seen": 9, "device_seconds": 2.5}
    assert event["metrics"] == GOOD


def test_only_fidelity_generators_of_the_studys_scale_are_points_of_it(records: Records) -> None:
    make(records, need("fidelity-1", "fidelity"))
    make(records, need("fidelity-2", "fidelity", replace(TINY, {"data.scale": 2})))
    make(records, need("autoencoder-1", "autoencoder"))
    (event,) = events(records, "reference")
    assert (event["name"], event["kind"], event["samples"]) == ("fidelity-1", "fidelity", "references/fidelity-1")
    assert event["images"] == {"swd": {"coffee": 1.0}}
    assert records.references == {"fidelity-1": GOOD}


def test_fronts_and_the_studys_own_states_are_all_written(records: Records) -> None:
    for state in ("RUNNING", "INTERRUPTED", "RUNNING", "COMPLETE"):
        records.study(state)
    records.front(trials_ended=1, hypervolume=1.0, members=[])
    records.front(trials_ended=1, hypervolume=1.0, members=[])
    assert [event["state"] for event in events(records, "study")] == ["RUNNING", "INTERRUPTED", "RUNNING", "COMPLETE"]
    assert len(events(records, "front")) == 2


def test_the_last_metrics_are_of_the_latest_iteration_not_of_the_last_told(records: Records) -> None:
    draw(records, 0)
    assert records.last_metrics(0) is None
    records.point(0, point(160, psnr_y=27.0, swd=11.0))
    records.point(0, point(80))
    assert records.last_metrics(0) == {"psnr_y": 27.0, "swd": 11.0}
    assert records.last_metrics(1) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_last_point_that_is_not_finite_is_no_result(records: Records, value: float) -> None:
    draw(records, 0)
    records.point(0, point(80))
    records.point(0, point(160, psnr_y=27.0, swd=value))
    assert records.last_metrics(0) is None
    assert Records(Journal(records.journal.path)).last_metrics(0) is None


def test_live_points_leave_out_the_trials_that_failed(records: Records) -> None:
    a_study(records)
    draw(records, 4)
    records.point(4, point(80))
    assert set(records.live_points()) == {(0, 80), (0, 160), (1, 80), (4, 80)}
    records.end(4, "FAILED", cause="diverged")
    assert set(records.live_points()) == {(0, 80), (0, 160), (1, 80)}  # a pruned trial keeps what it reached
