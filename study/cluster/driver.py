"""Runs a study: connects Ray, keeps the records, shows progress, stops so that it can be continued."""

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import ray
from ray import tune
from rich.console import Console

from study.cluster.connection import connected
from study.cluster.interpolation_jobs import InterpolationJobs
from study.cluster.jobs import Job, JobQueue, Leases, NoLeases
from study.cluster.leases import ClusterLeases
from study.cluster.notice import StopNotices
from study.cluster.preflight import check_nodes
from study.cluster.progress import ProgressView, Snapshot
from study.cluster.scheduler import StudyScheduler
from study.cluster.searcher import StudySearcher, seconds_left
from study.cluster.signals import Stop
from study.cluster.worker import Worker
from study.config import INITIAL_WEIGHTS, ConfigError, RunConfig, Stage, get, to_dict
from study.data.remote import is_uri
from study.files import StorageError, is_disk_full
from study.record.journal import Journal
from study.record.metadata import Facts, identity_of, objectives_of, sole_driver, write_facts
from study.record.state import Records
from study.search.asha import Decision, MultiObjectiveASHA
from study.search.pareto_archive import Goals, ParetoArchive
from study.search.plan import SearchPlan
from study.search.repetition import RepeatedRun, load_repetition
from study.search.spaces import SearchSpace
from study.search.stopping import Limits
from study.search.trials import Asked, TrialSource
from study.search.warm_start import WarmStart, check_comparable, load_warm_start
from study.tracking.exporter import Exporter
from study.tracking.publishing import Report, publish, record_front
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.evaluation import baseline_name, evaluation_spacing, spacing_note
from study.training.stages.graph import STAGES, artifact_key

MOST_STARTING = 64  # workers at the same time


@dataclass(frozen=True)
class Study:
    """A study to run: what, where, how much, on what.

    Attributes:
        space, base: what varies around which run.
        output: the study's directory.
        trials: how many to draw in all.
        seed: of the sampler.
        context_spec: images, artifacts, networks.
        address: Ray's, `local` to start one here.
        cpus_per_trial, gpus_per_trial: what each worker of a job occupies.
        workers, pretrain_workers: how many processes do a trial, and an upstream stage, together.
        mlflow_uri: where the runs are recorded.
        notes: what every reader has to know.
        retries: how often a job is started anew that got no further since its process died last.
        search: sampler, early stopping, constraints, limits, interpolations.
    """

    space: SearchSpace
    base: RunConfig
    output: Path
    trials: int
    seed: int
    context_spec: ContextSpec
    address: str
    cpus_per_trial: int
    gpus_per_trial: float
    mlflow_uri: str
    notes: tuple[str, ...]
    workers: int = 1
    pretrain_workers: int = 1
    retries: int = 3
    search: SearchPlan = field(default_factory=SearchPlan)

    @property
    def limits(self) -> Limits:
        """What ends it."""
        return Limits(self.trials, self.search.device_hours, self.search.plateau)

    def workers_of(self, stage: Stage) -> int:
        """How many processes do a job of a stage; critics learn from one image, which cannot be shared out."""
        workers = {None: 1, "--workers": self.workers, "--pretrain-workers": self.pretrain_workers}
        return workers[STAGES[stage].workers_option]

    @property
    def most_workers(self) -> int:
        """Of the largest job."""
        return max(self.workers, self.pretrain_workers)


