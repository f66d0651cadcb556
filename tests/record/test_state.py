"""A study rebuilt from its journal: each event recorded once, and the same after the journal is opened again."""

from pathlib import Path
from typing import Any

import pytest

from study.record.events import (
    AliasesPublished,
    ArtifactEnded,
    Event,
    FilesPublished,
    FrontMoved,
    ModelPublished,
    PairEnded,
    PointEvaluated,
    ReferenceEvaluated,
    StudyStateChanged,
    TrialEnded,
    TrialExtended,
    TrialRetried,
    TrialStarted,
)
from study.record.journal import Journal
from study.record.points import FidelityPoint, InterpolatedPoint, Spent, TrialPoint
from study.record.state import Recorder

GOOD = {"psnr_y": 28.0, "swd": 12.5}
COST = Spent(iterations=800, pixels_seen=9, device_seconds=2.5)
GENERATOR = FidelityPoint("fidelity-1")


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(Journal(tmp_path / "journal.jsonl"))


def lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "journal.jsonl").read_text().splitlines()


def started(number: int, **upstream: str) -> TrialStarted:
    return TrialStarted(trial=number, config={"seed": number}, params={"loss.fidelity": 1.0}, upstream=upstream)


def point(trial: int, iteration: int, seconds: float = 0.0, **metrics: float) -> PointEvaluated:
    return PointEvaluated(
        point=TrialPoint(trial, iteration),
        metrics=metrics or GOOD,
        images={},
        terms={},
        spent=Spent(device_seconds=seconds),
        samples="s",
    )


def artifact(key: str, **changes: Any) -> ArtifactEnded:
    stage = key.partition("-")[0]
    values = {"config": {}, "state": "COMPLETE", "metrics": GOOD, "spent": COST, **changes}
    return ArtifactEnded(key=key, stage=stage, **values)


def reference(name: str, kind: str, **metrics: float) -> ReferenceEvaluated:
    return ReferenceEvaluated(name=name, kind=kind, metrics=metrics or GOOD, images={}, samples=f"references/{name}")


def a_study() -> list[Event]:
    return [
        StudyStateChanged(state="RUNNING"),
        reference("bicubic", "bicubic", psnr_y=26.0, swd=34.0),
        started(0, fidelity="fidelity-1", autoencoder="autoencoder-1"),
        started(1, fidelity="fidelity-1"),
        started(2, fidelity="fidelity-1", autoencoder="autoencoder-2"),
        started(3, fidelity="fidelity-1"),
        artifact("fidelity-1"),
        reference("fidelity-1", "fidelity"),
        artifact("autoencoder-1"),
        artifact("autoencoder-2", state="FAILED", cause="diverged", metrics={}, spent=Spent()),
        point(0, 80, seconds=3.0),
        point(0, 160, seconds=7.0, psnr_y=27.0, swd=11.0),
        point(1, 80, seconds=4.0),
        TrialEnded(trial=0, state="COMPLETE", warm=False, overhead_seconds=3.0, seconds=20.0),
        TrialEnded(trial=1, state="PRUNED", warm=True, overhead_seconds=0.02, seconds=10.0),
        TrialEnded(trial=2, state="FAILED", cause="its autoencoder-2 failed: diverged"),
        FrontMoved(trials_ended=3, hypervolume=4.0, members=(TrialPoint(0, 160),)),
    ]


@pytest.fixture
def studied(recorder: Recorder) -> Recorder:
    assert all(recorder.add(event) for event in a_study())
    return recorder


def test_the_state_of_each_trial(studied: Recorder) -> None:
    record = studied.record
    assert [record.trial_state(number) for number in range(4)] == ["COMPLETE", "PRUNED", "FAILED", "RUNNING"]
    assert [record.count(state) for state in ("COMPLETE", "PRUNED", "FAILED", "RUNNING")] == [1, 1, 1, 1]
    assert record.ends[2].cause == "its autoencoder-2 failed: diverged"
    metrics = {name: reference.metrics for name, reference in record.references.items()}
    assert metrics == {"bicubic": {"psnr_y": 26.0, "swd": 34.0}, "fidelity-1": GOOD}


