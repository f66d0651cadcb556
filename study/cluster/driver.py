"""Runs a study: connects Ray, records what happens, shows progress, stops so that the study can be continued."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ray import tune
from rich.console import Console

from study.cluster.connection import connected
from study.cluster.interpolation_jobs import interpolation_jobs
from study.cluster.jobs import Job, JobQueue, Leases, NoLeases, QueueRules
from study.cluster.leases import ClusterLeases
from study.cluster.monitor import Monitor
from study.cluster.preflight import check_nodes, check_room, slots_of
from study.cluster.progress import ProgressView
from study.cluster.scheduler import StudyScheduler
from study.cluster.searcher import SearcherRules, StudySearcher
from study.cluster.signals import Stop, StopRequests
from study.cluster.study import Study
from study.cluster.worker import Worker
from study.config import INITIAL_WEIGHTS, RunConfig, Stage, get, to_dict
from study.data.remote import is_uri
from study.files import StorageError, is_disk_full
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
from study.record.journal import Journal
from study.record.metadata import write_metadata
from study.record.state import Recorder, StudyRecord
from study.search.description import describe, write_custom_losses
from study.search.interpolation import InterpolationPlan
from study.search.pareto_archive import ParetoArchive, record_front
from study.search.repetition import RepeatedRun
from study.search.trials import Asked, TrialSource, UnusableTrial
from study.search.warm_start import WarmStart
from study.tracking.exporter import Exporter
from study.tracking.publishing import Report, publish
from study.training.context import RunContext
from study.training.evaluation import baseline_name
from study.training.stages.graph import artifact_key

MOST_STARTING = 64  # workers at the same time

End = Literal["COMPLETE", "INTERRUPTED", "HALTED"]


@dataclass(frozen=True)
class Outcome:
    """How a run of the driver ended: COMPLETE, INTERRUPTED by the user, or HALTED by a cause that hits every trial.

    Attributes:
        cause: why it halted.
        record: the study.
        unsent: events that wait for MLflow.
        warnings: what could not be published of a complete study.
    """

    state: End
    cause: str | None
    record: StudyRecord
    unsent: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Run:
    """A study while it runs."""

    study: Study
    context: RunContext
    recorder: Recorder
    goals: Goals
    archive: ParetoArchive
    source: TrialSource

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
        study: all about it.
        context: opened; its images have been checked.
        console: for progress.
        worker: does the jobs; benchmarks have one that trains nothing.
        report: makes the report of a complete study; its files go to MLflow as well.

    Raises:
        OccupiedError: the directory holds another study, or one that is being run.
        ConnectionError: Ray cannot be reached.
    """
    with sole_driver(study.output):
        goals, earlier, repeated = study.goals(context), study.earlier(context), study.repeated()
        write_metadata(study.output, describe(study.description(context), context))
        write_custom_losses(study.output, context)
        recorder, source = Recorder(Journal(study.run_dir.journal)), _trial_source(study, goals, earlier, repeated)
        recorder.add(StudyStateChanged(state="RUNNING"))
        run = _Run(study, context, recorder, goals, ParetoArchive(recorder.record, goals), source)
        exporter = Exporter(study.output, study.mlflow_uri)
        exporter.start()
        warnings: list[str] = []
        try:
            state, cause = _run(run, console, worker)
            with contextlib.suppress(StorageError) if state == "HALTED" else contextlib.nullcontext():
                recorder.add(StudyStateChanged(state="COMPLETE" if state == "COMPLETE" else "INTERRUPTED"))
            if state == "COMPLETE":
                warnings = publish(study.output, recorder, goals, context.artifacts, report)
        finally:
            unsent = exporter.close()
    return Outcome(state, cause, recorder.record, unsent, tuple(warnings))


