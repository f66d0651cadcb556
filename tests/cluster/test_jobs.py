"""The queue of jobs: each artifact and trial once, upstream stages first, in any order of events."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from study.cluster.jobs import Job, JobQueue, QueueRules, needs_of
from study.cluster.messages import JobSpec
from study.config import RunConfig, Stage, decoder_as_run, from_dict, stage_key, to_dict
from study.search.trials import Asked

RRDB_DECODER = {"autoencoder.decoder": "rrdb"}


def key_of(config: RunConfig, stage: Stage) -> str:
    return stage_key(config, stage, "images")


@dataclass
class Calls:
    """Calls of the queue's callbacks, and its clock."""

    drawn: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    now: float = 1000.0


def make_queue(source: Any, calls: Calls, *, total: int | None = None, **more: Any) -> JobQueue:
    names = {"ahead", "workers_of", "end_of_search"} & more.keys()
    rules = {name: more.pop(name) for name in names}
    return JobQueue(
        source=source,
        rules=QueueRules(
            len(source.configs) if total is None else total,
            key_of,
            lambda: calls.now,
            on_trial=lambda asked, upstream: calls.drawn.append((asked.number, upstream)),
            on_failed=lambda trial, cause, _retry: calls.failed.__setitem__(trial.number, cause),
            **rules,
        ),
        **more,
    )


def start(queue: JobQueue) -> Job:
    job = queue.next()
    assert job is not None
    return job


def finish(queue: JobQueue, cause: str | None = None) -> str:
    """Hand out a job and end it at once."""
    job = start(queue)
    queue.end(job.name, cause)
    return job.name


def baseline_of(run: RunConfig) -> Job:
    return Job("bicubic", "baseline", None, run, ready_at=0.0)


@pytest.fixture
def calls() -> Calls:
    return Calls()


# --- what a trial needs --------------------------------------------------------------------------------------------


def test_a_run_with_an_autoencoder_needs_two_artifacts_in_order(variant: Callable[..., RunConfig]) -> None:
    config = variant(3)
    needs = list(needs_of(config, "adversarial", key_of))
    fidelity, autoencoder = key_of(config, "fidelity"), key_of(config, "autoencoder")
    assert [(need.key, need.stage, need.after) for need in needs] == [
        (fidelity, "fidelity", ()),
        (autoencoder, "autoencoder", (fidelity,)),
    ]


def test_another_kind_of_decoder_needs_another_generator(variant: Callable[..., RunConfig]) -> None:
    config = variant(3, changes=RRDB_DECODER)
    needs = {need.key: need for need in needs_of(config, "adversarial", key_of)}
    decoders = key_of(decoder_as_run(config), "fidelity")
    assert set(needs) == {key_of(config, "fidelity"), decoders, key_of(config, "autoencoder")}
    assert needs[decoders].config.generator.name == "rrdb"
    assert needs[key_of(config, "autoencoder")].after == (decoders,)


def test_a_pixel_run_needs_the_fidelity_generator_alone(variant: Callable[..., RunConfig]) -> None:
    config = variant(pixel=True)
    assert [need.key for need in needs_of(config, "adversarial", key_of)] == [key_of(config, "fidelity")]


# --- order ---------------------------------------------------------------------------------------------------------


def test_artifacts_come_first_each_once(variant: Any, source_of: Any, calls: Calls) -> None:
    runs = [variant(3), variant(3, seed=1), variant(12)]
    queue = make_queue(source_of(runs), calls)
    order = []
    while not queue.exhausted:
        order.append(finish(queue))
    assert order == [
        key_of(runs[0], "fidelity"),
        key_of(runs[0], "autoencoder"),
        "trial-0000",
        "trial-0001",
        key_of(runs[2], "autoencoder"),
        "trial-0002",
    ]
    assert queue.next() is None
    assert queue.running == []


def test_a_trial_that_needs_nothing_more_runs_before_another_artifact(
    variant: Any, source_of: Any, calls: Calls
) -> None:
    runs = [variant(3), variant(pixel=True)]
    queue = make_queue(source_of(runs), calls)
    fidelity = start(queue)
    assert queue.next() is None  # both wait for it
    queue.end(fidelity.name)
    assert start(queue).name == "trial-0001"
    assert start(queue).name == key_of(runs[0], "autoencoder")
    assert [job.name for job in queue.running] == ["trial-0001", key_of(runs[0], "autoencoder")]


