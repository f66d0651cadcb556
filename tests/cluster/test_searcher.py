"""Tune's side of the queue, without Tune: jobs handed out while there is room, messages turned into records."""

import errno
import json
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from study.cluster.jobs import Job, JobQueue
from study.cluster.searcher import StudySearcher, seconds_left
from study.config import RunConfig, Stage, replace, stage_key, to_dict
from study.config.recipes import mdf
from study.record.journal import Journal
from study.record.state import Records
from study.search.asha import MultiObjectiveASHA

GOOD = {"psnr_y": 28.0, "swd": 12.5}
COMMON = {"context_spec": {"data": "here"}, "run_dir": "runs/quick", "threads": 1}
IMAGES = {"psnr_y": {"coffee": 28.0}}


class Bench:
    """A searcher with all that is around it; plays Tune and its workers."""

    def __init__(self, source: Any, folder: Path) -> None:
        self.source, self.room = source, 2
        self.told: list[tuple[int, str, dict[str, float] | None, str | None]] = []
        self.records = Records(Journal(folder / "journal.jsonl"))
        self.queue = JobQueue(
            source=source,
            total=len(source.configs),
            key_of=self._key_of,
            on_trial=lambda asked, upstream: self.records.trial(asked.number, {}, {}, upstream),
            on_failed=lambda number, cause, _params: self.records.end(number, "FAILED", cause=cause),
            clock=time.time,
        )
        self.searcher = StudySearcher(
            self.queue,
            self.records,
            lambda *what: self.told.append(what),
            slots=lambda: self.room,
            common=COMMON,
            reference_scale=4,
        )

    @staticmethod
    def _key_of(config: RunConfig, stage: Stage) -> str:
        return stage_key(config, stage, "images")

    def say(self, tune_id: str, **message: Any) -> None:
        self.searcher.on_message(tune_id, json.dumps(message))

    def enter(self, tune_id: str, *, warm: bool = True) -> None:
        self.say(tune_id, type="entered", at=time.time(), warm=warm)

    def reach(self, tune_id: str, iteration: int, **metrics: float) -> None:
        facts = {"iteration": iteration, "metrics": metrics or GOOD, "images": IMAGES, "terms": {}, "budget": {}}
        self.say(tune_id, type="point", samples=f"trials/x/{iteration}", **facts)

    def end(self, tune_id: str, state: str = "COMPLETE", cause: str | None = None, **facts: Any) -> None:
        self.say(tune_id, type="end", state=state, cause=cause, **facts)
        self.searcher.on_trial_complete(tune_id, {"message": "{}"})

    def make_artifact(self, tune_id: str) -> str:
        """Hand out an artifact's job and finish it; returns its key."""
        handed_out = self.searcher.suggest(tune_id)
        assert isinstance(handed_out, dict)
        assert handed_out["job"]["kind"] == "artifact"
        self.enter(tune_id)
        facts = {"budget": {"iterations": 800}, "reused": False, "metrics": GOOD, "images": IMAGES, "samples": "s"}
        self.end(tune_id, **facts)
        return handed_out["job"]["name"]

    def start_trial(self, tune_id: str) -> None:
        handed_out = self.searcher.suggest(tune_id)
        assert isinstance(handed_out, dict)
        assert handed_out["job"]["kind"] == "trial"

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.records.journal.events() if event["event"] == kind]


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
    bench.queue.baseline = Job("bicubic", "baseline", "adversarial", variant(), ready_at=0.0)
    handed_out = bench.searcher.suggest("b")
    assert isinstance(handed_out, dict)
    assert handed_out["job"]["kind"] == "baseline"
    return bench