def _trial_source(
    study: Study, goals: Goals, earlier: WarmStart | None, repeated: Sequence[RepeatedRun]
) -> TrialSource:
    """Open Optuna's study, or create it with what is tried first."""
    return TrialSource(
        study.run_dir.optuna,
        study.output.name,
        list(goals.directions),
        study.space,
        study.base,
        seed=study.seed,
        sampler=study.search.sampler,
        trials=study.trials,
        warm_start=earlier,
        repeated=repeated,
        metrics=list(goals.metrics),
    )


def _run(run: _Run, console: Console, worker: type[Worker]) -> tuple[End, str | None]:
    study, record = run.study, run.record
    compare = _comparison(run)
    _tell_ended_trials(run)
    queue = _queue(run)
    _record_unusable_trials(run)
    if queue.exhausted:
        return "COMPLETE", None  # it was complete already: only the report is made anew
    # Without the dashboard, Ray Train never gets back what a group held that was stopped from outside.
    with connected(study.resources.address, dashboard=study.resources.most_workers > 1):
        check_room(study.resources)
        if study.resources.address != "local":
            check_nodes(*_paths(study))
        queue.leases = _leases(run)
        searcher = StudySearcher(queue, run.recorder, _searcher_rules(run, compare))
        with ProgressView(console) as view:
            monitor = Monitor(view, searcher, queue, study, record, run.archive)
            try:
                interrupted = _fit(study, searcher, monitor, console, worker)
            finally:
                queue.leases.close()
            view.show(monitor.snapshot())
    if searcher.halted is not None:
        return "HALTED", searcher.halted
    if interrupted or _is_left(queue, record):
        return "INTERRUPTED", None
    _remove_scratch(study, record)
    return "COMPLETE", None


def _is_left(queue: JobQueue, record: StudyRecord) -> bool:
    return not queue.exhausted or record.count("RUNNING") > 0


def _remove_scratch(study: Study, record: StudyRecord) -> None:
    """Remove Tune's scratch (the journal has all that counts) and the checkpoints of pruned trials."""
    shutil.rmtree(study.run_dir.tune, ignore_errors=True)
    for number, end in record.ends.items():
        if end.state == "PRUNED":
            study.run_dir.trial(number).checkpoint.unlink(missing_ok=True)


def _comparison(run: _Run) -> Callable[[PointEvaluated], RungDecided | None]:
    """Return the rule of early stopping, brought to where the journal is; what it has stopped is recorded as PRUNED."""
    asha = run.study.asha(run.context)
    if asha is None:
        return lambda event: None

    def compare(event: PointEvaluated) -> RungDecided | None:
        values, bounded = run.goals.values(event.metrics), bounded_values(event.metrics, event.spent)
        return asha.on_result(event.point.trial, event.point.iteration, values, run.goals.violation(bounded))

    for event in list(run.record.points.values()):
        decision = compare(event)
        if decision is not None and not decision.go_on:  # if the driver died before it could
            run.recorder.add(TrialEnded(trial=decision.trial, state="PRUNED", cause=decision.reason))
    return compare


def _searcher_rules(run: _Run, compare: Callable[[PointEvaluated], RungDecided | None]) -> SearcherRules:
    def on_trial_ended(ended: TrialEnded) -> None:
        _tell(run, ended)
        record_front(run.recorder, run.archive)

    return SearcherRules(
        request_of=run.study.request_for,
        slots=lambda: slots_of(run.study.resources),
        on_trial_ended=on_trial_ended,
        reference_scale=run.study.base.data.scale,
        compare=compare,
        retries=run.study.resources.retries,
    )


def _tell(run: _Run, ended: TrialEnded) -> None:
    """Tell Optuna how a trial ended."""
    metrics = run.record.last_metrics(ended.trial)
    values = None if metrics is None else run.goals.values(metrics)
    violations = {str(each): each.violation(metrics or {}) for each in run.goals.constraints}
    run.source.tell(ended.trial, ended.state, values, ended.cause, violations)