def test_two_workers_train_two_autoencoders_at_the_same_time(variant: Any, source_of: Any, calls: Calls) -> None:
    runs = [variant(3), variant(12)]
    queue = make_queue(source_of(runs), calls)
    finish(queue)
    assert {start(queue).name, start(queue).name} == {key_of(run, "autoencoder") for run in runs}
    assert queue.next() is None
    assert not queue.exhausted
    queue.end(key_of(runs[1], "autoencoder"))
    assert start(queue).name == "trial-0001"


def test_no_smaller_job_overtakes_a_large_job(variant: Any, source_of: Any, calls: Calls) -> None:
    queue = make_queue(
        source_of([variant(3), variant(12)]), calls, workers_of=lambda stage: {"autoencoder": 2}.get(stage, 1)
    )
    finish(queue)  # the fidelity generator

    first = queue.next(room=2)
    assert first is not None
    assert (first.stage, first.workers) == ("autoencoder", 2)
    assert queue.next(room=1) is None
    assert queue.next(room=1) is None
    queue.end(first.name)
    trial = queue.next(room=2)
    assert trial is not None
    assert (trial.name, trial.workers) == ("trial-0000", 1)
    assert queue.next(room=1) is None  # the second auto-encoder needs both
    queue.end(trial.name)
    second = queue.next(room=2)
    assert second is not None
    assert second.stage == "autoencoder"
    queue.end(second.name)
    assert start(queue).name == "trial-0001"
    assert queue.exhausted


def test_no_more_trials_are_drawn_ahead_than_allowed(variant: Any, source_of: Any, calls: Calls) -> None:
    source = source_of([variant(3, seed=seed) for seed in range(9)])
    queue = make_queue(source, calls, ahead=3)
    first = start(queue)
    assert source.count == 1  # the first one's artifact is enough to do
    assert queue.next() is None
    assert source.count == 3
    queue.end(first.name)
    finish(queue)
    for number in range(9):  # with everything there, a trial is drawn when a worker is free for it
        assert start(queue).name == f"trial-{number:04d}"
        assert source.count == max(3, number + 1)


def test_the_total_holds(variant: Any, source_of: Any, calls: Calls) -> None:
    source = source_of([variant(pixel=True, seed=seed) for seed in range(5)])
    queue = make_queue(source, calls, total=2)
    assert not queue.exhausted
    names = [finish(queue) for _ in range(3)]
    assert names[1:] == ["trial-0000", "trial-0001"]
    assert queue.next() is None
    assert queue.exhausted
    assert source.count == 2


def test_each_drawn_trial_is_reported_with_its_upstream(variant: Any, source_of: Any, calls: Calls) -> None:
    runs = [variant(3, changes=RRDB_DECODER), variant(pixel=True)]
    queue = make_queue(source_of(runs), calls)
    start(queue)
    start(queue)
    assert queue.next() is None
    assert calls.drawn == [
        (0, {"fidelity": key_of(runs[0], "fidelity"), "autoencoder": key_of(runs[0], "autoencoder")}),
        (1, {"fidelity": key_of(runs[1], "fidelity")}),
    ]


def test_a_trial_is_ready_with_its_last_artifact(variant: Any, source_of: Any, calls: Calls) -> None:
    queue = make_queue(source_of([variant(pixel=True), variant(pixel=True, seed=1)]), calls)
    fidelity = start(queue)
    calls.now += 60
    queue.end(fidelity.name)
    waited = start(queue)
    assert (waited.name, waited.waited, waited.ready_at) == ("trial-0000", True, calls.now)
    calls.now += 60
    straight = start(queue)
    assert (straight.name, straight.waited, straight.ready_at) == ("trial-0001", False, calls.now)


def test_the_baseline_goes_first_once_and_holds_nothing_up(variant: Any, source_of: Any, calls: Calls) -> None:
    run = variant(pixel=True)
    queue = make_queue(source_of([run]), calls, baseline=baseline_of(run))
    assert start(queue).name == "bicubic"
    assert [finish(queue), finish(queue)] == [key_of(run, "fidelity"), "trial-0000"]
    assert queue.exhausted
    queue.end("bicubic")
    assert queue.exhausted
    assert queue.next() is None


def test_a_baseline_that_was_not_evaluated_is_left(variant: Any, source_of: Any, calls: Calls) -> None:
    queue = make_queue(source_of([variant(3)], [], drawn=1), calls, baseline=baseline_of(variant(3)))
    assert not queue.exhausted
    assert start(queue).name == "bicubic"
    assert queue.exhausted
    queue.put_back("bicubic")
    assert not queue.exhausted
    assert finish(queue) == "bicubic"
    assert queue.exhausted