@dataclass(frozen=True)
class Outcome:
    """How a run of the driver ended: COMPLETE, INTERRUPTED by the user, or HALTED by a cause that hits every trial.

    `unsent` events wait for MLflow; `warnings` say what could not be published of a complete study.
    """

    state: Literal["COMPLETE", "INTERRUPTED", "HALTED"]
    cause: str | None
    records: Records
    unsent: int
    warnings: tuple[str, ...] = ()


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
        context: the opened context; its images have been found good.
        console: for progress.
        worker: does the jobs; benchmarks have one that trains nothing.
        report: makes the report of a complete study; its files go to MLflow as well.

    Raises:
        OccupiedError: the directory holds another study, or one that is being run.
        ConnectionError: Ray cannot be reached.
    """
    with sole_driver(study.output):
        goals = goals_of(study, context)
        earlier = earlier_study(study, context)
        write_facts(study.output, _facts(study, context), context)
        records = Records(Journal(study.output / "journal.jsonl"))
        records.study("RUNNING")
        exporter = Exporter(study.output, study.mlflow_uri)
        exporter.start()
        warnings: list[str] = []
        try:
            state, cause = _run(study, context, records, goals, earlier, console, worker)
            with contextlib.suppress(StorageError) if state == "HALTED" else contextlib.nullcontext():
                records.study("COMPLETE" if state == "COMPLETE" else "INTERRUPTED")
            if state == "COMPLETE":
                warnings = publish(study.output, records, goals, context.artifacts, report)
        finally:
            unsent = exporter.close()
    return Outcome(state, cause, records, unsent, tuple(warnings))


def goals_of(study: Study, context: RunContext) -> Goals:
    """What the study's front is of.

    Raises:
        SpaceError: the space has no reference for an objective.
    """
    objectives = objectives_of(context)
    return Goals(objectives, study.space.reference_for(objectives), study.search.constraints)


def check_search(study: Study, context: RunContext) -> None:
    """Find out before anything is started whether a study can be searched as it is to be.

    Raises:
        ValueError: rungs beyond the budget, or limits that mean nothing.
        SpaceError: the space has no reference for an objective.
        WarmStartError: the earlier study cannot be used.
    """
    study.limits.reached(0, 0.0, [])
    halving_of(study, context, goals_of(study, context))
    earlier_study(study, context)


def earlier_study(study: Study, context: RunContext) -> WarmStart | None:
    """What `--warm-start` names, for a new study; WarmStartError if it cannot be used."""
    plan = study.search
    if plan.warm_start is None or (study.output / "optuna.db").exists():
        return None
    earlier = load_warm_start(plan.warm_start, study.space, study.base, learn=plan.learn)
    if plan.learn:
        check_comparable(plan.warm_start, identity_of(_facts(study, context), context))
    return earlier


def repeated_runs(study: Study) -> tuple[RepeatedRun, ...]:
    """What `--repeat` asks for; WarmStartError if it cannot be had."""
    plan = study.search
    return () if plan.repeat is None else load_repetition(plan.repeat, study.space, study.base)


def halving_of(study: Study, context: RunContext, goals: Goals) -> MultiObjectiveASHA | None:
    """The rule that stops trials early; None to stop none.

    Raises:
        ValueError: the rungs do not fit the budget.
    """
    rungs, base = study.search.rungs, study.base
    if rungs is None:
        return None
    return MultiObjectiveASHA(
        rungs.of(base.budget.iterations, evaluation_spacing(base, context.val)),
        rungs.reduction_factor,
        list(goals.directions.values()),
        list(goals.reference.values()),
        rungs.tie_break,
        study.seed,
    )


def _facts(study: Study, context: RunContext) -> Facts:
    return Facts(
        name=study.output.resolve().name,
        space=study.space.name,
        space_fingerprint=study.space.fingerprint,
        base=study.base,
        trials=study.trials,
        seed=study.seed,
        reference=study.space.reference_for(objectives_of(context)),
        groups=study.space.groups,
        notes=(*study.notes, *spacing_note(study.base, context.val)),
        search=study.search,
    )


def _run(
    study: Study,
    context: RunContext,
    records: Records,
    goals: Goals,
    earlier: WarmStart | None,
    console: Console,
    worker: type[Worker],
) -> tuple[Literal["COMPLETE", "INTERRUPTED", "HALTED"], str | None]:
    source = TrialSource(
        study.output / "optuna.db",
        study.output.name,
        list(goals.directions.values()),
        study.space,
        study.base,
        seed=study.seed,
        sampler=study.search.sampler,
        trials=study.trials,
        warm_start=earlier,
        repeated=repeated_runs(study),
        metrics=list(goals.directions),
    )
    compare = _comparison(study, context, records, goals)
    _finish_telling(source, records, goals)
    front = ParetoArchive(records, goals)
    queue = _queue(study, context, source, records, front)
    _finish_recording(source, records)
    if queue.exhausted:
        return "COMPLETE", None  # it was complete already: only the report is made anew
    # Without the dashboard, Ray Train never gets back what a group held that was stopped from outside.
    with connected(study.address, dashboard=study.most_workers > 1):
        check_room(study)
        if study.address != "local":
            check_nodes(*_paths(study))
        queue.leases = _leases(study, context)
        searcher = _searcher(study, queue, source, records, goals, front, compare)
        with ProgressView(console) as view:
            watch = _Watch(view, searcher, queue, records, study, goals, front)
            try:
                interrupted = _fit(study, searcher, watch, console, worker)
            finally:
                queue.leases.close()
            view.show(watch.snapshot())
    if searcher.halted is not None:
        return "HALTED", searcher.halted
    if interrupted or _is_left(queue, records):
        return "INTERRUPTED", None
    _tidy(study, records)
    return "COMPLETE", None


def _is_left(queue: JobQueue, records: Records) -> bool:
    return not queue.exhausted or records.count("RUNNING") > 0


def _tidy(study: Study, records: Records) -> None:
    """Remove what nobody will go on from: Tune's scratch (all that counts is in the journal), pruned checkpoints."""
    shutil.rmtree(study.output / "tune", ignore_errors=True)
    for number, state in records.states.items():
        if state == "PRUNED":
            (study.output / "trials" / f"{number:04d}" / "checkpoint.pt").unlink(missing_ok=True)


