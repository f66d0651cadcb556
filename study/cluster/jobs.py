"""What to run next: artifacts first, each once, and no trial before what it starts from is there.

What follows from trials that have ended, the interpolations of their points, is cheap and goes before everything else.

Pure bookkeeping, without Ray: `searcher.py` hands the jobs to Tune.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

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
    """Where nobody else is."""

    def acquire(self, key: str) -> str | None:
        """It is ours."""
        del key
        return None

    def release(self, key: str) -> None:
        """Nothing was taken."""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Job:
    """Something for a worker to do: make (or find) an artifact, run a trial, judge interpolations or the baseline.

    Attributes:
        name: an artifact's key, `trial-0003`, a pair's name, or the baseline's.
        ready_at: when nothing stood in its way any more; for a trial that had to wait for nothing, when it was sampled.
        waited: a trial that was held back for an artifact.
        workers: how many processes do it together.
        pair: of an interpolation: what to interpolate and how (`cluster.interpolation_jobs`).
    """

    name: str
    kind: Literal["artifact", "trial", "interpolation", "baseline"]
    stage: Stage
    config: RunConfig
    ready_at: float
    trial: int | None = None
    waited: bool = False
    workers: int = 1
    pair: Mapping[str, Any] | None = None


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
        source: asked for trials, at most `total` in all.
        key_of: names the artifact of a run's stage.
        on_trial: told of each trial that was drawn, with the keys of its upstream artifacts.
        on_failed: told of each trial that cannot run: number, cause, parameters.
        clock: seconds since the epoch.
        ahead: how many drawn trials may be held back at once.
        workers_of: how many processes do a job of a stage together.
        finished_artifacts: keys of those that no job is needed for.
        leases: asked before an artifact is handed out.
        enough: why no more trials are to be drawn, though `total` is not reached; None to go on.
        follow_ups: jobs that follow from what has ended and have not been done; asked with True once nothing trains any
            more, nor ever will.
        baseline: the job that evaluates it, until it is handed out. It goes first: it waits for nothing, and the worker
            that does it is warm by the time that there is more to train than the first artifact.
        elsewhere: who trains the artifacts that are needed here, by key, as of the last call of `next`.
    """

    source: Source
    total: int
    key_of: KeyOf
    on_trial: Callable[[Asked, dict[str, str]], None]
    on_failed: Callable[[int, str, dict[str, Any]], None]
    clock: Callable[[], float]
    ahead: int = 4
    workers_of: Callable[[Stage], int] = lambda stage: 1
    finished_artifacts: set[str] = field(default_factory=set)
    leases: Leases = field(default_factory=NoLeases)
    enough: Callable[[], str | None] = lambda: None
    follow_ups: Callable[[bool], Iterable[Job]] | None = None
    baseline: Job | None = None
    elsewhere: dict[str, str] = field(default_factory=dict)
    _failed_artifacts: dict[str, str] = field(default_factory=dict)
    _running: dict[str, Job] = field(default_factory=dict)
    _held: list[_Held] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take up the trials that an interrupted study left."""
        for asked in self.source.unfinished():
            self._hold(asked)

    @property
    def running(self) -> list[Job]:
        """The jobs that were handed out and have not ended."""
        return list(self._running.values())

    @property
    def exhausted(self) -> bool:
        """No job is left to hand out, now or later."""
        if self.baseline is not None or self._held or not self.all_drawn:
            return False
        # An interpolation may push a point off the front, and make neighbours of those beside it: a job that nobody knew of.
        return self.follow_ups is None or (not self._running and self._follow_up() is None)

    @property
    def all_drawn(self) -> bool:
        """No more trials are to be drawn."""
        return self.source.count >= self.total or self.enough() is not None

    @property
    def _trained(self) -> bool:
        is_training = any(job.kind in ("artifact", "trial") for job in self.running)
        return not self._held and self.all_drawn and not is_training

    def next(self, room: int | None = None) -> Job | None:
        """Hand out a job; None if all that is left waits for running ones, or nothing is left (`exhausted`).

        Args:
            room: workers that are free. While there is too little for the job whose turn it is, none is handed out, for
                smaller ones would keep it from ever having enough.
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
            if len(self._held) >= self.ahead or self.all_drawn:
                return None
            self._draw()

    def end(self, name: str, cause: str | None = None) -> None:
        """Take note that a job ended; `cause` says why it failed."""
        job = self._running.pop(name)
        self._release(job)
        if job.kind == "artifact":
            if cause is None:
                self.finished_artifacts.add(name)
            else:
                self._failed_artifacts[name] = cause

    def put_back(self, name: str) -> None:
        """Take note that a job stopped before its end; it is left to whoever continues the study."""
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
            self.on_failed(error.number, str(error), error.params)

    def _hold(self, asked: Asked) -> None:
        needs = list(needs_of(asked.config, "adversarial", self.key_of))
        direct: dict[str, str] = {
            stage: self.key_of(config, stage) for config, stage in STAGES["adversarial"].upstream(asked.config)
        }
        self.on_trial(asked, direct)
        self._held.append(_Held(asked, needs, sampled_at=self.clock()))

    def _follow_up(self) -> Job | None:
        jobs = () if self.follow_ups is None else self.follow_ups(self._trained)
        return next((job for job in jobs if job.name not in self._running), None)

    def _ready_trial(self) -> Job | None:
        for held in list(self._held):
            broken = [need.key for need in held.needs if need.key in self._failed_artifacts]
            if broken:
                self._held.remove(held)
                cause = f"its {broken[0]} failed: {self._failed_artifacts[broken[0]]}"
                self.on_failed(held.asked.number, cause, held.asked.params)
                continue
            if all(need.key in self.finished_artifacts for need in held.needs):
                return Job(
                    name=f"trial-{held.asked.number:04d}",
                    kind="trial",
                    stage="adversarial",
                    config=held.asked.config,
                    ready_at=self.clock() if held.waited else held.sampled_at,
                    trial=held.asked.number,
                    waited=held.waited,
                    workers=self.workers_of("adversarial"),
                )
            held.waited = True
        return None

    def _startable_artifact(self) -> Job | None:
        for held in self._held:
            for need in held.needs:
                known = need.key in self.finished_artifacts or need.key in self._failed_artifacts
                startable = all(key in self.finished_artifacts for key in need.after)
                if known or need.key in self._running or need.key in self.elsewhere or not startable:
                    continue
                holder = self.leases.acquire(need.key)
                if holder is not None:
                    self.elsewhere[need.key] = holder
                    continue
                workers = self.workers_of(need.stage)
                return Job(need.key, "artifact", need.stage, need.config, ready_at=self.clock(), workers=workers)
        return None


def describe(job: Job) -> dict[str, Any]:
    """What a worker needs to know of a job, in plain types."""
    return {
        "name": job.name,
        "kind": job.kind,
        "stage": job.stage,
        "config": to_dict(job.config),
        "trial": job.trial,
        "ready_at": job.ready_at,
        "waited": job.waited,
        "workers": job.workers,
        "pair": job.pair,
    }
