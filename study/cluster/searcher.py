"""Hands the study's jobs to Ray Tune, and records what its workers report."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ray.tune.search import Searcher

from study.cluster.failures import Deaths
from study.cluster.jobs import Job, JobQueue
from study.cluster.messages import (
    Advanced,
    Entered,
    Happened,
    JobEnded,
    JobRequest,
    Message,
    read_message,
    write_request,
)
from study.config import to_dict
from study.files import StorageError
from study.record.events import (
    ArtifactEnded,
    Event,
    InterpolationEvaluated,
    PairEnded,
    PointEvaluated,
    ReferenceEvaluated,
    RungDecided,
    TrialEnded,
    WorkerDied,
)
from study.record.state import Recorder
from study.training.stages.graph import STAGES

Tell = Callable[[TrialEnded], None]
Compare = Callable[[PointEvaluated], RungDecided | None]


@dataclass(frozen=True)
class SearcherRules:
    """What a searcher needs to know of its study.

    Attributes:
        request_of: makes the request for a job.
        slots: returns how many workers the cluster has room for at once.
        on_trial_ended: called once for each trial that ended.
        compare: decides at each point of a trial whether it goes on; returns None where nothing is decided.
        reference_scale: fidelity generators of this scale are points of the study.
        retries: how often a job is started anew that got no further since its process died last.
    """

    request_of: Callable[[Job], JobRequest]
    slots: Callable[[], int]
    on_trial_ended: Tell
    reference_scale: int
    compare: Compare = lambda event: None
    retries: int = 3


@dataclass
class _Running:
    """A job that a worker was given, as Tune's trial."""

    trial_id: str
    job: Job
    entered: Entered | None = None
    ended: bool = False
    pruned: bool = False


