"""The searcher without Tune: jobs handed out to free workers, and messages recorded as events."""

import errno
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from study.cluster.failures import FAILURES_IN_A_ROW
from study.cluster.jobs import Job, JobQueue, QueueRules
from study.cluster.messages import (
    Advanced,
    Entered,
    Happened,
    JobEnded,
    JobRequest,
    Message,
    PairSpec,
    ParentSpec,
    read_request,
    write_message,
)
from study.cluster.monitor import seconds_left
from study.cluster.searcher import SearcherRules, StudySearcher
from study.config import RunConfig, Stage, replace, stage_key, to_dict
from study.config.recipes import mdf
from study.record.events import (
    ArtifactEnded,
    Event,
    InterpolationEvaluated,
    PointEvaluated,
    ReferenceEvaluated,
    RungDecided,
    StudyStateChanged,
    TrialEnded,
    TrialRetried,
    TrialStarted,
    WorkerDied,
)
from study.record.journal import Journal
from study.record.points import FidelityPoint, InterpolatedPoint, Spent, TrialPoint
from study.record.state import Recorder, StudyRecord
from study.search.asha import MultiObjectiveASHA

GOOD = {"psnr_y": 28.0, "swd": 12.5}
IMAGES = {"coffee": {"psnr_y": 28.0}}


class Bench:
    """A searcher with queue and recorder; its methods simulate Tune and the workers."""

    def __init__(self, source: Any, folder: Path) -> None:
        self.source, self.room = source, 2
        self.ended: list[TrialEnded] = []
        self.asha: MultiObjectiveASHA | None = None
        self.journal = Journal(folder / "journal.jsonl")
        self.recorder = Recorder(self.journal)
        rules = QueueRules(len(source.configs), self._key_of, time.time, self._on_trial, self._on_failed)
        self.queue = JobQueue(source, rules)
        self.searcher = StudySearcher(
            self.queue,
            self.recorder,
            SearcherRules(
                request_of=lambda job: JobRequest(job.spec, {"data": "here"}, "runs/quick", threads=1),
                slots=lambda: self.room,
                on_trial_ended=self.ended.append,
                reference_scale=4,
                compare=self._compare,
            ),
        )

    @property
    def record(self) -> StudyRecord:
        return self.recorder.record

    @property
    def states(self) -> dict[int, str]:
        return {number: self.record.trial_state(number) for number in self.record.trials}

    @staticmethod
    def _key_of(config: RunConfig, stage: Stage) -> str:
        return stage_key(config, stage, "images")

    def _on_trial(self, asked: Any, upstream: Any) -> None:
        self.recorder.add(TrialStarted(trial=asked.number, config={}, params={}, upstream=upstream))

    def _on_failed(self, trial: Any, cause: str, retry: bool) -> None:
        self.recorder.add(TrialStarted(trial=trial.number, config={}, params={}, upstream={}))
        self.recorder.add(TrialEnded(trial=trial.number, state="FAILED", cause=cause, retry=retry))

    def _compare(self, event: PointEvaluated) -> RungDecided | None:
        if self.asha is None:
            return None
        values = (event.metrics["psnr_y"], event.metrics["swd"])
        return self.asha.on_result(event.point.trial, event.point.iteration, values)

    def suggest(self, tune_id: str) -> JobRequest:
        """Hand out a job."""
        handed_out = self.searcher.suggest(tune_id)
        assert isinstance(handed_out, dict)
        return read_request(str(handed_out["request"]))

    def send(self, tune_id: str, message: Message) -> bool:
        return self.searcher.on_message(tune_id, write_message(message))

    def enter(self, tune_id: str, *, warm: bool = True, at: float | None = None) -> None:
        self.send(tune_id, Entered(time.time() if at is None else at, warm))

    def reach(self, tune_id: str, iteration: int, **metrics: float) -> bool:
        return self.send(tune_id, Happened(point(int(tune_id[1:]), iteration, **metrics)))

    def end(
        self, tune_id: str, state: Any = "COMPLETE", cause: str | None = None, traceback: str | None = None
    ) -> None:
        self.send(tune_id, JobEnded(state, cause, traceback))
        self.searcher.on_trial_complete(tune_id, {"message": "{}"})

    def make_artifact(self, tune_id: str) -> str:
        """Hand out an artifact's job and finish it; returns its key."""
        job = self.suggest(tune_id).job
        assert job.kind == "artifact"
        self.enter(tune_id)
        self.send_artifact(tune_id, job.name, job.stage)
        self.end(tune_id)
        return job.name

    def send_artifact(self, tune_id: str, key: str, stage: Any) -> None:
        self.send(
            tune_id,
            Happened(ArtifactEnded(key=key, stage=stage, config={}, state="COMPLETE", metrics=GOOD, spent=Spent(800))),
        )
        if stage == "fidelity":
            self.send(tune_id, Happened(reference(key, "fidelity")))

    def start_trial(self, tune_id: str) -> None:
        assert self.suggest(tune_id).job.kind == "trial"

    def events(self, kind: type[Any]) -> list[Any]:
        return [entry.event for entry in self.journal.entries() if isinstance(entry.event, kind)]


