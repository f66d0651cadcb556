"""Runs a study: connects Ray, keeps the records, shows progress, stops so that it can be continued."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from rich.console import Console

from study.cluster.connection import connected
from study.cluster.deaths import cause_of_death
from study.cluster.jobs import JobQueue, Leases, NoLeases
from study.cluster.journal import Journal
from study.cluster.leases import ClusterLeases
from study.cluster.nodes import check_nodes
from study.cluster.notice import StopNotices
from study.cluster.progress import ProgressView, Snapshot
from study.cluster.records import Records
from study.cluster.run_directory import Facts, objectives_of, sole_driver, write_facts
from study.cluster.searcher import StudySearcher, seconds_left
from study.cluster.stop import Stop
from study.cluster.tracking import Tracker
from study.cluster.worker import Worker
from study.config import INITIAL_WEIGHTS, ConfigError, RunConfig, Stage, get, to_dict
from study.data.remote import is_uri
from study.files import StorageError, is_disk_full
from study.search.front import Direction, hypervolume, non_dominated
from study.search.spaces import SearchSpace
from study.search.trials import Asked, TrialSource
from study.training.artifacts import BASELINES, baseline_name, judge_baseline
from study.training.evaluation import spacing_note
from study.training.setting import Setting
from study.training.stages import artifact_key
from study.training.workshop import Workshop

MOST_STARTING = 64  # workers at the same time


@dataclass(frozen=True)
class Study:
    """A study to run: what, where, how much, on what.

    Attributes:
        space, base: what varies around which run.
        output: the study's directory.
        trials: how many to draw in all.
        seed: of the sampler.
        setting: images, artifacts, networks.
        address: Ray's, `local` to start one here.
        cpus_per_trial, gpus_per_trial: what each worker of a job occupies.
        workers, pretrain_workers: how many processes do a trial, and an upstream stage, together.
        mlflow_uri: where the runs are recorded.
        notes: what every reader has to know.
        retries: how often a job is started anew that got no further since its process died last.
    """

    space: SearchSpace
    base: RunConfig
    output: Path
    trials: int
    seed: int
    setting: Setting
    address: str
    cpus_per_trial: int
    gpus_per_trial: float
    mlflow_uri: str
    notes: tuple[str, ...]
    workers: int = 1
    pretrain_workers: int = 1
    retries: int = 3

    def workers_of(self, stage: Stage) -> int:
        """How many processes do a job of a stage; critics learn from one image, which cannot be shared out."""
        if stage == "critics":
            return 1
        return self.workers if stage == "adversarial" else self.pretrain_workers

    @property
    def most_workers(self) -> int:
        """Of the largest job."""
        return max(self.workers, self.pretrain_workers)


@dataclass(frozen=True)
class Outcome:
    """How a run of the driver ended: COMPLETE, INTERRUPTED by the user, or HALTED by a cause that hits every trial."""

    state: Literal["COMPLETE", "INTERRUPTED", "HALTED"]
    cause: str | None
    records: Records
    unsent: int


def run_study(study: Study, workshop: Workshop, console: Console, worker: type[Worker] = Worker) -> Outcome:
    """Run, or continue, a study to its end.

    Args:
        study: all about it.
        workshop: the opened setting; its images have been found good.
        console: for progress.
        worker: does the jobs; benchmarks have one that trains nothing.

    Raises:
        OccupiedError: the directory holds another study, or one that is being run.
        ConnectionError: Ray cannot be reached.
    """
    with sole_driver(study.output):
        objectives = objectives_of(workshop)
        write_facts(study.output, _facts(study, workshop), workshop)
        records = Records(Journal(study.output / "journal.jsonl"))
        records.study("RUNNING")
        tracker = Tracker(study.output, study.mlflow_uri)
        tracker.start()
        try:
            state, cause = _run(study, workshop, records, objectives, console, worker)
            with contextlib.suppress(StorageError) if state == "HALTED" else contextlib.nullcontext():
                records.study("COMPLETE" if state == "COMPLETE" else "INTERRUPTED")
        finally:
            unsent = tracker.close()
    return Outcome(state, cause, records, unsent)


def _facts(study: Study, workshop: Workshop) -> Facts:
    return Facts(
        name=study.output.resolve().name,
        space=study.space.name,
        space_fingerprint=study.space.fingerprint,
        base=study.base,
        trials=study.trials,
        seed=study.seed,
        reference=study.space.reference_for(objectives_of(workshop)),
        groups=study.space.groups,
        notes=(*study.notes, *spacing_note(study.base, workshop.test)),
    )


def _run(
    study: Study,
    workshop: Workshop,
    records: Records,
    objectives: Mapping[str, Direction],
    console: Console,
    worker: type[Worker],
) -> tuple[Literal["COMPLETE", "INTERRUPTED", "HALTED"], str | None]:
    baseline, name = (
        judge_baseline(study.base.data, workshop, study.output / "references"),
        baseline_name(study.base.data),
    )
    records.reference(
        name,
        kind=name,
        metrics=baseline.metrics,
        images=baseline.images,
        samples=f"references/{name}",
    )
    source = TrialSource(
        study.output / "optuna.db",
        study.output.name,
        list(objectives.values()),
        study.space,
        study.base,
        seed=study.seed,
    )
    _finish_telling(source, records, objectives)
    queue = _queue(study, workshop, source, records)
    _finish_recording(source, records)
    if queue.exhausted:
        return "COMPLETE", None  # it was complete already: only the report is made anew
    # Without the dashboard, Ray Train never gets back what a group held that was stopped from outside.
    with connected(study.address, dashboard=study.most_workers > 1):
        check_room(study)
        if study.address != "local":
            check_nodes(*_paths(study))
        queue.leases = _leases(study, workshop)
        searcher = _searcher(study, queue, source, records, objectives)
        with ProgressView(console) as view:
            watch = _Watch(view, searcher, queue, source, records, study, objectives)
            try:
                interrupted = _fit(study, searcher, watch, console, worker)
            finally:
                queue.leases.close()
            view.show(watch.snapshot())
    if searcher.halted is not None:
        return "HALTED", searcher.halted
    if interrupted or records.count("RUNNING") or source.count < study.trials:
        return "INTERRUPTED", None
    shutil.rmtree(study.output / "tune", ignore_errors=True)  # Tune's scratch: all that counts is in the journal
    return "COMPLETE", None


def _queue(study: Study, workshop: Workshop, source: TrialSource, records: Records) -> JobQueue:
    def key_of(config: RunConfig, stage: Stage) -> str:
        return artifact_key(config, stage, workshop.train)

    def on_trial(asked: Asked, upstream: dict[str, str]) -> None:
        records.trial(asked.number, to_dict(asked.config), asked.params, upstream)

    def on_failed(number: int, cause: str, params: dict[str, Any]) -> None:
        records.trial(number, {}, params, {})
        records.end(number, "FAILED", cause=cause)
        source.tell(number, "FAILED", cause=cause)

    there = {key for key, event in records.artifacts.items() if event["state"] == "COMPLETE"}
    return JobQueue(
        source=source,
        total=study.trials,
        key_of=key_of,
        on_trial=on_trial,
        on_failed=on_failed,
        clock=time.time,
        workers_of=study.workers_of,
        finished_artifacts={key for key in there if workshop.artifacts.has(key)},
    )


def _paths(study: Study) -> tuple[dict[str, Path], dict[str, Path]]:
    """What workers on every node read, and where they write, by the option that names it."""
    setting = study.setting
    sources = {"--data": setting.data.train, "--test": setting.data.test}
    reads = {option: Path(place) for option, place in sources.items() if place and Path(place).is_absolute()}
    files = [path for path in (*setting.backbones.values(), setting.judge) if path is not None]
    reads |= {f"--weights ({path.name})": path for path in files}
    reads |= {path: Path(str(get(study.base, path))) for path in INITIAL_WEIGHTS if get(study.base, path) is not None}
    writes = {"--output": study.output.resolve()}
    return reads, writes if is_uri(setting.artifacts) else writes | {"--artifacts": Path(setting.artifacts)}


def _leases(study: Study, workshop: Workshop) -> Leases:
    """A Ray of our own has no other study on it."""
    if study.address == "local":
        return NoLeases()
    name = f"study {study.output.name} (in {study.output.resolve()}, on {socket.gethostname()}, pid {os.getpid()})"
    return ClusterLeases(str(workshop.artifacts), name)


def _searcher(
    study: Study, queue: JobQueue, source: TrialSource, records: Records, objectives: Mapping[str, Direction]
) -> StudySearcher:
    def tell(number: int, state: str, metrics: dict[str, float] | None, cause: str | None) -> None:
        values = None if metrics is None else [metrics[name] for name in objectives]
        source.tell(number, state, values, cause)  # type: ignore[arg-type]
        _record_front(records, study, objectives)

    common = {
        "setting": study.setting.to_dict(),
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
    )


def _finish_telling(source: TrialSource, records: Records, objectives: Mapping[str, Direction]) -> None:
    """Tell Optuna of the trials that ended when the driver could no longer: the journal is written first."""
    for number, state in records.states.items():
        if state != "RUNNING":
            metrics = records.last_metrics(number)
            values = None if metrics is None else [metrics[name] for name in objectives]
            source.tell(number, state, values, records.causes.get(number))  # type: ignore[arg-type]


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
            scheduler=_Retries(searcher),
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


class _Retries(FIFOScheduler):
    """Jobs in their order; one whose process dies is started anew while it gets further."""

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        left = self._searcher.retries_left(trial.trial_id)
        trial.max_failures = trial.run_metadata.num_failures + left
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._searcher.on_death(trial.trial_id, cause_of_death(Path(trial.error_file)))


class _Watch(tune.Callback):
    """Refreshes the live view as Tune's loop turns."""

    def __init__(
        self,
        view: ProgressView,
        searcher: StudySearcher,
        queue: JobQueue,
        source: TrialSource,
        records: Records,
        study: Study,
        objectives: Mapping[str, Direction],
    ) -> None:
        self._view, self._searcher, self._queue = view, searcher, queue
        self._source, self._records, self._study, self._objectives = source, records, study, objectives

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._view.due:
            self._view.show(self.snapshot())

    def snapshot(self) -> Snapshot:
        records, progress = self._records, self._searcher.progress
        front = front_of(records, self._objectives)
        not_drawn = self._study.trials - sum(state != "RUNNING" for state in records.states.values())
        running = sum(job.kind == "trial" for job in self._queue.running)
        not_drawn = max(0, not_drawn - running)
        return Snapshot(
            total=self._study.trials,
            counts={state: records.count(state) for state in ("COMPLETE", "PRUNED", "FAILED")}
            | {"RUNNING": running, "WAITING": records.count("RUNNING") - running},
            jobs=[(name, *done) for name, done in progress.items()],
            seconds_left=seconds_left(progress, records.durations, not_drawn, slots_of(self._study)),
            front=front,
            objectives=list(self._objectives),
            hypervolume=_hypervolume([values for _, values in front], self._study, self._objectives),
            elsewhere=self._queue.elsewhere,
        )