def full_disk(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


# --- handing out ---------------------------------------------------------------------------------------------------


def test_a_job_goes_out_with_the_run_and_what_is_common_to_all(bench_of: Any, variant: Any) -> None:
    run = variant(pixel=True)
    handed_out = bench_of(run).searcher.suggest("a")
    assert {name: handed_out[name] for name in COMMON} == COMMON
    assert handed_out["job"]["stage"] == "fidelity"
    assert handed_out["job"]["config"] == to_dict(run)
    assert json.loads(json.dumps(handed_out)) == handed_out


def test_nothing_goes_out_while_no_worker_is_free_and_no_trial_is_drawn(bench: Bench) -> None:
    bench.room = 1
    drawn = bench.source.count
    assert bench.searcher.suggest("t1") is None
    assert bench.source.count == drawn
    bench.room = 2
    bench.start_trial("t1")
    bench.room = 3  # a node joined
    bench.start_trial("t2")


def test_nothing_goes_out_while_all_wait_for_a_running_artifact(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True), variant(pixel=True, seed=1))
    bench.searcher.suggest("f")
    assert bench.searcher.suggest("t0") is None


def test_no_two_jobs_share_a_lane_and_a_free_one_is_taken_again(bench_of: Any, variant: Any) -> None:
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


def test_a_lane_is_free_before_tune_has_its_worker_back_or_it_would_not_keep_it(bench: Bench) -> None:
    bench.room = 1
    bench.enter("t0")
    bench.reach("t0", 160)
    bench.say("t0", type="end", state="COMPLETE", cause=None)
    assert bench.searcher.suggest("t1")["lane"] == 0
    bench.searcher.on_trial_complete("t0", None)
    assert bench.searcher.suggest("t2") is None


def test_when_nothing_is_left_tune_is_told_that_it_is_finished(bench: Bench) -> None:
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
    assert bench.records.states == {0: "FAILED", 1: "FAILED"}
    assert "diverged: loss is nan" in bench.records.causes[1]


def test_it_is_finished_when_every_draw_was_unusable(bench_of: Any) -> None:
    bench = bench_of(None, None)
    assert bench.searcher.suggest("a") == Searcher.FINISHED
    assert set(bench.records.causes.values()) == {"the space raised"}


# --- what workers say ----------------------------------------------------------------------------------------------


def test_an_artifact_is_recorded_and_a_fidelity_generator_is_a_reference(bench: Bench) -> None:
    (event,) = bench.events("artifact")
    assert (event["stage"], event["state"], event["reused"], event["cause"]) == ("fidelity", "COMPLETE", False, None)
    assert event["budget"] == {"iterations": 800}
    assert bench.records.references == {event["key"]: GOOD}
    assert bench.told == []


def test_the_baseline_is_recorded_as_a_reference(bench_of: Any, variant: Any) -> None:
    bench = with_baseline(bench_of(variant(pixel=True)), variant)
    bench.enter("b")
    assert bench.searcher.progress == {"bicubic": (0, 1)}
    bench.end("b", metrics=GOOD, images=IMAGES, samples="references/bicubic")
    (event,) = bench.events("reference")
    told = {name: event[name] for name in ("name", "kind", "metrics", "images", "samples")}
    assert told == {
        "name": "bicubic",
        "kind": "bicubic",
        "metrics": GOOD,
        "images": IMAGES,
        "samples": "references/bicubic",
    }
    assert bench.told == []
    assert bench.searcher.halted is None


@pytest.mark.parametrize("death", [False, True])
def test_a_baseline_that_cannot_be_judged_halts_the_study(bench_of: Any, variant: Any, death: bool) -> None:
    bench = with_baseline(bench_of(variant(pixel=True)), variant)
    if death:
        bench.searcher.on_trial_complete("b", None, error=True)
    else:
        bench.end("b", "FAILED", "ValueError: the output for image a is not finite")
    assert bench.searcher.halted is not None
    assert re.match(r"the baseline \(bicubic\) could not be evaluated: (ValueError|its process)", bench.searcher.halted)
    assert bench.searcher.suggest("f") == Searcher.FINISHED
    assert bench.records.references == {}


