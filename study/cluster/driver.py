"""Run a study: connect to Ray, record events, show progress, and stop so that the study can be continued."""

import os
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Literal

from rich.console import Console

from study.cluster.failures import FailureStreak
from study.cluster.jobs import Job, JobQueue, Leases, NoLeases, QueueRules, interpolation_jobs
from study.cluster.leases import ClusterLeases
from study.cluster.monitor import Monitor
from study.cluster.opening import open_study, tell
from study.cluster.preflight import ready_cluster, slots_of
from study.cluster.progress import ProgressView
from study.cluster.scheduler import run_tuner
from study.cluster.searcher import SearcherRules, StudySearcher
from study.cluster.study import Study
from study.cluster.worker import Worker
from study.config import RunConfig, Stage, to_dict
from study.record.directory import sole_driver
from study.record.events import (
    PointEvaluated,
    RungDecided,
    SearchEnded,
    StudyStateChanged,
    TrialEnded,
    TrialStarted,
)
from study.record.goals import Goals, bounded_values
from study.record.state import Recorder, StudyRecord
from study.search.interpolation import InterpolationPlan
from study.search.pareto_archive import ParetoArchive, record_front
from study.search.trials import Asked, TrialSource, UnusableTrial
from study.tracking.publishing import Report, publish
from study.tracking.session import Session
from study.training.checkpoints import remove_checkpoints
from study.training.context import RunContext
from study.training.evaluation import baseline_name
from study.training.stages.graph import artifact_key

End = Literal["COMPLETE", "INTERRUPTED", "HALTED"]


@dataclass(frozen=True)
class Outcome:
    """Result of a run of the driver.

    Attributes:
        state: COMPLETE, INTERRUPTED by the user, or HALTED by a cause that is not specific to one trial.
        cause: why it halted.
        record: the study.
        unsent: number of events that were not sent to MLflow.
        warnings: failures to publish a complete study.
    """

    state: End
    cause: str | None
    record: StudyRecord
    unsent: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Run:
    """State of a running study."""

    study: Study
    context: RunContext
    recorder: Recorder
    goals: Goals
    archive: ParetoArchive
    source: TrialSource
    streak: FailureStreak = field(default_factory=FailureStreak)

    @property
    def record(self) -> StudyRecord:
        return self.recorder.record


def run_study(
    study: Study,
    context: RunContext,
    console: Console,
    worker: type[Worker] = Worker,
    report: Report | None = None,
) -> Outcome:
    """Run, or continue, a study to its end.

    Args:
        study: its description.
        context: opened, with checked images.
        console: for progress.
        worker: runs the jobs; benchmarks use one that trains nothing.
        report: writes the report of a complete study; its files are also sent to MLflow.

    Raises:
        OccupiedError: the directory holds another study, or another driver uses it.
        ConnectionError: Ray cannot be reached.
    """
    study = replace(study, context_spec=study.context_spec.pinned(context))
    with sole_driver(study.output), ExitStack() as cluster:
        is_new = not study.run_dir.study.exists()
        if is_new:  # nothing is written before the checks: the corrected command may use the directory
            cluster.enter_context(ready_cluster(study))
        goals = study.goals(context)
        recorder, source = open_study(study, context, goals, console)
        warnings: list[str] = []
        with Session(study.output, recorder, study.mlflow_uri) as session:
            run = _Run(study, context, recorder, goals, ParetoArchive(recorder.record, goals), source)
            state, cause = _run(run, console, worker, cluster if is_new else ready_cluster(study))
            if state == "COMPLETE":
                recorder.add(StudyStateChanged(state="COMPLETE"))
                warnings = publish(study.output, recorder, goals, context.artifacts, report)
    return Outcome(state, cause, recorder.record, session.unsent, tuple(warnings))


def _run(
    run: _Run, console: Console, worker: type[Worker], cluster: AbstractContextManager[object]
) -> tuple[End, str | None]:
    """Run the jobs that are left, if there are any, connected by `cluster`."""
    study, record = run.study, run.record
    compare = _comparison(run)
    queue = _queue(run)
    _record_unusable_trials(run)
    if queue.exhausted:
        return "COMPLETE", None  # it was complete before: only the report is written again
    with cluster:
        queue.leases = _leases(run)
        searcher = StudySearcher(queue, run.recorder, _searcher_rules(run, compare))
        with ProgressView(console) as view:
            monitor = Monitor(view, searcher, queue, study, record, run.archive)
            try:
                interrupted = run_tuner(study, searcher, monitor, console, worker)
            finally:
                queue.leases.close()
            view.show(monitor.snapshot())
    if searcher.halted is not None:
        return "HALTED", searcher.halted
    if interrupted or _is_incomplete(queue, record):
        return "INTERRUPTED", None
    _remove_scratch(study, record)
    return "COMPLETE", None


def _is_incomplete(queue: JobQueue, record: StudyRecord) -> bool:
    return not queue.exhausted or record.count("RUNNING") > 0