def _comparison(
    study: Study, context: RunContext, records: Records, goals: Goals
) -> Callable[[int, int, dict[str, float]], Decision | None]:
    """The rule of early stopping, brought to where the journal is; what it has stopped is recorded as PRUNED."""
    halving = halving_of(study, context, goals)
    if halving is None:
        return lambda trial, iteration, metrics: None

    def compare(trial: int, iteration: int, metrics: Mapping[str, float]) -> Decision | None:
        return halving.take(trial, iteration, goals.values(metrics), goals.violation(metrics))

    for (trial, iteration), metrics in records.points.items():
        decision = compare(trial, iteration, metrics)
        if decision is not None and not decision.go_on:
            records.end(trial, "PRUNED", cause=decision.reason)  # if the driver died before it could
    return compare


def _enough(study: Study, source: TrialSource, records: Records) -> Callable[[], str | None]:
    """Says why no more trials are to be drawn; once said, it stays, also for a study that is continued."""
    limits = study.limits
    stated = json.loads(json.dumps(asdict(limits)))

    def enough() -> str | None:
        if records.enough is not None and records.enough["limits"] == stated:
            return str(records.enough["cause"])
        cause = limits.reached(source.count, records.device_seconds, records.hypervolumes)
        if cause is not None:
            records.no_more(stated, cause)
        return cause

    return enough


def _queue(study: Study, context: RunContext, source: TrialSource, records: Records, front: ParetoArchive) -> JobQueue:
    def key_of(config: RunConfig, stage: Stage) -> str:
        return artifact_key(config, stage, context.train)

    def on_trial(asked: Asked, upstream: dict[str, str]) -> None:
        records.trial(asked.number, to_dict(asked.config), asked.params, upstream)

    def on_failed(number: int, cause: str, params: dict[str, Any]) -> None:
        records.trial(number, {}, params, {})
        records.end(number, "FAILED", cause=cause)
        source.tell(number, "FAILED", cause=cause)

    interpolation_jobs = InterpolationJobs(records, front, study.search.interpolations, study.search.interpolate_points)
    there = {key for key, event in records.artifacts.items() if event["state"] == "COMPLETE"}
    return JobQueue(
        source=source,
        total=study.trials,
        key_of=key_of,
        on_trial=on_trial,
        on_failed=on_failed,
        clock=time.time,
        workers_of=study.workers_of,
        finished_artifacts={key for key in there if context.artifacts.has(key)},
        enough=_enough(study, source, records),
        follow_ups=interpolation_jobs.jobs if study.search.interpolations else None,
        baseline=_baseline_job(study, records),
    )


def _baseline_job(study: Study, records: Records) -> Job | None:
    """The job that evaluates the baseline; None where that was done before."""
    name = baseline_name(study.base.data)
    if name in records.references:
        return None
    return Job(name, "baseline", "adversarial", study.base, ready_at=time.time())


def _paths(study: Study) -> tuple[dict[str, Path], dict[str, Path]]:
    """What workers on every node read, and where they write, by the option that names it."""
    context_spec = study.context_spec
    sources = {"--data": context_spec.data.train, "--val": context_spec.data.val}
    reads = {option: Path(place) for option, place in sources.items() if place and Path(place).is_absolute()}
    files = [path for path in (*context_spec.backbones.values(), context_spec.lpips_weights) if path is not None]
    reads |= {f"--weights ({path.name})": path for path in files}
    reads |= {path: Path(str(get(study.base, path))) for path in INITIAL_WEIGHTS if get(study.base, path) is not None}
    writes = {"--output": study.output.resolve()}
    return reads, writes if is_uri(context_spec.artifacts) else writes | {"--artifacts": Path(context_spec.artifacts)}


def _leases(study: Study, context: RunContext) -> Leases:
    """A Ray of our own has no other study on it."""
    if study.address == "local":
        return NoLeases()
    name = f"study {study.output.name} (in {study.output.resolve()}, on {socket.gethostname()}, pid {os.getpid()})"
    return ClusterLeases(str(context.artifacts), name)