def test_points_and_the_end_of_a_trial_are_recorded_and_told_once(bench: Bench) -> None:
    bench.enter("t0")
    bench.reach("t0", 80, psnr_y=29.0, swd=20.0)
    bench.reach("t0", 160)
    bench.reach("t0", 80, psnr_y=1.0, swd=1.0)  # a worker that was started again reports what it had reached
    bench.end("t0")
    assert [(event["trial"], event["iteration"]) for event in bench.events("point")] == [(0, 80), (0, 160)]
    assert bench.events("point")[0]["samples"] == "trials/x/80"
    assert "type" not in bench.events("point")[0]
    (end,) = bench.events("end")
    assert (end["trial"], end["state"], end["cause"]) == (0, "COMPLETE", None)
    assert bench.told == [(0, "COMPLETE", GOOD, None)]
    assert [job.name for job in bench.queue.running] == []


def test_progress_follows_the_ticks_and_ends_with_the_job(bench: Bench) -> None:
    bench.enter("t0")
    assert bench.searcher.progress == {"trial-0000": (0, 160)}
    bench.say("t0", type="tick", name="trial-0000", iteration=40, iterations=160)
    bench.say("t0", type="tick", name="trial-0099", iteration=7, iterations=9)  # of another job
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
    bench.searcher.suggest("it")
    bench.enter("it")
    assert list(bench.searcher.progress.values()) == [(0, iterations)]


def test_critics_are_trained_once_before_the_trials_that_need_them(bench_of: Any) -> None:
    runs = [replace(mdf("tiny"), {"seed": seed, "critics.levels": 9, "critics.iterations": 50}) for seed in range(2)]
    bench = bench_of(*runs)
    handed_out = bench.searcher.suggest("c")
    assert handed_out["job"]["name"].startswith("critics-")
    bench.enter("c")
    assert list(bench.searcher.progress.values()) == [(0, 9 * 50)]
    facts = {"budget": {"iterations": 450}, "reused": False, "metrics": {"auc": 0.6}, "images": {}, "samples": "s"}
    bench.end("c", **facts)
    for tune_id in ("t0", "t1"):
        bench.start_trial(tune_id)
    assert len(bench.events("artifact")) == 1
    assert bench.events("reference") == []  # critics are no point of the study


def test_overhead_is_the_time_from_ready_to_entered_on_warm_workers(bench: Bench) -> None:
    ready = bench.queue.running[0].ready_at
    bench.say("t0", type="entered", at=ready + 0.125, warm=True)
    bench.reach("t0", 160)
    bench.end("t0")
    bench.start_trial("t1")
    bench.say("t1", type="entered", at=ready + 60, warm=False)
    bench.reach("t1", 160)
    bench.end("t1")
    assert bench.records.overheads == [pytest.approx(0.125)]
    assert len(bench.records.durations) == 2
    first, second = bench.events("end")
    assert (first["warm"], first["waited"], second["warm"], second["waited"]) == (True, True, False, False)


@pytest.mark.parametrize(
    ("state", "cause", "metrics"),
    [("FAILED", "diverged: loss is nan at iteration 7", None), ("PRUNED", None, GOOD)],
)
def test_a_trial_may_end_otherwise(
    bench: Bench, state: str, cause: str | None, metrics: dict[str, float] | None
) -> None:
    bench.enter("t0")
    if metrics is not None:
        bench.reach("t0", 80, **metrics)
    bench.end("t0", state, cause, traceback="Traceback ...")
    assert bench.told == [(0, state, metrics, cause)]
    (end,) = bench.events("end")
    assert (end["state"], end["cause"], end["traceback"]) == (state, cause, "Traceback ...")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_not_finite_is_a_failure_never_a_score(bench: Bench, value: float) -> None:
    bench.enter("t0")
    bench.reach("t0", 80)
    bench.reach("t0", 160, psnr_y=value, swd=12.5)
    bench.end("t0")
    ((number, state, metrics, cause),) = bench.told
    assert (number, state, metrics) == (0, "FAILED", None)
    assert cause is not None
    assert "not finite" in cause
    assert bench.records.states[0] == "FAILED"
    assert bench.records.live_points() == {}