class StudySearcher(Searcher):
    """A Tune searcher over a `JobQueue`.

    A job is handed out only when a worker is free for it, so that each trial is drawn with all that is known by then.
    Upstream stages are jobs like any other: nothing waits inside a trial. Each job has a lane, a number below that of
    the slots, by which `worker.py` tells workers apart.

    Attributes:
        progress: iterations done, and to do, of each job that runs.
        halted: why the study cannot go on.
        stopping: nothing is handed out any more; running jobs are waited for.
    """

    def __init__(self, queue: JobQueue, recorder: Recorder, rules: SearcherRules) -> None:
        super().__init__(metric=None, mode=None)
        self.progress: dict[str, tuple[int, int]] = {}
        self.halted: str | None = None
        self.stopping = False
        self._queue, self._recorder, self._rules = queue, recorder, rules
        self._running: dict[str, _Running] = {}
        self._deaths: dict[str, Deaths] = {}
        self._lanes: dict[str, int] = {}
        self._free_lanes: list[int] = []

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:  # type: ignore[override]  # Ray's hint lacks FINISHED
        """Return a job's configuration when Tune wants one, None for "not now", or FINISHED."""
        if self.halted is not None or self.stopping or self._queue.exhausted:
            return Searcher.FINISHED
        room = self._rules.slots() - sum(job.workers for job in self._queue.running)
        if room <= 0:
            return None
        try:
            job = self._queue.next(room)
        except StorageError as error:
            self.halted = str(error)
            return Searcher.FINISHED
        if job is None:
            return Searcher.FINISHED if self._queue.exhausted else None
        self._running[trial_id] = _Running(trial_id, job)
        return {"request": write_request(self._rules.request_of(job)), "lane": self._take_lane(trial_id)}

    def on_message(self, trial_id: str, text: str) -> bool:
        """Take in a worker's message; returns whether its job goes on."""
        running = self._running[trial_id]
        if running.pruned:
            return False
        self._guarded(lambda: self._dispatch(running, read_message(text)))
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Do nothing: Tune does not pass on a result that makes a trial stop, so the scheduler calls `on_message`."""

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        """End a job whose worker is done; `error` if its process died, and died again whenever it was started anew."""
        del result
        running = self._running[trial_id]
        self._leave_lane(trial_id)
        if running.ended or self.halted is not None or not error:
            return
        ended = JobEnded("FAILED", self._deaths_of(trial_id).sentence)
        self._guarded(lambda: self._end(running, ended))

    def on_death(self, trial_id: str, cause: str) -> None:
        """Record that the process of a job died; Tune starts the job anew while there are `retries_left`."""
        deaths = self._deaths_of(trial_id)
        deaths.add(cause)
        if self.halted is None:
            job = self._running[trial_id].job
            self.progress.pop(job.name, None)
            died = WorkerDied(job=job.name, trial=job.trial, iteration=deaths.furthest, cause=cause)
            self._guarded(lambda: self._recorder.add(died))

    def retries_left(self, trial_id: str) -> int:
        """Return how often a job may still die without getting further."""
        return self._rules.retries - self._deaths_of(trial_id).count

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal and Optuna's database hold everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see `save`."""

    def __getstate__(self) -> dict[str, object]:
        """Return nothing to pickle: Tune saves its searcher for a restore that is not used here."""
        return {}

    def _deaths_of(self, trial_id: str) -> Deaths:
        return self._deaths.setdefault(trial_id, Deaths())

    def _take_lane(self, trial_id: str) -> int:
        """Choose the worker that ended its last job most recently: Tune may still have it."""
        self._lanes[trial_id] = self._free_lanes.pop() if self._free_lanes else len(self._lanes)
        return self._lanes[trial_id]

    def _leave_lane(self, trial_id: str) -> None:
        if trial_id in self._lanes:
            self._free_lanes.append(self._lanes.pop(trial_id))

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except StorageError as error:
            self.halted = str(error)

    def _dispatch(self, running: _Running, message: Message) -> None:
        job = running.job
        match message:
            case Entered():
                running.entered = message
                self.progress[job.name] = (0, _iterations(job))
            case Advanced() if message.name == job.name:
                self.progress[job.name] = (message.iteration, message.iterations)
                self._deaths_of(running.trial_id).reach(message.iteration)
            case Happened():
                self._record(running, message.event)
            case JobEnded(state="HALTED"):
                self.halted = message.cause
            case JobEnded():
                self._end(running, message)

    def _record(self, running: _Running, event: Event) -> None:
        job = running.job
        if isinstance(event, ReferenceEvaluated) and event.kind == "fidelity":
            if job.config.data.scale == self._rules.reference_scale:
                self._recorder.add(event)
            return
        self._recorder.add(event)
        if isinstance(event, InterpolationEvaluated):
            self.progress[job.name] = (self.progress[job.name][0] + 1, _iterations(job))
        elif isinstance(event, PointEvaluated):
            self._deaths_of(running.trial_id).reach(event.point.iteration)
            self._compare(running, event)

    def _compare(self, running: _Running, event: PointEvaluated) -> None:
        """Prune a trial that is not among the best at a rung; its worker is stopped with its next message.

        Not at once: Tune keeps a worker only if the next job is known already, and wants it in between.
        """
        decision = self._rules.compare(event)
        if decision is not None:
            self._recorder.add(decision)
            if not decision.go_on:
                self._end_trial(running, "PRUNED", decision.reason)
                running.pruned = True

    def _end(self, running: _Running, ended: JobEnded) -> None:
        job = running.job
        if ended.state == "STOPPED":
            self._finish(running)
            self._queue.put_back(job.name)
        elif job.kind == "trial":
            self._end_trial(running, ended.state, ended.cause, ended.traceback)
        else:
            self._finish(running)
            self._queue.end(job.name, ended.cause)
            self._end_upstream(job, ended)

    def _finish(self, running: _Running) -> None:
        running.ended = True
        # Its worker reports `WorkerDone` next. Tune wants another job before, finds that it suits the worker, and keeps it.
        self._leave_lane(running.trial_id)
        self.progress.pop(running.job.name, None)

    def _end_upstream(self, job: Job, ended: JobEnded) -> None:
        """Record the end of a job that is no trial; a baseline that cannot be evaluated halts the study."""
        if job.kind == "interpolation":
            assert job.pair is not None
            first, second = job.pair.first.point, job.pair.second.point
            state: Literal["COMPLETE", "FAILED"] = "COMPLETE" if ended.state == "COMPLETE" else "FAILED"
            self._recorder.add(PairEnded(first=first, second=second, state=state, cause=ended.cause))
        elif ended.state == "COMPLETE":
            return  # its worker reported what it made
        elif job.kind == "baseline":
            self.halted = f"the baseline ({job.name}) could not be evaluated: {ended.cause}"
        else:
            assert job.stage is not None
            self._recorder.add(
                ArtifactEnded(
                    key=job.name,
                    stage=job.stage,
                    config=to_dict(job.config),
                    state="FAILED",
                    cause=ended.cause,
                    traceback=ended.traceback,
                )
            )

    def _end_trial(self, running: _Running, state: str, cause: str | None, traceback: str | None = None) -> None:
        job, entered = running.job, running.entered
        assert job.trial is not None
        self._finish(running)
        self._queue.end(job.name, cause)
        if state == "COMPLETE" and self._recorder.record.last_metrics(job.trial) is None:
            state, cause = "FAILED", "its last point has a metric that is not finite"
        ended = TrialEnded(
            trial=job.trial,
            state=state,  # type: ignore[arg-type]  # validated
            cause=cause,
            traceback=traceback,
            overhead_seconds=None if entered is None else max(0.0, entered.at - job.ready_at),
            seconds=None if entered is None else time.time() - entered.at,
            warm=entered is not None and entered.warm,
            waited=job.waited,
        )
        self._recorder.add(ended)
        self._rules.on_trial_ended(ended)


def _iterations(job: Job) -> int:
    """Return the iterations of a job's training; of one that evaluates, how many sets of images."""
    if job.kind == "baseline":
        return 1
    if job.pair is not None:
        return len(job.pair.spaces) * len(job.pair.shares)
    assert job.stage is not None
    return STAGES[job.stage].iterations(job.config)
