"""The driver's time for a trial: trials that train nothing, through sampler, queue, journal, early stopping and front.

Neither Ray nor weights are needed; part of `search.py`.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from study.cluster.jobs import JobQueue, QueueRules
from study.cluster.messages import (
    Entered,
    Happened,
    JobEnded,
    JobRequest,
    JobSpec,
    Message,
    read_request,
    write_message,
)
from study.cluster.searcher import SearcherRules, StudySearcher
from study.config import RunConfig, Stage, stage_key
from study.record.events import (
    ArtifactEnded,
    Event,
    PointEvaluated,
    ReferenceEvaluated,
    RungDecided,
    TrialEnded,
    TrialStarted,
)
from study.record.goals import Goals, Objective
from study.record.journal import Journal
from study.record.points import Spent, TrialPoint
from study.record.state import Recorder
from study.search.asha import MultiObjectiveASHA
from study.search.pareto_archive import ParetoArchive, record_front
from study.search.spaces import load_space
from study.search.trials import Asked, TrialSource, UnusableTrial

TRIALS, WORKERS = 1000, 8
GOALS = Goals((Objective("psnr_y", "maximize"), Objective("swd", "minimize")), {"psnr_y": 20.0, "swd": 60.0})


def time_bookkeeping() -> tuple[float, int]:
    """Run the trials; return the seconds, and the number of trials."""
    space = load_space("aesop")
    asha = MultiObjectiveASHA((40, 120), 3.0, GOALS.directions, GOALS.corner)
    with tempfile.TemporaryDirectory() as folder:
        source = TrialSource(None, "s", GOALS.directions, space, space.base("tiny", ()), seed=0)
        recorder = Recorder(Journal(Path(folder) / "journal.jsonl"))
        archive = ParetoArchive(recorder.record, GOALS)

        def on_trial(asked: Asked, upstream: dict[Stage, str]) -> None:
            recorder.add(TrialStarted(trial=asked.number, config={}, params=asked.params, upstream=upstream))

        def on_failed(trial: Asked | UnusableTrial, cause: str) -> None:
            raise RuntimeError(f"trial {trial.number}: {cause}")

        def on_trial_ended(ended: TrialEnded) -> None:
            metrics = recorder.record.last_metrics(ended.trial)
            source.tell(ended.trial, ended.state, None if metrics is None else GOALS.values(metrics), ended.cause)
            record_front(recorder, archive)

        def compare(event: PointEvaluated) -> RungDecided | None:
            return asha.on_result(event.point.trial, event.point.iteration, GOALS.values(event.metrics))

        queue = JobQueue(source, QueueRules(TRIALS, _key_of, time.time, on_trial, on_failed))
        rules = SearcherRules(
            request_of=lambda job: JobRequest(job.spec, {}, folder, threads=1),
            slots=lambda: WORKERS,
            on_trial_ended=on_trial_ended,
            reference_scale=4,
            compare=compare,
        )
        began = time.monotonic()
        _play(StudySearcher(queue, recorder, rules))
        return time.monotonic() - began, len(recorder.record.ends)


def _key_of(config: RunConfig, stage: Stage) -> str:
    return stage_key(config, stage, "images")


def _play(searcher: StudySearcher) -> None:
    """Play Tune's and the workers' part: end each job at once."""
    random = np.random.default_rng(0)
    number = 0
    while isinstance(handed_out := searcher.suggest(f"t{number}"), dict):
        name, job = f"t{number}", read_request(str(handed_out["request"])).job
        messages: list[Message] = [Entered(time.time(), warm=True)]
        messages += [Happened(event) for event in _events(job, random)]
        for message in [*messages, JobEnded("COMPLETE")]:
            if not searcher.on_message(name, write_message(message)):
                break  # stopped early
        searcher.on_trial_complete(name, {"message": "{}"})
        number += 1
    assert handed_out == searcher.FINISHED, searcher.halted


def _events(job: JobSpec, random: np.random.Generator) -> list[Event]:
    """Return the events of a job; a trial has a point every 40 iterations."""
    good: dict[str, Any] = {"metrics": {"psnr_y": 30.0, "swd": 20.0}}
    if job.trial is None:
        assert job.stage is not None
        events: list[Event] = [
            ArtifactEnded(key=job.name, stage=job.stage, config={}, state="COMPLETE", spent=Spent(), **good)
        ]
        if job.stage == "fidelity":
            events.append(ReferenceEvaluated(name=job.name, kind="fidelity", images={}, samples="", **good))
        return events
    return [
        PointEvaluated(
            point=TrialPoint(job.trial, iteration),
            metrics={"psnr_y": float(random.uniform(22, 30)), "swd": float(random.uniform(5, 50))},
            images={},
            terms={},
            spent=Spent(iterations=iteration),
            samples="",
        )
        for iteration in (40, 80, 120, 160)
    ]
