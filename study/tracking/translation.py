"""Translation of a journal's events: metrics and tags in batches, files and models one by one."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.config import EXTENSION_FIELDS, flatten
from study.record.entries import Entry
from study.record.events import (
    AliasesPublished,
    ArtifactEnded,
    FilesPublished,
    FrontMoved,
    InterpolationEvaluated,
    ModelPublished,
    PointEvaluated,
    ReferenceEvaluated,
    SearchEnded,
    StudyStateChanged,
    TrialEnded,
    TrialExtended,
    TrialRetried,
    TrialStarted,
)
from study.record.metadata import StudyMetadata
from study.record.points import FidelityPoint, PointId, Spent, TrialPoint
from study.record.state import Published
from study.tracking.client import Batches
from study.tracking.cursor import Cursor
from study.tracking.registry import ModelRegistry
from study.tracking.runs import StudyRuns

log = logging.getLogger(__name__)

_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED", "INTERRUPTED": "KILLED"}


class Sender:
    """Sends a journal's events to MLflow, in order; only the cursor is kept on disk."""

    def __init__(self, client: Any, run_dir: Path, study: StudyMetadata, cursor: Cursor, artifacts: str | None) -> None:
        """Begin where the cursor is.

        Args:
            client: of MLflow.
            run_dir: what the events' paths are relative to.
            study: what is sent.
            cursor: is updated in place.
            artifacts: where a new experiment's artifacts go; None leaves it to the server.
        """
        self.client, self.cursor = client, cursor
        self.runs = StudyRuns(client, study, cursor, artifacts)
        self._run_dir, self._study = run_dir.resolve(), study
        self._batches = Batches()
        self._registry = ModelRegistry(client, study, cursor)

    @property
    def waiting(self) -> int:
        """Number of metrics, parameters and tags that are gathered and not sent."""
        return self._batches.size

    def flush(self) -> None:
        """Send what is gathered."""
        self._batches.send(self.client)

    def dispatch(self, entry: Entry) -> None:
        """Gather what an event becomes; act on one of `Published` now, so all before it must have been sent."""
        event, at = entry.event, _milliseconds(entry)
        match event:
            case StudyStateChanged():
                self._change_study_state(event, at)
            case TrialStarted():
                self._start_trial(event, at)
            case PointEvaluated():
                terms = {f"term.{name}": value for name, value in event.terms.items()}
                metrics = {**event.metrics, **terms, **_costs(event.spent)}
                self._batches.add(self.runs.trial(event.point.trial, at), at, metrics, step=event.point.iteration)
            case TrialEnded():
                self._end_trial(event, at)
            case TrialRetried() | TrialExtended():
                self._reopen_trial(event, at)
            case InterpolationEvaluated():
                self._add_interpolation(event, at)
            case ArtifactEnded():
                shown = {name: getattr(event, name) for name in ("stage", "state", "cause", "metrics", "reused")}
                tag = json.dumps({**shown, "spent": asdict(event.spent)})
                self._batches.add(self.runs.parent(at), at, tags={event.key: tag})
            case ReferenceEvaluated():
                metrics = {f"{event.kind}.{name}": value for name, value in event.metrics.items()}
                self._batches.add(self.runs.parent(at), at, metrics)
            case FrontMoved():
                self._move_front(event, at)
            case SearchEnded():
                self._batches.add(self.runs.parent(at), at, tags={"search_ended": event.cause})
            case FilesPublished():
                self._upload(event, at)
            case ModelPublished():
                self._upload(event, at)
                self._registry.register(event, self._run_of(event, at))
            case AliasesPublished():
                self._registry.set_aliases(event)

    def leave_out(self, entry: Entry, cause: str) -> None:
        """Give up files or a model that the server refuses; a tag of the run says so."""
        event, at = entry.event, _milliseconds(entry)
        assert isinstance(event, Published)
        folder = "" if isinstance(event, AliasesPublished) else event.folder
        name = f"{event.type.removesuffix('_published')} {folder}".strip()
        log.warning("MLflow refuses %s: %s. It is left out.", name, cause)
        self._batches.add(self._run_of(event, at), at, tags={f"left_out.{name}": cause})

    def is_connected(self) -> bool:
        """Return whether the server answers."""
        try:
            self.client.get_run(self.cursor.parent)
        except Exception:
            return False
        return True

    def _change_study_state(self, event: StudyStateChanged, at: int) -> None:
        """Set the state of the study's run, and of the trials that wait for the study's end with it."""
        runs = [self.runs.parent(at), *(self.runs.trial(trial, at) for trial in self.cursor.unfinished)]
        for run in runs:
            self._batches.add(run, at, tags={"state": event.state})
            if event.state == "RUNNING":
                self._batches.set_status(run, event.state)
            else:
                self._batches.set_status(run, _STATUS[event.state], at)

    def _start_trial(self, event: TrialStarted, at: int) -> None:
        recipe = str(event.config.get("recipe", self._study.recipe))
        tags = {"recipe": recipe} | {str(stage): key for stage, key in event.upstream.items()}
        params = {name: str(value) for name, value in flatten(event.config).items()}
        self._batches.add(self.runs.trial(event.trial, at), at, params=params, tags=tags)
        self.cursor.unfinished.append(event.trial)

    def _reopen_trial(self, event: TrialRetried | TrialExtended, at: int) -> None:
        run, tags = self.runs.trial(event.trial, at), {"state": "RUNNING", "cause": ""}
        if isinstance(event, TrialExtended):  # MLflow lets no parameter change
            tags |= {name: str(value) for name, value in flatten(event.config).items() if name in EXTENSION_FIELDS}
        self._batches.add(run, at, tags=tags)
        self._batches.set_status(run, "RUNNING")
        if event.trial not in self.cursor.unfinished:
            self.cursor.unfinished.append(event.trial)

    def _end_trial(self, event: TrialEnded, at: int) -> None:
        run = self.runs.trial(event.trial, at)
        measured = {"overhead_seconds": event.overhead_seconds, "seconds": event.seconds}
        metrics = {name: value for name, value in measured.items() if value is not None}
        self._batches.add(run, at, metrics, tags={"state": event.state, "cause": event.cause})
        self._batches.set_status(run, _STATUS[event.state], at)
        self.cursor.unfinished = [trial for trial in self.cursor.unfinished if trial != event.trial]

    def _move_front(self, event: FrontMoved, at: int) -> None:
        metrics = {"hypervolume": event.hypervolume, "front_size": len(event.members)}
        self._batches.add(self.runs.parent(at), at, metrics, step=event.trials_ended)
        before, now = self.cursor.front, on_front(event.members)
        for trial in sorted(before.keys() | now.keys()):
            if before.get(trial) != now.get(trial):
                points, interpolations = now.get(trial, [0, 0])
                counts = {"front.points": points, "front.interpolations": interpolations}
                tags = {"front": "yes" if trial in now else "no", **counts}
                self._batches.add(self.runs.trial(int(trial), at), at, tags=tags)
        self.cursor.front = now

    def _add_interpolation(self, event: InterpolationEvaluated, at: int) -> None:
        """Add the objectives, by percent, to the run of the trial that the interpolation belongs to.

        A trial's interpolations with a fidelity generator go from that (0) to the trial's point (100); those of two
        trials, or of two generators, have names of their own and go from the first to the second.
        """
        point = event.point
        of_neighbours = isinstance(point.first, TrialPoint) == isinstance(point.second, TrialPoint)
        kind = "interpolation_of_neighbours" if of_neighbours else "interpolation"
        share = point.share if of_neighbours else point.share_of_owner
        run = self.runs.parent(at) if point.trial is None else self.runs.trial(point.trial, at)
        metrics = {f"{kind}.{point.space}.{name}": event.metrics[name] for name in self._study.goals.metrics}
        self._batches.add(run, at, metrics, step=round(100 * share))

    def _upload(self, event: FilesPublished | ModelPublished, at: int) -> None:
        run, missing = self._run_of(event, at), []
        for path in event.paths:
            file = self._readable(path)
            if file is None:
                missing.append(path)
            else:
                self.client.log_artifact(run, str(file), event.folder)
        if missing:
            log.warning("files to upload to MLflow are missing: %s", ", ".join(missing))
            self._batches.add(run, at, tags={f"missing.{event.folder}": ", ".join(missing)})

    def _readable(self, path: str) -> Path | None:
        """Return a file of the run directory; None if it is missing, unreadable or outside of it."""
        file = (self._run_dir / path).resolve()
        if not file.is_relative_to(self._run_dir) or not file.is_file():
            return None
        try:
            file.open("rb").close()
        except OSError:
            return None
        return file

    def _run_of(self, event: Published, at: int) -> str:
        """Return the id of the trial's run, or of the study's where an event names no trial."""
        if isinstance(event, AliasesPublished) or event.trial is None:
            return self.runs.parent(at)
        return self.runs.trial(event.trial, at)


def on_front(members: Iterable[PointId]) -> dict[str, list[int]]:
    """Return how many points and interpolations of each trial, by number, are on a front."""
    counts: dict[str, list[int]] = {}
    for member in members:
        if not isinstance(member, FidelityPoint) and member.trial is not None:
            counts.setdefault(str(member.trial), [0, 0])[0 if isinstance(member, TrialPoint) else 1] += 1
    return counts


def _costs(spent: Spent) -> Mapping[str, float]:
    """Return what a point cost, without the iterations: they are the metrics' step."""
    return {name: value for name, value in asdict(spent).items() if name != "iterations" and value is not None}


def _milliseconds(entry: Entry) -> int:
    return int(entry.time * 1000)