def test_uses_count_trials_per_artifact(studied: Recorder) -> None:
    assert studied.record.uses == {"fidelity-1": 4, "autoencoder-1": 1, "autoencoder-2": 1}


def test_overheads_are_of_warm_workers_durations_of_all(studied: Recorder) -> None:
    assert studied.record.warm_overheads == [0.02]
    assert studied.record.durations == [20.0, 10.0]


def test_device_seconds_count_each_trial_at_its_last_point(studied: Recorder) -> None:
    assert studied.record.device_seconds == 2 * 2.5 + 7.0 + 4.0
    studied.add(artifact("autoencoder-3", reused=True))
    assert studied.record.device_seconds == 16.0


def test_an_opened_journal_gives_the_same_record(studied: Recorder, tmp_path: Path) -> None:
    again = Recorder(Journal(tmp_path / "journal.jsonl"))
    assert again.record == studied.record
    assert len(lines(tmp_path)) == len(a_study())


@pytest.mark.parametrize("restarted", [False, True])
def test_what_is_recorded_twice_is_written_once(studied: Recorder, tmp_path: Path, restarted: bool) -> None:
    before = lines(tmp_path)
    recorder = Recorder(Journal(tmp_path / "journal.jsonl")) if restarted else studied
    for event in (
        started(0, fidelity="fidelity-9"),
        point(0, 80, psnr_y=1.0, swd=1.0),
        TrialEnded(trial=0, state="FAILED", cause="too late"),
        TrialEnded(trial=2, state="COMPLETE"),
        artifact("fidelity-1", state="FAILED", cause="too late"),
        artifact("fidelity-1", reused=True),
        reference("bicubic", "bicubic", psnr_y=0.0),
    ):
        assert not recorder.add(event)
    assert recorder.record.trial_state(0) == "COMPLETE"
    assert recorder.record.points[TrialPoint(0, 80)].metrics == GOOD
    assert recorder.record.uses["fidelity-9"] == 0
    assert lines(tmp_path) == before


def test_a_failed_artifact_may_be_trained_again(studied: Recorder) -> None:
    assert studied.add(artifact("autoencoder-2"))
    assert not studied.add(artifact("autoencoder-2", state="FAILED", cause="later"))
    of_it = [ended for ended in studied.record.artifacts if ended.key == "autoencoder-2"]
    assert [(ended.state, ended.cause) for ended in of_it] == [("FAILED", "diverged"), ("COMPLETE", None)]
    assert studied.record.last_artifacts["autoencoder-2"].state == "COMPLETE"


def test_fronts_and_study_states_are_all_written(recorder: Recorder) -> None:
    states = ("RUNNING", "INTERRUPTED", "RUNNING", "COMPLETE")
    assert all(recorder.add(StudyStateChanged(state=state)) for state in states)  # type: ignore[arg-type]
    moved = FrontMoved(trials_ended=1, hypervolume=1.0, members=())
    assert recorder.add(moved)
    assert recorder.add(moved)
    assert recorder.record.state == "COMPLETE"
    assert recorder.record.hypervolumes == [1.0, 1.0]


def test_the_final_front_is_written_where_it_moved(studied: Recorder) -> None:
    final = FrontMoved(trials_ended=3, hypervolume=4.0, members=(TrialPoint(0, 160),), final=True)
    assert not studied.add(final)
    mixed = InterpolatedPoint(GENERATOR, TrialPoint(0, 160), "weights", 0.5)
    assert studied.add(FrontMoved(trials_ended=3, hypervolume=5.0, members=(mixed,), final=True))
    assert studied.record.hypervolumes == [4.0]


