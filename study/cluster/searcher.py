"""Hands the study's jobs to Ray Tune, and takes what its workers say."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from study.cluster.interpolation_jobs import parents_of
from study.cluster.jobs import Job, JobQueue, describe
from study.files import StorageError
from study.record.state import Records
from study.search.asha import Decision
from study.training.stages.graph import STAGES, Need

Tell = Callable[[int, str, dict[str, float] | None, str | None], None]
Compare = Callable[[int, int, dict[str, float]], Decision | None]


class StudySearcher(Searcher):
    """A Tune searcher over a `JobQueue`.

    It hands out a job only when a worker is free for it, so that each trial is drawn with all that is known by
    then, and the orchestration's share of the time can be measured. Upstream stages are jobs like any
    other: nothing waits inside a trial.

    Each job is given a lane, a number below that of the slots, for `driver` to tell workers apart by.

    Attributes:
        progress: iterations done, and to do, of each job that runs.
        halted: why the study cannot go on.
        stopping: nothing is handed out any more; what runs is waited for.
    """

    def __init__(
        self,
        queue: JobQueue,
        records: Records,
        tell: Tell,
        *,
        slots: Callable[[], int],
        common: dict[str, Any],
        reference_scale: int,
        retries: int = 3,
        compare: Compare = lambda trial, iteration, metrics: None,
    ) -> None:
        """Set up.

        Args:
            queue: decides what runs next.
            records: where everything is written down.
            tell: called once for each trial that ended: number, state, its last metrics, cause.
            slots: how many workers the cluster has room for at once.
            common: sent to the workers with every job.
            reference_scale: fidelity generators of this scale are points of the study.
            retries: how often a job is started anew that got no further since its process died last.
            compare: decides at each point of a trial whether it goes on; None where nothing is to be decided.
        """
        super().__init__(metric=None, mode=None)
        self.progress: dict[str, tuple[int, int]] = {}
        self.halted: str | None = None
        self.stopping = False
        self._queue, self._records, self._tell, self._slots = queue, records, tell, slots
        self._common, self._reference_scale, self._retries = common, reference_scale, retries
        self._compare = compare
        self._jobs: dict[str, Job] = {}
        self._entered: dict[str, dict[str, Any]] = {}
        self._ended: set[str] = set()
        self._pruned: set[str] = set()
        self._deaths: dict[str, _Deaths] = {}
        self._lanes: dict[str, int] = {}
        self._left_lanes: list[int] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # Ray's hint lacks FINISHED
        """Tune asks for work: a job, None for "not now", FINISHED."""
        if self.halted is not None or self.stopping or self._queue.exhausted:
            return Searcher.FINISHED
        room = self._slots() - sum(job.workers for job in self._queue.running)
        if room <= 0:
            return None
        try:
            job = self._queue.next(room)
        except StorageError as error:
            self.halted = str(error)
            return Searcher.FINISHED
        if job is None:
            return Searcher.FINISHED if self._queue.exhausted else None
        self._jobs[trial_id] = job
        return {"job": describe(job), "lane": self._take_lane(trial_id), **self._common}

    def on_message(self, trial_id: str, message: str) -> bool:
        """A worker said something (JSON); returns whether its job goes on."""
        if trial_id in self._pruned:
            return False
        self._dispatch(trial_id, self._jobs[trial_id], json.loads(message))
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing to do: Tune does not say this of a result that makes a trial stop. The scheduler calls `on_message`."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A worker is done; `error` if its process died, and died again whenever it was started anew."""
        del result
        self._leave_lane(trial_id)
        job = self._jobs[trial_id]
        if trial_id in self._ended or self.halted is not None:
            return
        if error:
            cause = self._deaths.get(trial_id, _Deaths()).sentence
            self._dispatch(trial_id, job, {"type": "end", "state": "FAILED", "cause": cause})

    def on_death(self, trial_id: str, cause: str) -> None:
        """The process of a job died, or its node did; Tune starts the job anew while there are `retries_left`."""
        deaths = self._deaths.setdefault(trial_id, _Deaths())
        deaths.count, deaths.cause = deaths.count + 1, cause
        if self.halted is None:
            job = self._jobs[trial_id]
            self.progress.pop(job.name, None)
            self._guarded(lambda: self._records.death(job.name, job.trial, deaths.furthest, cause))

    def retries_left(self, trial_id: str) -> int:
        """How often a job may still die without getting further."""
        deaths = self._deaths.get(trial_id)
        return self._retries - (0 if deaths is None else deaths.count)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study's journal and Optuna's database hold everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore; see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing to pickle either: Tune puts its searcher aside for a restore that we do not use."""
        return {}

    def _take_lane(self, trial_id: str) -> int:
        """Choose the worker of a job: the one that ended its last job most recently, for Tune may still have it."""
        lane = self._left_lanes.pop() if self._left_lanes else len(self._lanes)
        self._lanes[trial_id] = lane
        return lane

    def _leave_lane(self, trial_id: str) -> None:
        if trial_id in self._lanes:
            self._left_lanes.append(self._lanes.pop(trial_id))

    def _dispatch(self, trial_id: str, job: Job, message: dict[str, Any]) -> None:
        self._guarded(lambda: self._take(trial_id, job, message))

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except StorageError as error:
            self.halted = str(error)

    def _take(self, trial_id: str, job: Job, message: dict[str, Any]) -> None:
        match message["type"]:
            case "entered":
                self._entered[trial_id] = message
                self.progress[job.name] = (0, _iterations(job))
            case "tick":
                if message["name"] == job.name:
                    self.progress[job.name] = (message["iteration"], message["iterations"])
                    self._deaths.setdefault(trial_id, _Deaths()).reach(message["iteration"])
            case "point":
                assert job.trial is not None
                self._deaths.setdefault(trial_id, _Deaths()).reach(message["iteration"])
                self._records.point(job.trial, _facts(message))
                self._consider(trial_id, job, message)
            case "interpolation":
                self.progress[job.name] = (self.progress[job.name][0] + 1, _iterations(job))
                self._records.interpolation(job.name, message["name"], _facts(message) | {"parents": parents_of(job)})
            case "end" if message["state"] == "HALTED":
                self.halted = message["cause"]
            case "end":
                self._end(trial_id, job, message)

    def _consider(self, trial_id: str, job: Job, message: dict[str, Any]) -> None:
        """Prune a trial that is not among the best at a rung; its worker is stopped with its next message.

        Not at once: Tune keeps a worker only if the next job is there already, and asks for it in between.
        """
        assert job.trial is not None
        point = (job.trial, message["iteration"])
        decision = self._compare(*point, self._records.points[point])
        if decision is not None:
            self._records.rung(decision)
            if not decision.go_on:
                self._end(trial_id, job, {"state": "PRUNED", "cause": decision.reason})
                self._pruned.add(trial_id)

    def _end(self, trial_id: str, job: Job, message: dict[str, Any]) -> None:
        self._ended.add(trial_id)
        # Its worker says "done" next. Tune asks for another job before, sees that it suits the worker, and keeps it.
        self._leave_lane(trial_id)
        self.progress.pop(job.name, None)
        if message["state"] == "STOPPED":
            self._queue.put_back(job.name)
            return
        self._queue.end(job.name, message["cause"])
        if job.kind == "artifact":
            self._end_artifact(job, message)
        elif job.kind == "interpolation":
            self._records.pair(job.name, message["state"], message["cause"])
        elif job.kind == "baseline":
            self._end_baseline(job, message)
        else:
            self._end_trial(trial_id, job, message)

    def _end_artifact(self, job: Job, message: dict[str, Any]) -> None:
        need = Need(job.name, job.stage, job.config)
        if message["state"] == "COMPLETE":
            self._records.artifact_made(need, message, reference_scale=self._reference_scale)
        else:
            self._records.artifact_failed(need, message["cause"], message.get("traceback"))

    def _end_baseline(self, job: Job, message: dict[str, Any]) -> None:
        """Record it, or halt: images that cannot be evaluated are as bad for every trial."""
        if message["state"] == "COMPLETE":
            shown = {name: message[name] for name in ("metrics", "images", "samples")}
            self._records.reference(job.name, kind=job.name, **shown)
        else:
            self.halted = f"the baseline ({job.name}) could not be evaluated: {message['cause']}"

    def _end_trial(self, trial_id: str, job: Job, message: dict[str, Any]) -> None:
        assert job.trial is not None
        metrics, state, cause = self._records.last_metrics(job.trial), message["state"], message["cause"]
        if state == "COMPLETE" and metrics is None:
            state, cause = "FAILED", "its last point has a metric that is not finite"
        entered = self._entered.get(trial_id)
        facts = {
            "overhead_seconds": None if entered is None else max(0.0, entered["at"] - job.ready_at),
            "seconds": None if entered is None else time.time() - entered["at"],
            "warm": entered is not None and entered["warm"],
            "waited": job.waited,
        }
        self._records.end(job.trial, state, cause=cause, traceback=message.get("traceback"), **facts)
        self._tell(job.trial, state, metrics, cause)


@dataclass
class _Deaths:
    """How often a job's process died since the job last got further than ever, how far that was, and the last cause."""

    count: int = 0
    furthest: int = 0
    cause: str = "nobody knows why"

    def reach(self, iteration: int) -> None:
        if iteration > self.furthest:
            self.count, self.furthest = 0, iteration

    @property
    def sentence(self) -> str:
        return (
            f"its process died {self.count} times without getting further than iteration {self.furthest}; "
            f"the last time: {self.cause}"
        )


def _facts(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name not in ("type", "name")}


def _iterations(job: Job) -> int:
    """Of a job's training; of one that evaluates, how many sets of images."""
    if job.kind == "baseline":
        return 1
    if job.pair is not None:
        return len(job.pair["spaces"]) * len(job.pair["shares"])
    return STAGES[job.stage].iterations(job.config)


def seconds_left(progress: dict[str, tuple[int, int]], durations: list[float], not_drawn: int, slots: int) -> float:
    """Estimate the time to the end of a study; NaN before the first trial has ended."""
    if not durations:
        return math.nan
    mean = sum(durations) / len(durations)
    running = sum(mean * (1 - done / total) for done, total in progress.values())
    return (running + mean * not_drawn) / max(1, slots)