def test_interpolations_of_neighbours_do_not_wait_for_the_baseline(variant: Any, source_of: Any, calls: Calls) -> None:
    asked: list[bool] = []
    follow_ups = lambda last: asked.append(last) or []  # type: ignore[func-returns-value]  # noqa: E731
    source = source_of([variant(3)], [], drawn=1)
    queue = make_queue(source, calls, baseline=baseline_of(variant(3)), follow_ups=follow_ups)
    start(queue)
    assert queue.next() is None
    assert asked == [True]


# --- failures ------------------------------------------------------------------------------------------------------


def test_a_failed_artifact_fails_only_its_trials(variant: Any, source_of: Any, calls: Calls) -> None:
    runs = [variant(3), variant(3, seed=1), variant(12), variant(pixel=True), variant(3, seed=2)]
    queue = make_queue(source_of(runs), calls)
    finish(queue)
    broken = key_of(runs[0], "autoencoder")
    assert finish(queue, "diverged: loss is nan at iteration 12") == broken
    assert [finish(queue) for _ in range(3)] == [key_of(runs[2], "autoencoder"), "trial-0002", "trial-0003"]
    assert queue.next() is None
    assert queue.exhausted
    assert calls.failed == dict.fromkeys((0, 1, 4), f"its {broken} failed: diverged: loss is nan at iteration 12")


def test_a_failed_fidelity_generator_fails_all_and_starts_nothing_more(
    variant: Any, source_of: Any, calls: Calls
) -> None:
    runs = [variant(3), variant(12), variant(pixel=True)]
    queue = make_queue(source_of(runs), calls)
    broken = finish(queue, "diverged")
    assert queue.next() is None
    assert queue.exhausted
    assert calls.failed == dict.fromkeys(range(3), f"its {broken} failed: diverged")


def test_a_trial_that_fails_fails_no_other(variant: Any, source_of: Any, calls: Calls) -> None:
    queue = make_queue(source_of([variant(pixel=True), variant(pixel=True, seed=1)]), calls)
    finish(queue)
    assert finish(queue, "diverged") == "trial-0000"
    assert finish(queue) == "trial-0001"
    assert calls.failed == {}


def test_an_unusable_draw_counts_as_a_trial(variant: Any, source_of: Any, calls: Calls) -> None:
    source = source_of([None, variant(pixel=True), None])
    queue = make_queue(source, calls)
    finish(queue)
    assert finish(queue) == "trial-0001"
    assert queue.next() is None
    assert queue.exhausted
    assert calls.failed == {0: "the space raised", 2: "the space raised"}
    assert [number for number, _ in calls.drawn] == [1]


# --- continuing ----------------------------------------------------------------------------------------------------


def test_a_continued_study_runs_the_unfinished_trials(variant: Any, source_of: Any, calls: Calls) -> None:
    runs = [variant(3), variant(12), variant(pixel=True), variant(3, seed=3)]
    left = [Asked(0, {}, runs[0], {}), Asked(1, {}, runs[1], {})]
    there = {key_of(runs[0], "fidelity"), key_of(runs[0], "autoencoder")}
    queue = make_queue(source_of(runs, left, drawn=3), calls, finished_artifacts=there)
    assert [number for number, _ in calls.drawn] == [0, 1]
    assert [finish(queue) for _ in range(4)] == [
        "trial-0000",
        key_of(runs[1], "autoencoder"),
        "trial-0001",
        "trial-0003",
    ]
    assert queue.exhausted


def test_a_complete_study_has_no_job(variant: Any, source_of: Any, calls: Calls) -> None:
    queue = make_queue(source_of([variant(3)], [], drawn=1), calls)
    assert queue.exhausted
    assert queue.next() is None
    assert calls == Calls()


def test_unfinished_trials_may_exceed_the_number_ahead(variant: Any, source_of: Any, calls: Calls) -> None:
    left = [Asked(number, {}, variant(pixel=True, seed=number), {}) for number in range(6)]
    source = source_of([asked.config for asked in left], left, drawn=6)
    queue = make_queue(source, calls, ahead=2)
    finish(queue)
    assert [finish(queue) for _ in range(6)] == [f"trial-{number:04d}" for number in range(6)]
    assert queue.exhausted


# --- anything may happen -------------------------------------------------------------------------------------------