def test_published_files_are_written_again_where_they_changed(recorder: Recorder, tmp_path: Path) -> None:
    files = FilesPublished(trial=None, folder="report", paths=("report.html",), content="aa")
    model = ModelPublished(point=TrialPoint(0, 8), trial=0, folder="models/a", paths=("w",), tags={"psnr_y": "28"})
    aliases = AliasesPublished(aliases={"balanced": TrialPoint(0, 8)}, members=(TrialPoint(0, 8),))
    for event in (files, model, aliases):
        assert recorder.add(event)
        assert not recorder.add(event)
        assert not Recorder(Journal(tmp_path / "journal.jsonl")).add(event)
    changed = FilesPublished(trial=None, folder="report", paths=("report.html",), content="bb")
    assert recorder.add(changed)
    assert recorder.add(files)


def test_last_metrics_are_of_the_latest_iteration(recorder: Recorder) -> None:
    recorder.add(started(0))
    assert recorder.record.last_metrics(0) is None
    recorder.add(point(0, 160, psnr_y=27.0, swd=11.0))
    recorder.add(point(0, 80))
    assert recorder.record.last_metrics(0) == {"psnr_y": 27.0, "swd": 11.0}
    assert recorder.record.last_metrics(1) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_last_point_that_is_not_finite_is_no_result(recorder: Recorder, tmp_path: Path, value: float) -> None:
    recorder.add(started(0))
    recorder.add(point(0, 80))
    recorder.add(point(0, 160, psnr_y=27.0, swd=value))
    assert recorder.record.last_metrics(0) is None
    assert Recorder(Journal(tmp_path / "journal.jsonl")).record.last_metrics(0) is None


def test_live_points_leave_out_failed_trials(studied: Recorder) -> None:
    studied.add(started(4))
    studied.add(point(4, 80))
    kept = {TrialPoint(0, 80), TrialPoint(0, 160), TrialPoint(1, 80)}  # a pruned trial keeps what it reached
    assert set(studied.record.live_points()) == kept | {TrialPoint(4, 80)}
    studied.add(TrialEnded(trial=4, state="FAILED", cause="diverged"))
    assert set(studied.record.live_points()) == kept


def test_a_resumed_study_tries_again_what_failed_for_a_cause_outside_it(tmp_path: Path) -> None:
    died = TrialEnded(trial=0, state="FAILED", cause="its process died 3 times", retry=True)
    diverged = TrialEnded(trial=1, state="FAILED", cause="diverged")
    recorder = Recorder(Journal(tmp_path / "journal.jsonl"))
    for ended in (died, diverged):
        recorder.add(TrialStarted(trial=ended.trial, config={}, params={}, upstream={}))
        recorder.add(ended)
    pairs = [
        PairEnded(first=FidelityPoint("f"), second=TrialPoint(number, 6), state="FAILED", retry=not number)
        for number in (0, 1)
    ]
    for pair in pairs:
        recorder.add(pair)

    resumed = Recorder(Journal(tmp_path / "journal.jsonl"))
    resumed.try_again()
    assert [resumed.record.trial_state(number) for number in (0, 1)] == ["RUNNING", "FAILED"]
    assert list(resumed.record.pairs.values()) == pairs[1:]
    events = [entry.event for entry in Journal(tmp_path / "journal.jsonl").entries()]
    assert [event for event in events if isinstance(event, TrialRetried)] == [TrialRetried(trial=0)]


def test_a_run_that_is_trained_further_is_open_until_it_ends_again(tmp_path: Path) -> None:
    recorder = Recorder(Journal(tmp_path / "journal.jsonl"))
    short, long = ({"budget": {"iterations": iterations}} for iterations in (24, 48))
    recorder.add(TrialStarted(trial=0, config=short, params={}, upstream={"fidelity": "fidelity-1"}))
    recorder.add(TrialEnded(trial=0, state="COMPLETE"))
    assert recorder.add(TrialExtended(trial=0, config=long))
    assert not recorder.add(TrialExtended(trial=0, config=long))
    for record in (recorder.record, Recorder(Journal(tmp_path / "journal.jsonl")).record):
        assert (record.trial_state(0), record.trials[0].config) == ("RUNNING", long)
        assert record.uses == {"fidelity-1": 1}
    assert recorder.add(TrialEnded(trial=0, state="COMPLETE"))
    assert recorder.record.trial_state(0) == "COMPLETE"