def test_a_trial_that_claims_to_be_complete_without_a_point_is_a_failure(bench: Bench) -> None:
    bench.enter("t0")
    bench.end("t0")
    assert [(number, state) for number, state, _, _ in bench.told] == [(0, "FAILED")]


# --- what may go wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entered", [True, False])
def test_a_worker_that_died_for_good_fails_its_trial(bench: Bench, entered: bool) -> None:
    if entered:
        bench.enter("t0")
        bench.reach("t0", 80)
    bench.searcher.on_trial_complete("t0", None, error=True)
    ((number, state, _, cause),) = bench.told
    assert (number, state) == (0, "FAILED")
    assert cause is not None
    assert "process died" in cause
    assert bench.records.states[0] == "FAILED"
    assert bench.queue.running == []
    assert bench.searcher.progress == {}


def test_a_worker_that_died_over_an_artifact_fails_the_trials_that_need_it(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True))
    bench.searcher.suggest("f")
    bench.searcher.on_trial_complete("f", None, error=True)
    assert bench.searcher.suggest("t0") == Searcher.FINISHED
    assert bench.records.states == {0: "FAILED"}
    assert "process died" in bench.records.causes[0]
    (artifact,) = bench.events("artifact")
    assert artifact["state"] == "FAILED"


def test_a_worker_that_died_after_its_last_word_changes_nothing(bench: Bench) -> None:
    bench.enter("t0")
    bench.reach("t0", 160)
    bench.say("t0", type="end", state="COMPLETE", cause=None)
    bench.searcher.on_trial_complete("t0", None, error=True)
    assert bench.told == [(0, "COMPLETE", GOOD, None)]


def test_a_cause_that_hits_every_trial_halts_the_study_and_ends_none(bench: Bench) -> None:
    bench.start_trial("t1")
    bench.enter("t0")
    bench.end("t0", "HALTED", "no space left for 3.1 MiB")
    assert bench.searcher.halted == "no space left for 3.1 MiB"
    assert bench.searcher.suggest("t2") == Searcher.FINISHED
    bench.searcher.on_trial_complete("t1", None, error=True)  # Tune stops the others
    assert bench.told == []
    assert bench.records.states == {0: "RUNNING", 1: "RUNNING"}


