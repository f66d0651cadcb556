"""Tune's searcher of a study: hands out jobs, and records the events that workers report."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ray.tune.search import Searcher

from study.cluster.failures import FailureCount, FailureStreak, TooManyFailures
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
from study.tracking.session import record_interruption
from study.training.stages.graph import STAGES

OnTrialEnded = Callable[[TrialEnded], None]
Compare = Callable[[PointEvaluated], RungDecided | None]


@dataclass(frozen=True)
class SearcherRules:
    """Parameters and callbacks of a searcher.

    Attributes:
        request_of: returns the request for a job.
        slots: returns how many workers fit on the cluster at once.
        on_trial_ended: called once for each trial that ended.
        reference_scale: fidelity generators of this scale are points of the study.
        compare: called with each point of a trial; returns the decision of early stopping, None without one.
        retries: restarts of a job whose process died, without progress in between.
        streak: of failed jobs.
    """

    request_of: Callable[[Job], JobRequest]
    slots: Callable[[], int]
    on_trial_ended: OnTrialEnded
    reference_scale: int
    compare: Compare = lambda event: None
    retries: int = 3
    streak: FailureStreak = field(default_factory=FailureStreak)


@dataclass
class _Running:
    """A job that runs as a trial of Tune; `entered_at` by a clock that is never set."""

    trial_id: str
    job: Job
    entered: Entered | None = None
    entered_at: float = field(default_factory=time.monotonic)
    ended: bool = False
    pruned: bool = False


class StudySearcher(Searcher):
    """A Tune searcher over a `JobQueue`.

    A job is handed out only to a free worker, so that each trial is drawn after all earlier results. Upstream stages
    are jobs of their own: no trial waits in a worker. Each job has a lane, a number below the number of slots, by which
    `worker.py` distinguishes workers.

    Attributes:
        progress: iterations done, and all iterations, of each running job.
        halted: why the study cannot continue.
        stopping: whether to hand out no more jobs and wait for the running ones.
    """

    def __init__(self, queue: JobQueue, recorder: Recorder, rules: SearcherRules) -> None:
        super().__init__(metric=None, mode=None)
        self.progress: dict[str, tuple[int, int]] = {}
        self.halted: str | None = None
        self.stopping = False
        self._queue, self._recorder, self._rules = queue, recorder, rules
        self._running: dict[str, _Running] = {}
        self._failures: dict[str, FailureCount] = {}
        self._lanes: dict[str, int] = {}
        self._free_lanes: list[int] = []

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:  # type: ignore[override]  # Ray's hint lacks FINISHED
        """Return the configuration of the next job, None if none can start now, or FINISHED."""
        if self.halted is not None or self.stopping or self._queue.exhausted:
            return Searcher.FINISHED
        room = self._rules.slots() - sum(job.workers for job in self._queue.running)
        if room <= 0:
            return None
        try:
            job = self._queue.next(room)
        except (StorageError, TooManyFailures) as error:
            self.halted = str(error)
            return Searcher.FINISHED
        if job is None:
            return Searcher.FINISHED if self._queue.exhausted else None
        self._running[trial_id] = _Running(trial_id, job)
        return {"request": write_request(self._rules.request_of(job)), "lane": self._acquire_lane(trial_id)}

    def on_message(self, trial_id: str, text: str) -> bool:
        """Process a worker's message; return whether its job continues."""
        running = self._running[trial_id]
        if running.pruned:
            return False
        self._guarded(self._recorder.check)  # also while no event is due
        self._guarded(lambda: self._dispatch(running, read_message(text)))
        return True

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Do nothing: Tune drops the result that stops a trial, so the scheduler calls `on_message` instead."""

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        """End a job whose worker has finished; `error` if its process died and has no retries left."""
        del result
        running = self._running[trial_id]
        self._release_lane(trial_id)
        if running.ended or self.halted is not None or not error:
            return
        ended = JobEnded("FAILED", self._failures_of(trial_id).summary, retry=True)
        self._guarded(lambda: self._end(running, ended))

    def on_worker_died(self, trial_id: str, cause: str) -> None:
        """Record that the process of a job died; Tune restarts the job while there are `retries_left`."""
        failures = self._failures_of(trial_id)
        failures.add(cause)
        if self.halted is None:
            job = self._running[trial_id].job
            self.progress.pop(job.name, None)
            died = WorkerDied(job=job.name, trial=job.trial, iteration=failures.furthest, cause=cause)
            self._guarded(lambda: self._recorder.add(died))

    def record_stop(self) -> None:
        """Record a stop as soon as it is requested: the driver may be killed before its jobs have saved."""
        if self.stopping:
            record_interruption(self._recorder)

    def retries_left(self, trial_id: str) -> int:
        """Return how many more times a job may die without progress."""
        return self._rules.retries - self._failures_of(trial_id).count

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal and Optuna's database hold everything."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see `save`."""

    def __getstate__(self) -> dict[str, object]:
        """Return nothing to pickle: Tune saves its searcher, but the study is never restored from it."""
        return {}

    def _failures_of(self, trial_id: str) -> FailureCount:
        return self._failures.setdefault(trial_id, FailureCount())

    def _acquire_lane(self, trial_id: str) -> int:
        """Return the lane of the worker that ended a job most recently: Tune may still have it."""
        self._lanes[trial_id] = self._free_lanes.pop() if self._free_lanes else len(self._lanes)
        return self._lanes[trial_id]

    def _release_lane(self, trial_id: str) -> None:
        if trial_id in self._lanes:
            self._free_lanes.append(self._lanes.pop(trial_id))

    def _guarded(self, write: Callable[[], object]) -> None:
        """Call a function; halt the study if the journal cannot be written, or too many jobs failed."""
        try:
            write()
        except (StorageError, TooManyFailures) as error:
            self.halted = str(error)

    def _dispatch(self, running: _Running, message: Message) -> None:
        job = running.job
        match message:
            case Entered():
                running.entered, running.entered_at = message, time.monotonic()
                self.progress[job.name] = (0, _iterations(job))
            case Advanced() if message.name == job.name:
                self.progress[job.name] = (message.iteration, message.iterations)
                self._failures_of(running.trial_id).reach(message.iteration)
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
            self._failures_of(running.trial_id).reach(event.point.iteration)
            self._compare(running, event)

    def _compare(self, running: _Running, event: PointEvaluated) -> None:
        """Prune a trial that is not among the best at a rung; its next message stops its worker.

        Tune keeps the worker only if it has requested the next job by then, which it does between two messages.
        """
        decision = self._rules.compare(event)
        if decision is not None:
            self._recorder.add(decision)
            if not decision.go_on:
                self._end_trial(running, JobEnded("COMPLETE", decision.reason), pruned=True)
                self._rules.streak.reset()
                running.pruned = True

    def _end(self, running: _Running, ended: JobEnded) -> None:
        job = running.job
        if ended.state == "STOPPED":
            self._finish(running)
            self._queue.put_back(job.name)
            return
        if job.kind == "trial":
            self._end_trial(running, ended)
        else:
            self._finish(running)
            self._queue.end(job.name, ended.cause, retry=ended.retry)
            self._end_upstream(job, ended)
        if ended.state == "FAILED" and (ended.traceback is not None or ended.retry):
            self._rules.streak.add(str(ended.cause))
        else:
            self._rules.streak.reset()

    def _finish(self, running: _Running) -> None:
        running.ended = True
        # Before the worker reports `WorkerDone`, Tune requests the next job; with the same lane, it keeps the worker.
        self._release_lane(running.trial_id)
        self.progress.pop(running.job.name, None)

    def _end_upstream(self, job: Job, ended: JobEnded) -> None:
        """Record the end of a job other than a trial; halt the study if the baseline cannot be evaluated."""
        if job.kind == "interpolation":
            assert job.pair is not None
            first, second = job.pair.first.point, job.pair.second.point
            state: Literal["COMPLETE", "FAILED"] = "COMPLETE" if ended.state == "COMPLETE" else "FAILED"
            self._recorder.add(PairEnded(first=first, second=second, state=state, cause=ended.cause, retry=ended.retry))
        elif ended.state == "COMPLETE":
            return  # its worker has sent its events
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

    def _end_trial(self, running: _Running, job_ended: JobEnded, *, pruned: bool = False) -> None:
        job, entered = running.job, running.entered
        state, cause = "PRUNED" if pruned else job_ended.state, job_ended.cause
        assert job.trial is not None
        self._finish(running)
        self._queue.end(job.name, cause)
        if state == "COMPLETE" and self._recorder.record.last_metrics(job.trial) is None:
            state, cause = "FAILED", "its last point has a metric that is not finite"
        ended = TrialEnded(
            trial=job.trial,
            state=state,  # type: ignore[arg-type]  # validated
            cause=cause,
            traceback=job_ended.traceback,
            retry=job_ended.retry,
            overhead_seconds=None if entered is None else max(0.0, entered.at - job.ready_at),
            seconds=None if entered is None else time.monotonic() - running.entered_at,
            warm=entered is not None and entered.warm,
            waited=job.waited,
        )
        self._recorder.add(ended)
        self._rules.on_trial_ended(ended)


def _iterations(job: Job) -> int:
    """Return the number of a job's training iterations, or of the image sets that it evaluates."""
    if job.kind == "baseline":
        return 1
    if job.pair is not None:
        return len(job.pair.spaces) * len(job.pair.shares)
    assert job.stage is not None
    return STAGES[job.stage].iterations(job.config)
