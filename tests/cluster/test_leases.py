"""Leases with a simulated clock, and a queue whose artifacts another study has leased."""

from typing import Any

import pytest

from study.cluster.jobs import JobQueue, QueueRules
from study.cluster.leases import LEASE_SECONDS, RENEW_SECONDS, LeaseTable
from study.config import stage_key


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_one_holder_at_a_time(clock: Clock) -> None:
    table = LeaseTable(clock=clock)
    assert table.acquire("artifact", "a") is None
    assert table.acquire("artifact", "a") is None  # a repeated request
    assert table.acquire("artifact", "b") == "a"
    assert table.acquire("another", "b") is None
    table.release("artifact", "b")  # of another holder
    assert table.acquire("artifact", "b") == "a"
    table.release("artifact", "a")
    assert table.acquire("artifact", "b") is None


def test_only_leases_that_are_not_renewed_expire(clock: Clock) -> None:
    table = LeaseTable(clock=clock)
    table.acquire("dead", "a")
    table.acquire("alive", "a")
    for _ in range(int(LEASE_SECONDS / RENEW_SECONDS)):
        clock.now += RENEW_SECONDS
        assert table.renew("a", ["alive"]) == []
    assert table.acquire("dead", "b") is None
    assert table.acquire("alive", "b") == "a"
    assert table.renew("a", ["dead", "alive"]) == ["dead"]


def test_a_restarted_table_waits_for_renewals_before_it_grants(clock: Clock) -> None:
    table = LeaseTable(clock=clock, restarted=True)
    assert "restarted" in str(table.acquire("artifact", "b"))
    clock.now += RENEW_SECONDS
    assert table.renew("a", ["artifact"]) == []
    clock.now += RENEW_SECONDS
    assert table.acquire("artifact", "b") == "a"
    assert table.acquire("another", "b") is None


class Busy:
    """Leases of which another study holds some."""

    def __init__(self, *taken: str) -> None:
        self.taken, self.held = set(taken), []

    def acquire(self, key: str) -> str | None:
        if key in self.taken:
            return "study other"
        self.held.append(key)
        return None

    def release(self, key: str) -> None:
        self.held.remove(key)

    def close(self) -> None: ...


def test_the_queue_skips_artifacts_that_another_study_trains(source_of: Any, variant: Any) -> None:
    here, there = variant(pixel=True), variant(pixel=True, changes={"fidelity.seed": 7})
    key_of = lambda config, stage: stage_key(config, stage, "images")  # noqa: E731
    leases = Busy(key_of(there, "fidelity"))
    queue = JobQueue(
        source_of([there, here]),
        QueueRules(2, key_of, lambda: 0.0, on_trial=lambda *_: None, on_failed=lambda *_: None),
        leases=leases,
    )
    job = queue.next()
    assert job is not None
    assert job.name == key_of(here, "fidelity") != key_of(there, "fidelity")
    assert leases.held == [job.name]
    assert queue.next(room=5) is None
    assert queue.elsewhere == {key_of(there, "fidelity"): "study other"}
    queue.end(job.name)
    assert leases.held == []
    trial = queue.next()
    assert trial is not None
    assert trial.trial == 1

    leases.taken.clear()
    found = queue.next()
    assert found is not None
    assert (found.kind, queue.elsewhere) == ("artifact", {})
    queue.put_back(found.name)
    assert leases.held == []


def test_an_artifact_without_room_is_left_to_other_studies(source_of: Any, variant: Any) -> None:
    leases = Busy()
    queue = JobQueue(
        source_of([variant(pixel=True)]),
        QueueRules(
            1,
            lambda config, stage: stage_key(config, stage, "images"),
            lambda: 0.0,
            on_trial=lambda *_: None,
            on_failed=lambda *_: None,
            workers_of=lambda _: 2,
        ),
        leases=leases,
    )
    assert queue.next(room=1) is None
    assert leases.held == []
    assert queue.next(room=2) is not None