def test_a_full_disk_at_the_driver_halts_the_study(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.enter("t0")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        bench.reach("t0", 80)
    assert bench.searcher.halted is not None
    assert "--resume" in bench.searcher.halted
    assert bench.records.points == {}
    assert bench.searcher.suggest("t1") == Searcher.FINISHED


def test_a_full_disk_while_a_trial_is_drawn_halts_the_study(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        assert bench.searcher.suggest("t1") == Searcher.FINISHED
    assert bench.searcher.halted is not None
    assert bench.records.states == {0: "RUNNING"}


def test_a_full_disk_while_a_death_is_recorded_halts_the_study(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk)
        bench.searcher.on_trial_complete("t0", None, error=True)
    assert bench.searcher.halted is not None
    assert bench.told == []
    assert bench.records.states == {0: "RUNNING"}


def test_the_searcher_holds_nothing_that_tune_would_have_to_keep(bench: Bench, tmp_path: Path) -> None:
    assert bench.searcher.__getstate__() == {}
    bench.searcher.save(str(tmp_path / "state"))
    bench.searcher.restore(str(tmp_path / "state"))
    assert not (tmp_path / "state").exists()


# --- the estimate --------------------------------------------------------------------------------------------------


def test_the_time_left_is_that_of_the_rest_of_the_running_and_the_not_drawn() -> None:
    running = {"trial-0003": (40, 160), "trial-0004": (120, 160)}
    # A trial takes 20 s: 0.75 + 0.25 of one are under way, 4 to come, on two workers.
    assert seconds_left(running, [10.0, 30.0], not_drawn=4, slots=2) == pytest.approx(50.0)
    assert seconds_left({}, [10.0], not_drawn=0, slots=2) == 0.0
    assert seconds_left({}, [10.0], not_drawn=3, slots=0) == pytest.approx(30.0)
    assert math.isnan(seconds_left(running, [], not_drawn=4, slots=2))


# --- deaths and stops ----------------------------------------------------------------------------------------------


def test_a_job_that_gets_further_may_die_again_and_again(bench: Bench) -> None:
    bench.enter("t0")
    for iteration in (25, 50, 75):
        bench.say("t0", type="tick", name="trial-0000", iteration=iteration, iterations=160)
        bench.searcher.on_death("t0", "its node died")
        assert bench.searcher.retries_left("t0") == 2
        bench.enter("t0", warm=False)
    assert [(death["name"], death["iteration"]) for death in bench.events("death")] == [
        ("trial-0000", 25),
        ("trial-0000", 50),
        ("trial-0000", 75),
    ]
    assert bench.events("end") == []


def test_one_that_does_not_is_failed_with_the_last_cause(bench: Bench) -> None:
    bench.enter("t0")
    bench.say("t0", type="tick", name="trial-0000", iteration=50, iterations=160)
    for left in (2, 1, 0, -1):
        bench.searcher.on_death("t0", "out of memory")
        assert bench.searcher.retries_left("t0") == left
        bench.enter("t0", warm=False)
        bench.say("t0", type="tick", name="trial-0000", iteration=25, iterations=160)  # from the checkpoint, again
    bench.searcher.on_trial_complete("t0", None, error=True)
    (end,) = bench.events("end")
    assert end["state"] == "FAILED"
    assert end["cause"] == (
        "its process died 4 times without getting further than iteration 50; the last time: out of memory"
    )


def test_a_job_that_stopped_is_neither_ended_nor_handed_out_again_here(bench: Bench) -> None:
    bench.enter("t0")
    bench.searcher.stopping = True
    bench.say("t0", type="end", state="STOPPED", cause="adversarial was asked to stop after iteration 75")
    bench.searcher.on_trial_complete("t0", {"message": "{}"})
    assert bench.events("end") == []
    assert bench.told == []
    assert bench.records.states[0] == "RUNNING"
    assert bench.searcher.suggest("t1") == Searcher.FINISHED


def test_an_artifact_that_stopped_is_not_finished(bench_of: Any, variant: Any) -> None:
    bench = bench_of(variant(pixel=True))
    name = bench.searcher.suggest("f")["job"]["name"]
    bench.enter("f")
    bench.say("f", type="end", state="STOPPED", cause="fidelity was asked to stop after iteration 75")
    assert name not in bench.queue.finished_artifacts
    assert bench.events("artifact") == []
    assert bench.queue.running == []


# --- stopping trials early -----------------------------------------------------------------------------------------


@pytest.fixture
def halved(bench_of: Callable[..., Bench], variant: Any) -> Bench:
    """As `bench`, with a rung at 40 iterations, at which trials are ranked by PSNR."""
    bench = bench_of(*(variant(pixel=True, seed=seed) for seed in range(3)))
    rule = MultiObjectiveASHA((40,), 3, ("maximize", "minimize"), (0.0, 100.0))
    bench.searcher._compare = lambda trial, iteration, metrics: rule.take(
        trial, iteration, (metrics["psnr_y"], metrics["swd"])
    )
    bench.make_artifact("f")
    for number in range(2):
        bench.start_trial(f"t{number}")
        bench.enter(f"t{number}")
    return bench


def test_a_trial_that_is_not_among_the_best_is_pruned_and_keeps_its_points(halved: Bench) -> None:
    halved.reach("t0", 40, psnr_y=28.0, swd=10.0)
    assert halved.told == []
    halved.reach("t1", 40, psnr_y=27.0, swd=11.0)
    cause = "rank 2 of 2 at iteration 40, of which 1 go on"
    assert halved.told == [(1, "PRUNED", {"psnr_y": 27.0, "swd": 11.0}, cause)]
    assert [(rung["trial"], rung["go_on"], rung["reason"]) for rung in halved.events("rung")] == [
        (0, True, "rank 1 of 1 at iteration 40, of which 1 go on"),
        (1, False, cause),
    ]
    (end,) = halved.events("end")
    assert (end["trial"], end["state"], end["cause"]) == (1, "PRUNED", cause)
    assert (1, 40) in halved.records.live_points()


def test_a_pruned_trial_is_stopped_with_its_next_word_when_another_job_waits_already(halved: Bench) -> None:
    halved.reach("t0", 40, psnr_y=28.0, swd=10.0)
    point = {"iteration": 40, "metrics": {"psnr_y": 27.0, "swd": 11.0}, "images": {}, "terms": {}, "budget": {}}
    assert halved.searcher.on_message("t1", json.dumps({"type": "point", "samples": "s", **point}))
    halved.start_trial("t2")  # its lane is free, so that Tune keeps the worker
    tick = json.dumps({"type": "tick", "name": "trial-0001", "iteration": 45, "iterations": 160})
    assert not halved.searcher.on_message("t1", tick)
    assert "trial-0001" not in halved.searcher.progress
    halved.searcher.on_trial_complete("t1", {"message": "{}"})
    assert [end["trial"] for end in halved.events("end")] == [1]


def test_what_a_pruned_trial_still_says_is_not_recorded(halved: Bench) -> None:
    halved.reach("t0", 40, psnr_y=28.0, swd=10.0)
    halved.reach("t1", 40, psnr_y=27.0, swd=11.0)
    halved.reach("t1", 80, psnr_y=40.0, swd=1.0)
    halved.end("t1")
    assert [(event["trial"], event["iteration"]) for event in halved.events("point")] == [(0, 40), (1, 40)]
    assert [end["state"] for end in halved.events("end")] == ["PRUNED"]


# --- interpolations --------------------------------------------------------------------------------------------------------


def test_interpolations_are_recorded_with_their_parents_as_they_are_judged(bench: Bench, variant: Any) -> None:
    run = variant(pixel=True)
    parents = [
        {"trial": None, "iteration": None, "fidelity": "fidelity-a", "label": "fidelity a", "config": to_dict(run)},
        {"trial": 0, "iteration": 40, "fidelity": "fidelity-a", "label": "trial 0 at 40", "config": to_dict(run)},
    ]
    pair = {"parents": parents, "spaces": ["weights"], "shares": [0.5, 0.75]}
    job = Job("a--b", "interpolation", "adversarial", run, ready_at=0.0, pair=pair)
    bench.queue.follow_ups = lambda last: [job] if "a--b" not in bench.records.pairs else []
    handed_out = bench.searcher.suggest("b0")
    assert isinstance(handed_out, dict)
    assert handed_out["job"]["pair"] == pair
    bench.enter("b0")
    assert bench.searcher.progress["a--b"] == (0, 2)
    evaluated = {"space": "weights", "share": 0.5, "metrics": GOOD, "images": IMAGES, "budget": {"device_seconds": 2.0}}
    bench.say("b0", type="interpolation", name="weights-5000", samples="interpolations/x", **evaluated)
    assert bench.searcher.progress["a--b"] == (1, 2)
    bench.end("b0")
    (event,) = bench.events("interpolation")
    assert (event["pair"], event["name"], event["share"]) == ("a--b", "weights-5000", 0.5)
    assert event["parents"] == [{name: value for name, value in one.items() if name != "config"} for one in parents]
    assert bench.records.pairs == {"a--b": "COMPLETE"}
    assert bench.told == []