def _tell_ended_trials(run: _Run) -> None:
    """Tell Optuna of trials that ended when a driver could not any more: the journal is written first."""
    for ended in run.record.ends.values():
        _tell(run, ended)


def _record_unusable_trials(run: _Run) -> None:
    """Record draws that were no valid runs when a driver could not any more: Optuna is told of those first."""
    for error in run.source.failed():
        if error.number not in run.record.trials:
            _record_failure(run, error, str(error))


def _record_failure(run: _Run, trial: Asked | UnusableTrial, cause: str) -> None:
    """Record a trial that cannot run, drawn or not."""
    started = TrialStarted(
        trial=trial.number, config={}, params=trial.params, distributions=trial.distributions, upstream={}
    )
    run.recorder.add(started)
    run.recorder.add(TrialEnded(trial=trial.number, state="FAILED", cause=cause))
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
        rules=QueueRules(study.trials, key_of, time.time, study.resources.workers_of, _end_of_search(run)),
        on_trial=on_trial,
        on_failed=lambda trial, cause: _record_failure(run, trial, cause),
        finished_artifacts={key for key in finished if context.artifacts.has(key)},
        follow_ups=(lambda last: interpolation_jobs(plan, last)) if search.interpolations else None,
        baseline=_baseline_job(study, run.record),
    )


def _end_of_search(run: _Run) -> Callable[[], str | None]:
    """Return what says why no more trials are drawn; once recorded, it stays, also for a study that is continued."""
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
    """Return the job that evaluates the baseline; None where that was done before."""
    name = baseline_name(study.base.data)
    return None if name in record.references else Job(name, "baseline", None, study.base, ready_at=time.time())


def _paths(study: Study) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return what workers on every node read, and where they write, by the option that names it."""
    spec = study.context_spec
    sources = {"--data": spec.data.train, "--val": spec.data.val}
    reads = {option: Path(place) for option, place in sources.items() if place and Path(place).is_absolute()}
    files = [path for path in (*spec.backbones.values(), spec.lpips_weights) if path is not None]
    reads |= {f"--weights ({path.name})": path for path in files}
    reads |= {path: Path(str(get(study.base, path))) for path in INITIAL_WEIGHTS if get(study.base, path) is not None}
    writes = {"--output": study.output.resolve()}
    return reads, writes if is_uri(spec.artifacts) else writes | {"--artifacts": Path(spec.artifacts)}


def _leases(run: _Run) -> Leases:
    """Return the cluster's leases; no other study shares a Ray that this one started."""
    output = run.study.output
    if run.study.resources.address == "local":
        return NoLeases()
    name = f"study {output.name} (in {output.resolve()}, on {socket.gethostname()}, pid {os.getpid()})"
    return ClusterLeases(str(run.context.artifacts), name)


def _fit(study: Study, searcher: StudySearcher, monitor: Monitor, console: Console, worker: type[Worker]) -> bool:
    """Let Tune run until the searcher is through; returns whether a signal ended it before."""
    stop = Stop(searcher, StopRequests(study.output), console)
    tuner = tune.Tuner(
        worker,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=StudyScheduler(searcher),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=study.run_dir.tune.name,
            storage_path=str(study.output.resolve()),
            callbacks=[monitor],
            stop=_StopAll(stop),
            failure_config=tune.FailureConfig(max_failures=study.resources.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    # Tune would wait for each starting worker before it asks for another job.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(MOST_STARTING)
    with stop.on_signals():
        try:
            tuner.fit()
        except KeyboardInterrupt:
            pass
        except Exception as error:
            # Tune writes into the study's directory, too, and on a full disk fails in its own way.
            if searcher.halted is None and not is_disk_full(error):
                raise
            searcher.halted = searcher.halted or str(error)
    return stop.requested


class _StopAll(tune.Stopper):
    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stop.at_once

    def __getstate__(self) -> dict[str, object]:
        return {}  # as the searcher's
