"""Which job comes next: artifacts first, each once, and no trial before the artifacts that it starts from.

What follows from trials that have ended, the interpolations of their points, is cheap and goes before everything else.

Pure bookkeeping, without Ray: `searcher.py` hands the jobs to Tune.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from study.cluster.messages import JobKind, JobSpec, PairSpec
from study.config import RunConfig, Stage, to_dict
from study.search.trials import Asked, UnusableTrial
from study.training.stages.graph import STAGES, KeyOf, Need, needs_of


class Source(Protocol):
    """Where trials come from (`search.trials.TrialSource`)."""

    @property
    def count(self) -> int: ...
    def unfinished(self) -> list[Asked]: ...
    def ask(self) -> Asked: ...


class Leases(Protocol):
    """Keeps other studies from training the same artifact at the same time (`cluster.leases`)."""

    def acquire(self, key: str) -> str | None: ...
    def release(self, key: str) -> None: ...
    def close(self) -> None: ...


class NoLeases:
    """Leases where no other study shares this Ray."""

    def acquire(self, key: str) -> str | None:
        """Grant every lease."""
        del key
        return None

    def release(self, key: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Job:
    """Something for a worker to do: train (or find) an artifact, run a trial, evaluate interpolations or the baseline.

    Attributes:
        name: an artifact's key, `trial-0003`, a pair's name, or the baseline's.
        stage: that it trains; None of an interpolation or the baseline.
        ready_at: when nothing stood in its way any more; for a trial that waited for nothing, when it was sampled.
        waited: whether a trial was held back for an artifact.
        workers: how many processes do it together.
        pair: of an interpolation: what to interpolate, and how.
    """

    name: str
    kind: JobKind
    stage: Stage | None
    config: RunConfig
    ready_at: float
    trial: int | None = None
    waited: bool = False
    workers: int = 1
    pair: PairSpec | None = None

    @property
    def spec(self) -> JobSpec:
        """What a worker needs to know of it."""
        return JobSpec(self.name, self.kind, self.stage, to_dict(self.config), self.trial, self.pair)


@dataclass(frozen=True)
class QueueRules:
    """What a queue needs to know of its study.

    Attributes:
        total: how many trials may be drawn in all.
        key_of: names the artifact of a run's stage.
        workers_of: how many processes do a job of a stage together.
        end_of_search: returns why no more trials are drawn, though `total` is not reached; None to go on.
        clock: seconds since the epoch.
        ahead: how many drawn trials may be held back at once.
    """

    total: int
    key_of: KeyOf
    clock: Callable[[], float]
    workers_of: Callable[[Stage], int] = lambda stage: 1
    end_of_search: Callable[[], str | None] = lambda: None
    ahead: int = 4


@dataclass
class _Held:
    asked: Asked
    needs: list[Need]
    sampled_at: float
    waited: bool = False


@dataclass
class JobQueue:
    """Decides the next job.

    Attributes:
        source: of trials.
        rules: of the study.
        on_trial: called with each trial that was drawn, and the keys of its upstream artifacts.
        on_failed: called with each trial that cannot run, and the cause.
        finished_artifacts: keys of those that no job is needed for.
        leases: acquired before an artifact is handed out.
        follow_ups: returns the jobs that follow from what has ended; called with True once nothing trains any more.
        baseline: the job that evaluates it, until it is handed out. It goes first: it waits for nothing, and its worker
            is warm by the time that there is more to train than the first artifact.
        elsewhere: who trains the artifacts that are needed here, by key, as of the last call of `next`.
    """

    source: Source
    rules: QueueRules
    on_trial: Callable[[Asked, dict[Stage, str]], None]
    on_failed: Callable[[Asked | UnusableTrial, str], None]
    finished_artifacts: set[str] = field(default_factory=set)
    leases: Leases = field(default_factory=NoLeases)
    follow_ups: Callable[[bool], Iterable[Job]] | None = None
    baseline: Job | None = None
    elsewhere: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold the trials that an interrupted study left."""
        self._failed_artifacts: dict[str, str] = {}
        self._running: dict[str, Job] = {}
        self._held: list[_Held] = []
        for asked in self.source.unfinished():
            self._hold(asked)

    @property
    def running(self) -> list[Job]:
        """The jobs that were handed out and have not ended."""
        return list(self._running.values())

    @property
    def exhausted(self) -> bool:
        """Whether no job is left to hand out, now or later."""
        if self.baseline is not None or self._held or not self.all_drawn:
            return False
        # An interpolation may push a point off the front, and make neighbours of those beside it: a further job.
        return self.follow_ups is None or (not self._running and self._follow_up() is None)

    @property
    def all_drawn(self) -> bool:
        """Whether no more trials are drawn."""
        return self.source.count >= self.rules.total or self.rules.end_of_search() is not None

    def next(self, room: int | None = None) -> Job | None:
        """Hand out a job; None if all that is left waits for running ones, or nothing is left (`exhausted`).

        Args:
            room: workers that are free. While they are too few for the job whose turn it is, none is handed out, or
                smaller jobs would keep it waiting for ever.
        """
        self.elsewhere = {}
        while True:
            job = self.baseline or self._follow_up() or self._ready_trial() or self._startable_artifact()
            if job is not None:
                if room is not None and job.workers > room:
                    self._release(job)
                    return None
                if job is self.baseline:
                    self.baseline = None
                self._held = [held for held in self._held if held.asked.number != job.trial]
                self._running[job.name] = job
                return job
            if len(self._held) >= self.rules.ahead or self.all_drawn:
                return None
            self._draw()

    def end(self, name: str, cause: str | None = None) -> None:
        """Note that a job ended; `cause` is why it failed."""
        job = self._running.pop(name)
        self._release(job)
        if job.kind == "artifact":
            if cause is None:
                self.finished_artifacts.add(name)
            else:
                self._failed_artifacts[name] = cause

    def put_back(self, name: str) -> None:
        """Note that a job stopped before its end; the next driver of the study continues it."""
        job = self._running.pop(name)
        self._release(job)
        if job.kind == "baseline":
            self.baseline = job

    def _release(self, job: Job) -> None:
        if job.kind == "artifact":
            self.leases.release(job.name)

    def _draw(self) -> None:
        try:
            self._hold(self.source.ask())
        except UnusableTrial as error:
            self.on_failed(error, str(error))

    def _hold(self, asked: Asked) -> None:
        key_of = self.rules.key_of
        needs = list(needs_of(asked.config, "adversarial", key_of))
        upstream = STAGES["adversarial"].upstream(asked.config)
        direct = {stage: key_of(config, stage) for config, stage in upstream}
        self.on_trial(asked, direct)
        self._held.append(_Held(asked, needs, sampled_at=self.rules.clock()))

    @property
    def _trained(self) -> bool:
        is_training = any(job.kind in ("artifact", "trial") for job in self.running)
        return not self._held and self.all_drawn and not is_training

    def _follow_up(self) -> Job | None:
        jobs = () if self.follow_ups is None else self.follow_ups(self._trained)
        return next((job for job in jobs if job.name not in self._running), None)

    def _ready_trial(self) -> Job | None:
        for held in list(self._held):
            broken = [need.key for need in held.needs if need.key in self._failed_artifacts]
            if broken:
                self._held.remove(held)
                self.on_failed(held.asked, f"its {broken[0]} failed: {self._failed_artifacts[broken[0]]}")
                continue
            if all(need.key in self.finished_artifacts for need in held.needs):
                return Job(
                    name=f"trial-{held.asked.number:04d}",
                    kind="trial",
                    stage="adversarial",
                    config=held.asked.config,
                    ready_at=self.rules.clock() if held.waited else held.sampled_at,
                    trial=held.asked.number,
                    waited=held.waited,
                    workers=self.rules.workers_of("adversarial"),
                )
            held.waited = True
        return None

    def _startable_artifact(self) -> Job | None:
        for need in (need for held in self._held for need in held.needs):
            known = need.key in self.finished_artifacts or need.key in self._failed_artifacts
            startable = all(key in self.finished_artifacts for key in need.after)
            if known or need.key in self._running or need.key in self.elsewhere or not startable:
                continue
            holder = self.leases.acquire(need.key)
            if holder is not None:
                self.elsewhere[need.key] = holder
                continue
            workers = self.rules.workers_of(need.stage)
            return Job(need.key, "artifact", need.stage, need.config, ready_at=self.rules.clock(), workers=workers)
        return None