def point(trial: int, iteration: int, **metrics: float) -> PointEvaluated:
    return PointEvaluated(
        point=TrialPoint(trial, iteration),
        metrics=metrics or GOOD,
        images=IMAGES,
        terms={},
        spent=Spent(),
        samples=f"trials/x/{iteration}",
    )


def reference(name: str, kind: Any) -> Event:
    return ReferenceEvaluated(name=name, kind=kind, metrics=GOOD, images=IMAGES, samples=f"references/{name}")


@pytest.fixture
def bench_of(tmp_path: Path, source_of: Any) -> Callable[..., Bench]:
    return lambda *configs: Bench(source_of(list(configs)), tmp_path)


@pytest.fixture
def bench(bench_of: Callable[..., Bench], variant: Any) -> Bench:
    """Three pixel trials, their fidelity generator made, the first of them started as `t0`."""
    bench = bench_of(*(variant(pixel=True, seed=seed) for seed in range(3)))
    bench.make_artifact("f")
    bench.start_trial("t0")
    return bench


def with_baseline(bench: Bench, variant: Any) -> Bench:
    """Hand out the baseline's job as `b`."""
    bench.queue.baseline = Job("bicubic", "baseline", None, variant(), ready_at=0.0)
    assert bench.suggest("b").job.kind == "baseline"
    return bench


def full_disk(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# --- handing out ---------------------------------------------------------------------------------------------------


def test_a_request_holds_the_run_and_the_shared_inputs(bench_of: Any, variant: Any) -> None:
    run = variant(pixel=True)
    request = bench_of(run).suggest("a")
    assert (request.context_spec, request.run_dir, request.threads) == ({"data": "here"}, "runs/quick", 1)
    assert request.job.stage == "fidelity"
    assert request.job.config == to_dict(run)


def test_without_a_free_worker_no_trial_is_drawn(bench: Bench) -> None:
    bench.room = 1
    drawn = bench.source.count
    assert bench.searcher.suggest("t1") is None
    assert bench.source.count == drawn
    bench.room = 2
    bench.start_trial("t1")
    bench.room = 3  # a node joined
    bench.start_trial("t2")


def test_no_job_starts_while_all_wait_for_an_artifact(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True), variant(pixel=True, seed=1))
    bench.searcher.suggest("f")
    assert bench.searcher.suggest("t0") is None


def test_lanes_are_unique_and_used_again(bench_of: Any, variant: Any) -> None:
    bench = bench_of(*(variant(pixel=True, seed=seed) for seed in range(5)))
    bench.make_artifact("f")
    bench.room = 3
    lanes = {name: bench.searcher.suggest(name)["lane"] for name in ("t0", "t1", "t2")}
    assert sorted(lanes.values()) == [0, 1, 2]
    for name in ("t2", "t0"):
        bench.enter(name)
        bench.reach(name, 160)
        bench.end(name)
    assert bench.searcher.suggest("t3")["lane"] == lanes["t0"]  # its worker ended last: Tune has it still
    assert bench.searcher.suggest("t4")["lane"] == lanes["t2"]