def _searcher(
    study: Study,
    queue: JobQueue,
    source: TrialSource,
    records: Records,
    goals: Goals,
    front: ParetoArchive,
    compare: Callable[[int, int, dict[str, float]], Decision | None],
) -> StudySearcher:
    def tell(number: int, state: str, metrics: dict[str, float] | None, cause: str | None) -> None:
        _tell(source, goals, number, state, metrics, cause)
        record_front(records, front)

    common = {
        "context_spec": study.context_spec.to_dict(),
        "run_dir": str(study.output.resolve()),
        "threads": study.cpus_per_trial,
        "gpus": study.gpus_per_trial,
    }
    return StudySearcher(
        queue,
        records,
        tell,
        slots=lambda: slots_of(study),
        common=common,
        reference_scale=study.base.data.scale,
        retries=study.retries,
        compare=compare,
    )


def _tell(
    source: TrialSource, goals: Goals, number: int, state: str, metrics: Mapping[str, float] | None, cause: str | None
) -> None:
    values = None if metrics is None else goals.values(metrics)
    violations = {str(constraint): constraint.violation(metrics or {}) for constraint in goals.constraints}
    source.tell(number, state, values, cause, violations)  # type: ignore[arg-type]


def _finish_telling(source: TrialSource, records: Records, goals: Goals) -> None:
    """Tell Optuna of the trials that ended when the driver could no longer: the journal is written first."""
    for number, state in records.states.items():
        if state != "RUNNING":
            _tell(source, goals, number, state, records.last_metrics(number), records.causes.get(number))


def _finish_recording(source: TrialSource, records: Records) -> None:
    """Record the draws that were no valid runs when the driver could no longer: Optuna is told of those first."""
    for number, params, cause in source.failed():
        if number not in records.states:
            records.trial(number, {}, params, {})
            records.end(number, "FAILED", cause=cause)


def _fit(study: Study, searcher: StudySearcher, watch: "_Watch", console: Console, worker: type[Worker]) -> bool:
    """Let Tune run until the searcher is through; True if a signal ended it before."""
    stop = Stop(searcher, StopNotices(study.output), console)
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
            name="tune",
            storage_path=str(study.output.resolve()),
            callbacks=[watch],
            stop=_StopAll(stop),
            failure_config=tune.FailureConfig(max_failures=study.retries),
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

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._stop.at_once

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's


class _Watch(tune.Callback):
    """Refreshes the live view as Tune's loop turns."""

    def __init__(
        self,
        view: ProgressView,
        searcher: StudySearcher,
        queue: JobQueue,
        records: Records,
        study: Study,
        goals: Goals,
        front: ParetoArchive,
    ) -> None:
        self._view, self._searcher, self._queue = view, searcher, queue
        self._records, self._study, self._goals, self._front = records, study, goals, front

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._view.due:
            self._view.show(self.snapshot())

    def snapshot(self) -> Snapshot:
        records, progress, limits = self._records, self._searcher.progress, self._study.limits
        jobs = self._queue.running
        evaluation = {job.name for job in jobs if job.kind in ("interpolation", "baseline")}
        training = {name: done for name, done in progress.items() if name not in evaluation}
        running = sum(job.kind == "trial" for job in jobs)
        waiting = records.count("RUNNING") - running
        drawn = len(records.states)
        more = (
            0
            if self._queue.all_drawn
            else limits.still_to_draw(drawn, drawn - records.count("RUNNING"), records.device_seconds)
        )
        return Snapshot(
            total=self._study.trials,
            counts={state: records.count(state) for state in ("COMPLETE", "PRUNED", "FAILED")}
            | {"RUNNING": running, "WAITING": waiting},
            jobs=[(name, *done) for name, done in progress.items()],
            seconds_left=seconds_left(training, records.durations, waiting + more, slots_of(self._study)),
            front=[(member.label, member.values) for member in self._front.members],
            objectives=list(self._goals.directions),
            hypervolume=self._front.hypervolume,
            elsewhere=self._queue.elsewhere,
            limits=limits.standing(records.device_seconds, records.hypervolumes),
        )


def slots_of(study: Study) -> int:
    """How many workers the connected cluster has room for at once."""
    resources = ray.cluster_resources()
    slots = int(resources.get("CPU", 0) // study.cpus_per_trial)
    if study.gpus_per_trial > 0:
        slots = min(slots, int(resources.get("GPU", 0) / study.gpus_per_trial + 1e-9))
    return slots


def check_room(study: Study) -> None:
    """Refuse workers that the cluster can never place; ConfigError."""
    if slots_of(study) >= study.most_workers:
        return
    workers, there = study.most_workers, ray.cluster_resources()
    raise ConfigError(
        f"a job needs {workers * study.cpus_per_trial} CPUs and {workers * study.gpus_per_trial:g} GPUs"
        f"{f' for its {workers} workers' if workers > 1 else ''}, but the cluster has "
        f"{there.get('CPU', 0):g} and {there.get('GPU', 0):g}; "
        f"lower {'--workers, --pretrain-workers, ' if workers > 1 else ''}--cpus-per-trial or --gpus-per-trial"
    )
