"""The queue of jobs: each artifact once, and each trial after the artifacts that it starts from.

Interpolations of finished trials are cheap and have priority. The queue works without Ray: `searcher.py` hands the jobs
to Tune.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from study.cluster.messages import JobKind, JobSpec, PairSpec, ParentSpec
from study.config import RunConfig, Stage, from_dict, to_dict
from study.search.interpolation import InterpolationPlan
from study.search.trials import Asked, UnusableTrial
from study.training.stages.graph import STAGES, KeyOf, Need, needs_of


class Source(Protocol):
    """A source of trials (`search.trials.TrialSource`)."""

    @property
    def count(self) -> int: ...
    def unfinished(self) -> list[Asked]: ...
    def ask(self) -> Asked: ...


class Leases(Protocol):
    """Exclusive rights to train an artifact, across studies (`cluster.leases`)."""

    def acquire(self, key: str) -> str | None: ...
    def release(self, key: str) -> None: ...
    def close(self) -> None: ...


class NoLeases:
    """Leases that are always granted: no other study shares this Ray."""

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
    """A unit of work: train (or reuse) an artifact, run a trial, evaluate interpolations or the baseline.

    Attributes:
        name: an artifact's key, `trial-0003`, a pair's name, or the baseline's.
        kind: artifact, trial, interpolation or baseline.
        stage: the stage to train; None for an interpolation or the baseline.
        config: the run.
        ready_at: seconds since the epoch at which it could start; for a trial that did not wait, when it was sampled.
        trial: number of the trial, for a trial.
        waited: whether a trial waited for an artifact.
        workers: number of processes that share it.
        pair: the weights to interpolate, for an interpolation.
        key: of the stage's result, for an artifact or a trial.
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
    key: str | None = None

    @property
    def spec(self) -> JobSpec:
        """The part of the job that a worker receives."""
        return JobSpec(self.name, self.kind, self.stage, to_dict(self.config), self.trial, self.pair, self.key)


@dataclass(frozen=True)
class QueueRules:
    """Parameters and callbacks of a queue.

    Attributes:
        total: number of trials to draw.
        key_of: returns the key of the artifact of a run's stage.
        clock: returns seconds since the epoch.
        on_trial: called with each drawn trial and the keys of its upstream artifacts.
        on_failed: called with each trial that cannot run, the cause, and whether a resumed study tries it again.
        workers_of: returns the number of processes for a job of a stage.
        end_of_search: returns why the search ended before `total` trials; None while it continues.
        ahead: largest number of drawn trials that wait for artifacts.
    """

    total: int
    key_of: KeyOf
    clock: Callable[[], float]
    on_trial: Callable[[Asked, dict[Stage, str]], None]
    on_failed: Callable[[Asked | UnusableTrial, str, bool], None]
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
    """The jobs of a study that have not ended, in their order.

    Attributes:
        source: of trials.
        rules: parameters and callbacks.
        finished_artifacts: keys of the artifacts that need no job.
        leases: acquired before an artifact's job is handed out.
        follow_ups: returns the interpolations that are due; called with True once all training has ended.
        baseline: the job that evaluates it, until it is handed out. It is the first job: it needs no artifact, and
            its worker is warm before more than one artifact can be trained.
        elsewhere: holders of the leases that the last call of `next` could not acquire, by artifact key.
    """

    source: Source
    rules: QueueRules
    finished_artifacts: set[str] = field(default_factory=set)
    leases: Leases = field(default_factory=NoLeases)
    follow_ups: Callable[[bool], Iterable[Job]] | None = None
    baseline: Job | None = None
    elsewhere: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold the trials that an interrupted study did not finish."""
        self._failed_artifacts: dict[str, tuple[str, bool]] = {}
        self._running: dict[str, Job] = {}
        self._held: list[_Held] = []
        for asked in self.source.unfinished():
            self._hold(asked)

    @property
    def running(self) -> list[Job]:
        """Jobs that were handed out and have not ended."""
        return list(self._running.values())

    @property
    def exhausted(self) -> bool:
        """Whether there is no job to hand out, now or later."""
        if self.baseline is not None or self._held or not self.all_drawn:
            return False
        # An interpolation may dominate a point of the front; the points beside it become neighbours: another job.
        return self.follow_ups is None or (not self._running and self._follow_up() is None)

    @property
    def all_drawn(self) -> bool:
        """Whether the last trial was drawn."""
        return self.source.count >= self.rules.total or self.rules.end_of_search() is not None

    def next(self, room: int | None = None) -> Job | None:
        """Hand out a job; None if all others wait for running jobs, or there are none (`exhausted`).

        Args:
            room: number of free workers. If the next job needs more, no job is handed out: otherwise smaller jobs
                could delay it for ever.
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

    def end(self, name: str, cause: str | None = None, *, retry: bool = False) -> None:
        """Remove a job that ended; `cause` is why it failed, `retry` whether a resumed study tries it again."""
        job = self._running.pop(name)
        self._release(job)
        if job.kind == "artifact":
            if cause is None:
                self.finished_artifacts.add(name)
            else:
                self._failed_artifacts[name] = cause, retry

    def put_back(self, name: str) -> None:
        """Remove a job that was stopped before its end; the next driver of the study continues it."""
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
            self.rules.on_failed(error, str(error), False)

    def _hold(self, asked: Asked) -> None:
        key_of = self.rules.key_of
        needs = list(needs_of(asked.config, "adversarial", key_of))
        upstream = STAGES["adversarial"].upstream(asked.config)
        direct = {stage: key_of(config, stage) for config, stage in upstream}
        self.rules.on_trial(asked, direct)
        self._held.append(_Held(asked, needs, sampled_at=self.rules.clock()))

    @property
    def _all_trained(self) -> bool:
        is_training = any(job.kind in ("artifact", "trial") for job in self.running)
        return not self._held and self.all_drawn and not is_training

    def _follow_up(self) -> Job | None:
        jobs = () if self.follow_ups is None else self.follow_ups(self._all_trained)
        return next((job for job in jobs if job.name not in self._running), None)

    def _ready_trial(self) -> Job | None:
        for held in list(self._held):
            failed = [need.key for need in held.needs if need.key in self._failed_artifacts]
            if failed:
                self._held.remove(held)
                cause, retry = self._failed_artifacts[failed[0]]
                self.rules.on_failed(held.asked, f"its {failed[0]} failed: {cause}", retry)
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
                    key=self.rules.key_of(held.asked.config, "adversarial"),
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
            return Job(
                need.key,
                "artifact",
                need.stage,
                need.config,
                ready_at=self.rules.clock(),
                workers=workers,
                key=need.key,
            )
        return None


def interpolation_jobs(plan: InterpolationPlan, last: bool) -> Iterator[Job]:
    """Yield a job for each pair that is due and was not evaluated; `last` once all training has ended."""
    for pair in plan.pairs(last):
        first, second = (ParentSpec(parent.point, plan.config_of(parent)) for parent in (pair.first, pair.second))
        detail = PairSpec(first, second, pair.spaces, plan.shares)
        yield Job(pair.name, "interpolation", None, from_dict(second.config), ready_at=0.0, pair=detail)