def test_a_lane_is_free_before_tune_has_its_worker(bench: Bench) -> None:
    bench.room = 1
    bench.enter("t0")
    bench.reach("t0", 160)
    bench.send("t0", JobEnded("COMPLETE"))
    assert bench.searcher.suggest("t1")["lane"] == 0
    bench.searcher.on_trial_complete("t0", None)
    assert bench.searcher.suggest("t2") is None


def test_without_more_jobs_the_searcher_is_finished(bench: Bench) -> None:
    bench.room = 9
    bench.start_trial("t1")
    bench.start_trial("t2")
    assert bench.searcher.suggest("t3") == Searcher.FINISHED
    assert bench.searcher.halted is None


def test_it_is_finished_when_the_last_trials_cannot_run(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True), variant(pixel=True, seed=1))
    bench.searcher.suggest("f")
    assert bench.searcher.suggest("t0") is None
    bench.end("f", "FAILED", "diverged: loss is nan", traceback="Traceback ...")
    assert bench.searcher.suggest("t0") == Searcher.FINISHED
    assert bench.states == {0: "FAILED", 1: "FAILED"}
    assert "diverged: loss is nan" in bench.record.ends[1].cause


def test_it_is_finished_when_every_draw_was_unusable(bench_of: Any) -> None:
    bench = bench_of(None, None)
    assert bench.searcher.suggest("a") == Searcher.FINISHED
    assert {ended.cause for ended in bench.record.ends.values()} == {"the space raised"}


# --- messages of workers -------------------------------------------------------------------------------------------


def test_artifacts_and_fidelity_references_are_recorded(bench: Bench) -> None:
    (event,) = bench.events(ArtifactEnded)
    assert (event.stage, event.state, event.reused, event.cause) == ("fidelity", "COMPLETE", False, None)
    assert event.spent == Spent(800)
    assert bench.record.references == {event.key: reference(event.key, "fidelity")}
    assert bench.ended == []


def test_a_fidelity_generator_of_another_scale_is_no_reference(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True, changes={"data.scale": 2, "autoencoder.factor": 2}))
    bench.make_artifact("f")
    assert bench.record.references == {}


def test_the_baseline_is_recorded_as_a_reference(bench_of: Any, variant: Any) -> None:
    bench = with_baseline(bench_of(variant(pixel=True)), variant)
    bench.enter("b")
    assert bench.searcher.progress == {"bicubic": (0, 1)}
    bench.send("b", Happened(reference("bicubic", "bicubic")))
    bench.end("b")
    assert bench.events(ReferenceEvaluated) == [reference("bicubic", "bicubic")]
    assert bench.ended == []
    assert bench.searcher.halted is None


@pytest.mark.parametrize("death", [False, True])
def test_a_baseline_that_cannot_be_evaluated_halts_the_study(bench_of: Any, variant: Any, death: bool) -> None:
    bench = with_baseline(bench_of(variant(pixel=True)), variant)
    if death:
        bench.searcher.on_trial_complete("b", None, error=True)
    else:
        bench.end("b", "FAILED", "ValueError: the output for image a is not finite")
    assert bench.searcher.halted is not None
    assert re.match(r"the baseline \(bicubic\) could not be evaluated: (ValueError|its process)", bench.searcher.halted)
    assert bench.searcher.suggest("f") == Searcher.FINISHED
    assert bench.record.references == {}


def test_points_and_ends_of_trials_are_recorded_once(bench: Bench) -> None:
    bench.enter("t0")
    bench.reach("t0", 80, psnr_y=29.0, swd=20.0)
    bench.reach("t0", 160)
    bench.reach("t0", 80, psnr_y=1.0, swd=1.0)  # a restarted worker reports its points again
    bench.end("t0")
    assert bench.events(PointEvaluated) == [point(0, 80, psnr_y=29.0, swd=20.0), point(0, 160)]
    (end,) = bench.events(TrialEnded)
    assert (end.trial, end.state, end.cause) == (0, "COMPLETE", None)
    assert bench.ended == [end]
    assert bench.record.last_metrics(0) == GOOD
    assert [job.name for job in bench.queue.running] == []