def any_run(variant: Any, dice: random.Random, number: int) -> RunConfig | None:
    if dice.random() < 0.05:
        return None
    changes = RRDB_DECODER if dice.random() < 0.25 else {}
    return variant(dice.choice([3, 6, 12]), pixel=dice.random() < 0.3, seed=number, changes=changes)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_job_runs_once_after_its_upstream(
    variant: Any, source_of: Any, calls: Calls, seed: int, workers: int
) -> None:
    dice = random.Random(100 * seed + workers)
    runs = [any_run(variant, dice, number) for number in range(25)]
    hopeless = {f"{stage}-" for stage in ("fidelity", "autoencoder", "trial") if dice.random() < 0.4}
    queue = make_queue(source_of(runs), calls, ahead=dice.randint(1, 6))
    started: Counter[str] = Counter()
    done: set[str] = set()

    while not queue.exhausted or queue.running:
        job = queue.next() if len(queue.running) < workers else None
        if job is not None:
            started[job.name] += 1
            stage: Stage = "adversarial" if job.kind == "trial" else job.stage
            assert {need.key for need in needs_of(job.config, stage, key_of)} <= done
            continue
        if not queue.running:
            assert queue.exhausted  # no job, none running: then nothing may be left
            break
        ended = dice.choice(queue.running)
        fails = dice.random() < 0.3 and any(ended.name.startswith(prefix) for prefix in hopeless)
        queue.end(ended.name, "bad luck" if fails else None)
        if not fails or ended.kind == "trial":
            done.add(ended.name)

    trials = {name for name in started if name.startswith("trial-")}
    assert set(started.values()) == {1}
    assert len(trials) + len(calls.failed) == 25
    assert {int(name[-4:]) for name in trials}.isdisjoint(calls.failed)
    assert sorted([number for number, _ in calls.drawn]) == [n for n, run in enumerate(runs) if run is not None]


def test_a_job_names_the_run_and_the_stage(variant: Any, source_of: Any, calls: Calls) -> None:
    run = variant(pixel=True)
    queue = make_queue(source_of([run]), calls)
    artifact = start(queue)
    queue.end(artifact.name)
    trial = start(queue)
    assert from_dict(artifact.spec.config) == from_dict(trial.spec.config) == run
    key = key_of(run, "adversarial")
    assert trial.spec == JobSpec("trial-0000", "trial", "adversarial", to_dict(run), trial=0, key=key)
    assert artifact.spec.key == artifact.name
    assert (artifact.spec.kind, artifact.spec.stage, artifact.spec.trial) == ("artifact", "fidelity", None)


# --- what ends the drawing, and what follows -----------------------------------------------------------------------


def test_drawn_trials_run_after_the_end_of_the_search(variant: Any, source_of: Any, calls: Calls) -> None:
    enough: list[str] = []
    source = source_of([variant(pixel=True, seed=seed) for seed in range(9)])
    queue = make_queue(source, calls, end_of_search=lambda: enough[0] if enough else None)
    finish(queue)
    start(queue)
    drawn = queue.source.count
    enough.append("the hypervolume stands still")
    assert queue.all_drawn
    while queue.next() is not None:
        pass
    assert queue.source.count == drawn
    assert queue.exhausted


def test_interpolations_go_first_and_last_ones_wait_for_training(variant: Any, source_of: Any, calls: Calls) -> None:
    rounds: list[bool] = []
    waiting: list[Job] = []

    def follow_ups(last: bool) -> list[Job]:
        rounds.append(last)
        return waiting

    def interpolation(name: str) -> Job:
        return Job(name, "interpolation", None, variant(pixel=True), ready_at=0.0)

    queue = make_queue(source_of([variant(pixel=True, seed=seed) for seed in range(2)]), calls)
    queue.follow_ups = follow_ups
    finish(queue)
    first = start(queue)
    waiting.append(interpolation("one"))
    assert start(queue).name == "one"
    second = start(queue)
    assert (first.kind, second.kind) == ("trial", "trial")
    assert queue.next() is None  # "one" runs
    assert not queue.exhausted  # for the trials may be followed by more
    assert not any(rounds)
    queue.end(first.name)
    waiting.clear()
    queue.end("one")
    queue.end(second.name)
    waiting.append(interpolation("two"))
    assert start(queue).name == "two"
    assert rounds[-1]
    assert not queue.exhausted  # while "two" runs: it may make new neighbours on the front
    waiting[:] = [interpolation("three")]
    queue.end("two")
    assert start(queue).name == "three"
    waiting.clear()
    queue.end("three")
    assert queue.exhausted