def front_of(records: Records, objectives: Mapping[str, Direction]) -> list[tuple[str, tuple[float, ...]]]:
    """The present front, fidelity generators included: labels and values, best in the first objective first."""
    named = {f"trial {trial} at {iteration}": point for (trial, iteration), point in records.live_points().items()}
    named |= {f"fidelity {name[-6:]}": point for name, point in records.references.items() if name not in BASELINES}
    if not named:
        return []
    values = np.array([[point[name] for name in objectives] for point in named.values()])
    mask = non_dominated(values, list(objectives.values()))
    members = [(label, tuple(map(float, row))) for label, row, on in zip(named, values, mask, strict=True) if on]
    return sorted(members, key=lambda member: member[1], reverse=next(iter(objectives.values())) == "maximize")


def _record_front(records: Records, study: Study, objectives: Mapping[str, Direction]) -> None:
    front = front_of(records, objectives)
    ended = sum(state != "RUNNING" for state in records.states.values())
    size = _hypervolume([values for _, values in front], study, objectives)
    records.front(trials_ended=ended, hypervolume=size, members=[label for label, _ in front])


def _hypervolume(values: list[tuple[float, ...]], study: Study, objectives: Mapping[str, Direction]) -> float:
    reference = study.space.reference_for(objectives)
    return hypervolume(np.array(values), list(reference.values()), list(objectives.values())) if values else 0.0


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