def test_progress_follows_the_messages_and_ends_with_the_job(bench: Bench) -> None:
    bench.enter("t0")
    assert bench.searcher.progress == {"trial-0000": (0, 160)}
    bench.send("t0", Advanced("trial-0000", 40, 160))
    bench.send("t0", Advanced("trial-0099", 7, 9))  # of another job
    assert bench.searcher.progress == {"trial-0000": (40, 160)}
    bench.reach("t0", 160)
    bench.end("t0")
    assert bench.searcher.progress == {}


@pytest.mark.parametrize(("stage", "iterations"), [("fidelity", 800), ("autoencoder", 200), ("adversarial", 160)])
def test_progress_starts_with_the_stages_own_iterations(
    bench_of: Any, variant: Any, stage: str, iterations: int
) -> None:
    bench = bench_of(variant(3))
    for before in ("fidelity", "autoencoder", "adversarial"):
        if before == stage:
            break
        bench.make_artifact(before)
    bench.suggest("it")
    bench.enter("it")
    assert list(bench.searcher.progress.values()) == [(0, iterations)]


def test_critics_are_trained_once_before_the_trials_that_need_them(bench_of: Any) -> None:
    runs = [replace(mdf("tiny"), {"seed": seed, "critics.levels": 9, "critics.iterations": 50}) for seed in range(2)]
    bench = bench_of(*runs)
    job = bench.suggest("c").job
    assert job.name.startswith("critics-")
    bench.enter("c")
    assert list(bench.searcher.progress.values()) == [(0, 9 * 50)]
    bench.send_artifact("c", job.name, "critics")
    bench.end("c")
    for tune_id in ("t0", "t1"):
        bench.start_trial(tune_id)
    assert len(bench.events(ArtifactEnded)) == 1
    assert bench.events(ReferenceEvaluated) == []  # critics are no point of the study


def test_overhead_is_from_ready_to_entered_on_warm_workers(bench: Bench) -> None:
    ready = bench.queue.running[0].ready_at
    bench.enter("t0", at=ready + 0.125)
    bench.reach("t0", 160)
    bench.end("t0")
    bench.start_trial("t1")
    bench.enter("t1", at=ready + 60, warm=False)
    bench.reach("t1", 160)
    bench.end("t1")
    assert bench.record.warm_overheads == [pytest.approx(0.125)]
    assert len(bench.record.durations) == 2
    first, second = bench.events(TrialEnded)
    assert (first.warm, first.waited, second.warm, second.waited) == (True, True, False, False)


def test_a_clock_that_is_set_back_changes_no_duration(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.enter("t0")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    bench.reach("t0", 160)
    bench.end("t0")
    (ended,) = bench.events(TrialEnded)
    assert ended.seconds is not None
    assert 0 <= ended.seconds < 60


def test_a_run_directory_that_was_moved_halts_the_study(bench: Bench) -> None:
    bench.enter("t0")
    bench.reach("t0", 80)
    bench.journal.path.rename(bench.journal.path.with_name("moved.jsonl"))
    bench.send("t0", Advanced("trial-0000", 90, 160))  # no event is due
    assert bench.searcher.halted is not None
    assert "the run directory was moved" in bench.searcher.halted
    assert not bench.journal.path.exists()


@pytest.mark.parametrize(
    ("state", "cause", "metrics"),
    [("FAILED", "diverged: loss is nan at iteration 7", None), ("FAILED", "ValueError: no", GOOD)],
)
def test_a_failed_trial_keeps_cause_and_traceback(
    bench: Bench, state: str, cause: str | None, metrics: dict[str, float] | None
) -> None:
    bench.enter("t0")
    if metrics is not None:
        bench.reach("t0", 80, **metrics)
    bench.end("t0", state, cause, traceback="Traceback ...")
    (end,) = bench.events(TrialEnded)
    assert bench.ended == [end]
    assert (end.trial, end.state, end.cause, end.traceback) == (0, state, cause, "Traceback ...")
    assert bench.record.last_metrics(0) == metrics


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_not_finite_fails_the_trial(bench: Bench, value: float) -> None:
    bench.enter("t0")
    bench.reach("t0", 80)
    bench.reach("t0", 160, psnr_y=value, swd=12.5)
    bench.end("t0")
    (ended,) = bench.ended
    assert (ended.trial, ended.state) == (0, "FAILED")
    assert bench.record.last_metrics(0) is None
    assert ended.cause is not None
    assert "not finite" in ended.cause
    assert bench.states[0] == "FAILED"
    assert bench.record.live_points() == []


def test_a_complete_trial_without_a_point_is_failed(bench: Bench) -> None:
    bench.enter("t0")
    bench.end("t0")
    assert [(ended.trial, ended.state) for ended in bench.ended] == [(0, "FAILED")]


# --- what may go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entered", [True, False])
def test_a_worker_that_died_for_good_fails_its_trial(bench: Bench, entered: bool) -> None:
    if entered:
        bench.enter("t0")
        bench.reach("t0", 80)
    bench.searcher.on_trial_complete("t0", None, error=True)
    (ended,) = bench.ended
    assert (ended.trial, ended.state) == (0, "FAILED")
    assert ended.cause is not None
    assert "process died" in ended.cause
    assert bench.states[0] == "FAILED"
    assert bench.queue.running == []
    assert bench.searcher.progress == {}


def test_a_death_over_an_artifact_fails_its_trials(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True))
    bench.searcher.suggest("f")
    bench.searcher.on_trial_complete("f", None, error=True)
    assert bench.searcher.suggest("t0") == Searcher.FINISHED
    assert bench.states == {0: "FAILED"}
    assert "process died" in bench.record.ends[0].cause
    assert bench.record.ends[0].retry
    (artifact,) = bench.events(ArtifactEnded)
    assert artifact.state == "FAILED"