def _remove_scratch(study: Study, record: StudyRecord) -> None:
    """Remove Tune's temporary files and the checkpoints of pruned trials."""
    shutil.rmtree(study.run_dir.tune, ignore_errors=True)
    for number, end in record.ends.items():
        if end.state == "PRUNED":
            remove_checkpoints(study.run_dir.trial(number).checkpoint)


def _comparison(run: _Run) -> Callable[[PointEvaluated], RungDecided | None]:
    """Return the early stopping rule, updated from the journal; trials that it stopped are recorded as PRUNED."""
    asha = run.study.asha(run.context)
    if asha is None:
        return lambda event: None

    def compare(event: PointEvaluated) -> RungDecided | None:
        values, bounded = run.goals.values(event.metrics), bounded_values(event.metrics, event.spent)
        return asha.on_result(event.point.trial, event.point.iteration, values, run.goals.violation(bounded))

    for event in list(run.record.points.values()):
        decision = compare(event)
        if decision is not None and not decision.go_on:  # an earlier driver died before it recorded the end
            run.recorder.add(TrialEnded(trial=decision.trial, state="PRUNED", cause=decision.reason))
    return compare


def _searcher_rules(run: _Run, compare: Callable[[PointEvaluated], RungDecided | None]) -> SearcherRules:
    def on_trial_ended(ended: TrialEnded) -> None:
        tell(run.source, run.record, run.goals, ended)
        record_front(run.recorder, run.archive)

    return SearcherRules(
        request_of=run.study.request_for,
        slots=lambda: slots_of(run.study.resources),
        on_trial_ended=on_trial_ended,
        reference_scale=run.study.base.data.scale,
        compare=compare,
        retries=run.study.resources.retries,
        streak=run.streak,
    )


def _record_unusable_trials(run: _Run) -> None:
    """Record draws that were no valid runs: a driver may have died after it told Optuna."""
    for error in run.source.failed():
        if error.number not in run.record.ends:
            _record_failure(run, error, str(error))


def _on_failed(run: _Run, trial: Asked | UnusableTrial, cause: str, retry: bool) -> None:
    """Record a trial that cannot run; TooManyFailures if that halts the study."""
    _record_failure(run, trial, cause, retry=retry)
    if isinstance(trial, Asked):  # its artifact failed
        run.streak.add(cause)


def _record_failure(run: _Run, trial: Asked | UnusableTrial, cause: str, *, retry: bool = False) -> None:
    """Record a trial that cannot run."""
    started = TrialStarted(
        trial=trial.number, config={}, params=trial.params, distributions=trial.distributions, upstream={}
    )
    run.recorder.add(started)
    run.recorder.add(TrialEnded(trial=trial.number, state="FAILED", cause=cause, retry=retry))
    if not retry:
        run.source.tell(trial.number, "FAILED", cause=cause)


def _queue(run: _Run) -> JobQueue:
    study, context = run.study, run.context

    def key_of(config: RunConfig, stage: Stage) -> str:
        return artifact_key(config, stage, context.train)

    def on_trial(asked: Asked, upstream: dict[Stage, str]) -> None:
        run.recorder.add(
            TrialStarted(
                trial=asked.number,
                config=to_dict(asked.config),
                params=asked.params,
                distributions=asked.distributions,
                upstream=upstream,
            )
        )

    search = study.search
    plan = InterpolationPlan(run.record, run.archive, search.interpolations, search.interpolate_points)
    finished = {key for key, ended in run.record.last_artifacts.items() if ended.state == "COMPLETE"}
    return JobQueue(
        source=run.source,
        rules=QueueRules(
            study.trials,
            key_of,
            time.time,
            on_trial=on_trial,
            on_failed=lambda trial, cause, retry: _on_failed(run, trial, cause, retry),
            workers_of=study.resources.workers_of,
            end_of_search=_end_of_search(run),
        ),
        finished_artifacts={key for key in finished if context.artifacts.has(key)},
        follow_ups=(lambda last: interpolation_jobs(plan, last)) if search.interpolations else None,
        baseline=_baseline_job(study, run.record),
    )


def _end_of_search(run: _Run) -> Callable[[], str | None]:
    """Return a function of why the search has ended, or None; a recorded end persists when the study is continued."""
    limits, record = run.study.limits, run.record

    def end_of_search() -> str | None:
        if record.search_ended is not None and record.search_ended.limits == limits.recorded:
            return record.search_ended.cause
        cause = limits.reached(run.source.count, record.device_seconds, record.hypervolumes)
        if cause is not None:
            run.recorder.add(SearchEnded(limits=limits.recorded, cause=cause))
        return cause

    return end_of_search


def _baseline_job(study: Study, record: StudyRecord) -> Job | None:
    """Return the job that evaluates the baseline; None if it was evaluated before."""
    name = baseline_name(study.base.data)
    return None if name in record.references else Job(name, "baseline", None, study.base, ready_at=time.time())


def _leases(run: _Run) -> Leases:
    """Return the cluster's leases; no other study shares a Ray that this one started."""
    output = run.study.output
    if run.study.resources.address == "local":
        return NoLeases()
    name = f"study {output.name} (in {output.resolve()}, on {socket.gethostname()}, pid {os.getpid()})"
    return ClusterLeases(str(run.context.artifacts), name)