def test_a_trial_whose_process_died_is_tried_again(bench: Bench) -> None:
    bench.searcher.on_trial_complete("t0", None, error=True)
    assert bench.record.ends[0].retry
    bench.recorder.add(TrialRetried(trial=0))  # by the next driver
    assert bench.states[0] == "RUNNING"
    assert not bench.recorder.add(TrialRetried(trial=0))
    again = Recorder(bench.journal)
    assert again.record.trial_state(0) == "RUNNING"
    again.add(TrialEnded(trial=0, state="COMPLETE"))
    assert again.record.count("COMPLETE") == 1


def test_failures_in_a_row_halt_the_study(bench_of: Callable[..., Bench], variant: Any) -> None:
    bench = bench_of(*(variant(pixel=True, seed=seed) for seed in range(12)))
    bench.make_artifact("f")
    ends = ["bug"] * 4 + ["diverged"] + ["bug"] * (FAILURES_IN_A_ROW - 1)
    for number, end in enumerate(ends):
        bench.start_trial(f"t{number}")
        bench.end(f"t{number}", "FAILED", end, traceback="Traceback ..." if end == "bug" else None)
        assert bench.searcher.halted is None
    bench.start_trial("t9")
    bench.end("t9", "FAILED", "KeyError: 'x'", traceback="Traceback ...")
    assert "5 jobs in a row failed, the last one so: KeyError: 'x'" in str(bench.searcher.halted)
    assert bench.searcher.suggest("t10") == Searcher.FINISHED


def test_a_death_after_the_last_message_changes_nothing(bench: Bench) -> None:
    bench.enter("t0")
    bench.reach("t0", 160)
    bench.send("t0", JobEnded("COMPLETE"))
    bench.searcher.on_trial_complete("t0", None, error=True)
    assert [(ended.trial, ended.state, ended.cause) for ended in bench.ended] == [(0, "COMPLETE", None)]


def test_a_halted_job_halts_the_study_and_ends_none(bench: Bench) -> None:
    bench.start_trial("t1")
    bench.enter("t0")
    bench.end("t0", "HALTED", "no space left for 3.1 MiB")
    assert bench.searcher.halted == "no space left for 3.1 MiB"
    assert bench.searcher.suggest("t2") == Searcher.FINISHED
    bench.searcher.on_trial_complete("t1", None, error=True)  # Tune stops the others
    assert bench.ended == []
    assert bench.states == {0: "RUNNING", 1: "RUNNING"}


def test_a_full_disk_at_the_driver_halts_the_study(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.enter("t0")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        bench.reach("t0", 80)
    assert bench.searcher.halted is not None
    assert "--resume" in bench.searcher.halted
    assert bench.record.points == {}
    assert bench.searcher.suggest("t1") == Searcher.FINISHED


def test_a_full_disk_during_a_draw_halts_the_study(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        assert bench.searcher.suggest("t1") == Searcher.FINISHED
    assert bench.searcher.halted is not None
    assert bench.states == {0: "RUNNING"}


def test_a_full_disk_during_a_failure_halts_the_study(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        bench.searcher.on_trial_complete("t0", None, error=True)
    assert bench.searcher.halted is not None
    assert bench.ended == []
    assert bench.states == {0: "RUNNING"}


def test_the_searcher_has_no_state_for_tune_to_save(bench: Bench, tmp_path: Path) -> None:
    assert bench.searcher.__getstate__() == {}
    bench.searcher.save(str(tmp_path / "state"))
    bench.searcher.restore(str(tmp_path / "state"))
    assert not (tmp_path / "state").exists()


# --- the estimate --------------------------------------------------------------------------------------------------


def test_time_left_covers_running_and_undrawn_trials() -> None:
    running = {"trial-0003": (40, 160), "trial-0004": (120, 160)}
    # A trial takes 20 s: 0.75 + 0.25 of one are under way, 4 to come, on two workers.
    assert seconds_left(running, [10.0, 30.0], not_started=4, slots=2) == pytest.approx(50.0)
    assert seconds_left({}, [10.0], not_started=0, slots=2) == 0.0
    assert seconds_left({}, [10.0], not_started=3, slots=0) == pytest.approx(30.0)
    assert math.isnan(seconds_left(running, [], not_started=4, slots=2))


# --- deaths and stops ----------------------------------------------------------------------------------------------


def test_a_job_with_progress_may_die_any_number_of_times(bench: Bench) -> None:
    bench.enter("t0")
    for iteration in (25, 50, 75):
        bench.send("t0", Advanced("trial-0000", iteration, 160))
        bench.searcher.on_worker_died("t0", "its node died")
        assert bench.searcher.retries_left("t0") == 2
        bench.enter("t0", warm=False)
    assert [(death.job, death.iteration) for death in bench.events(WorkerDied)] == [
        ("trial-0000", 25),
        ("trial-0000", 50),
        ("trial-0000", 75),
    ]
    assert bench.events(TrialEnded) == []


def test_a_job_without_progress_fails_with_the_last_cause(bench: Bench) -> None:
    bench.enter("t0")
    bench.send("t0", Advanced("trial-0000", 50, 160))
    for left in (2, 1, 0, -1):
        bench.searcher.on_worker_died("t0", "out of memory")
        assert bench.searcher.retries_left("t0") == left
        bench.enter("t0", warm=False)
        bench.send("t0", Advanced("trial-0000", 25, 160))  # from the checkpoint, again
    bench.searcher.on_trial_complete("t0", None, error=True)
    (end,) = bench.events(TrialEnded)
    assert end.state == "FAILED"
    assert end.cause == (
        "its process died 4 times without getting further than iteration 50; the last time: out of memory"
    )


def test_a_stopped_job_is_neither_ended_nor_restarted(bench: Bench) -> None:
    bench.enter("t0")
    bench.searcher.stopping = True
    bench.send("t0", JobEnded("STOPPED", "adversarial was asked to stop after iteration 75"))
    bench.searcher.on_trial_complete("t0", {"message": "{}"})
    assert bench.events(TrialEnded) == []
    assert bench.ended == []
    assert bench.states[0] == "RUNNING"
    assert bench.searcher.suggest("t1") == Searcher.FINISHED


def test_a_stop_is_recorded_once_before_the_jobs_have_saved(bench: Bench) -> None:
    def recorded() -> list[str]:
        return [e.event.state for e in bench.journal.entries() if isinstance(e.event, StudyStateChanged)]

    bench.suggest("tune1")
    bench.searcher.record_stop()
    assert recorded() == []
    bench.searcher.stopping = True
    bench.searcher.record_stop()
    bench.searcher.record_stop()
    assert recorded() == ["INTERRUPTED"]


def test_an_artifact_that_stopped_is_not_finished(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True))
    name = bench.suggest("f").job.name
    bench.enter("f")
    bench.send("f", JobEnded("STOPPED", "fidelity was asked to stop after iteration 75"))
    assert name not in bench.queue.finished_artifacts
    assert bench.events(ArtifactEnded) == []
    assert bench.queue.running == []


# --- stopping trials early -----------------------------------------------------------------------------------------


@pytest.fixture
def with_rung(bench_of: Callable[..., Bench], variant: Any) -> Bench:
    """As `bench`, with a rung at 40 iterations, at which trials are ranked by PSNR."""
    bench = bench_of(*(variant(pixel=True, seed=seed) for seed in range(3)))
    bench.asha = MultiObjectiveASHA((40,), 3, ("maximize", "minimize"), (0.0, 100.0))
    bench.make_artifact("f")
    for number in range(2):
        bench.start_trial(f"t{number}")
        bench.enter(f"t{number}")
    return bench


def test_a_pruned_trial_keeps_its_points(with_rung: Bench) -> None:
    with_rung.reach("t0", 40, psnr_y=28.0, swd=10.0)
    assert with_rung.ended == []
    with_rung.reach("t1", 40, psnr_y=27.0, swd=11.0)
    cause = "rank 2 of 2 at iteration 40, of which 1 go on"
    assert with_rung.record.last_metrics(1) == {"psnr_y": 27.0, "swd": 11.0}
    assert [(rung.trial, rung.go_on, rung.reason) for rung in with_rung.events(RungDecided)] == [
        (0, True, "rank 1 of 1 at iteration 40, of which 1 go on"),
        (1, False, cause),
    ]
    (end,) = with_rung.events(TrialEnded)
    assert with_rung.ended == [end]
    assert (end.trial, end.state, end.cause) == (1, "PRUNED", cause)
    assert TrialPoint(1, 40) in with_rung.record.live_points()


def test_the_next_message_stops_a_pruned_trial(with_rung: Bench) -> None:
    with_rung.reach("t0", 40, psnr_y=28.0, swd=10.0)
    assert with_rung.reach("t1", 40, psnr_y=27.0, swd=11.0)
    with_rung.start_trial("t2")  # its lane is free, so that Tune keeps the worker
    assert not with_rung.send("t1", Advanced("trial-0001", 45, 160))
    assert "trial-0001" not in with_rung.searcher.progress
    with_rung.searcher.on_trial_complete("t1", {"message": "{}"})
    assert [end.trial for end in with_rung.events(TrialEnded)] == [1]


def test_later_messages_of_a_pruned_trial_are_not_recorded(with_rung: Bench) -> None:
    with_rung.reach("t0", 40, psnr_y=28.0, swd=10.0)
    with_rung.reach("t1", 40, psnr_y=27.0, swd=11.0)
    with_rung.reach("t1", 80, psnr_y=40.0, swd=1.0)
    with_rung.end("t1")
    assert [event.point for event in with_rung.events(PointEvaluated)] == [TrialPoint(0, 40), TrialPoint(1, 40)]
    assert [end.state for end in with_rung.events(TrialEnded)] == ["PRUNED"]


# --- interpolations ------------------------------------------------------------------------------------------------


def test_interpolations_are_recorded_as_they_are_evaluated(bench: Bench, variant: Any) -> None:
    run = variant(pixel=True)
    first, second = FidelityPoint("fidelity-a"), TrialPoint(0, 40)
    pair = PairSpec(ParentSpec(first, to_dict(run)), ParentSpec(second, to_dict(run)), ("weights",), shares=(0.5, 0.75))
    name = "fidelity-a--0000-0000040"
    job = Job(name, "interpolation", None, run, ready_at=0.0, pair=pair)
    bench.queue.follow_ups = lambda last: [job] if name not in bench.record.pairs else []
    assert bench.suggest("b0").job.pair == pair
    bench.enter("b0")
    assert bench.searcher.progress[name] == (0, 2)
    event = InterpolationEvaluated(
        point=InterpolatedPoint(first, second, "weights", 0.5),
        metrics=GOOD,
        images=IMAGES,
        spent=Spent(device_seconds=2.0),
        samples="interpolations/x",
    )
    bench.send("b0", Happened(event))
    assert bench.searcher.progress[name] == (1, 2)
    bench.end("b0")
    assert bench.events(InterpolationEvaluated) == [event]
    assert bench.record.pairs[name].state == "COMPLETE"
    assert bench.ended == []
