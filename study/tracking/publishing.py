"""What a finished study shows in MLflow beside numbers: crops, weights and the report, as events of its journal.

The driver records them, the exporter uploads them. A study that is continued records only what changed.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import moocore
import numpy as np

from study import __version__
from study.files import read_checked_json, write_atomically, write_checked_json
from study.models.weights import read_state
from study.record.events import (
    AliasesPublished,
    FilesPublished,
    InterpolationEvaluated,
    ModelPublished,
    PointEvaluated,
    ReferenceEvaluated,
)
from study.record.goals import Goals
from study.record.paths import CONFIG, HR, LQ, WEIGHTS, RunDirectory, reference_samples
from study.record.points import FidelityPoint, InterpolatedPoint, PointId, TrialPoint
from study.record.state import Recorder, StudyRecord
from study.search.front import as_losses
from study.search.pareto_archive import Candidate, ParetoArchive, record_front
from study.training.artifact_store import ArtifactFolder

Report = Callable[[Path], Iterable[Path]]
"""Makes a study's report from its directory; returns its files."""

_MLMODEL = "MLmodel"
# Describes a folder of two files to MLflow; it has no flavour that could load them by running code.
_MLMODEL_TEXT = f"""flavors:
  aesop_study:
    config: {CONFIG}
    version: {__version__}
    weights: {WEIGHTS}
"""


def publish(
    output: Path, recorder: Recorder, goals: Goals, artifacts: ArtifactFolder, report: Report | None
) -> list[str]:
    """Record what a finished study shows.

    Args:
        output: the study's directory.
        recorder: of the study.
        goals: what its front is of.
        artifacts: where fidelity generators are.
        report: makes the report.

    Returns:
        What could not be published, a sentence each; the study is complete all the same.
    """
    archive = ParetoArchive(recorder.record, goals)
    publisher = _Publisher(RunDirectory(output), recorder, archive, artifacts)
    steps: dict[str, Callable[[], None]] = {
        "the front": lambda: record_front(recorder, archive, final=True),
        "sample crops": publisher.publish_samples,
        "weights": lambda: publisher.publish_models(goals),
        "the report": lambda: publisher.publish_report(report),
    }
    problems = []
    for what, step in steps.items():
        try:
            step()
        except Exception as error:  # the study is complete whatever it is
            problems.append(f"{what} could not be published: {type(error).__name__}: {error}")
    return problems


def contributions(members: Sequence[Candidate], goals: Goals) -> list[float]:
    """Return the hypervolume that the front would lose without each of its members."""
    losses = as_losses(np.array([member.values for member in members]), goals.directions)
    corner = as_losses(np.array([goals.corner]), goals.directions)[0]
    return [float(value) for value in moocore.hv_contributions(losses, ref=corner)]


def aliases(members: Sequence[Candidate], registered: Iterable[PointId], goals: Goals) -> dict[str, PointId]:
    """Name members of a front with registered weights: its ends, and between them the one that contributes most.

    What the ends contribute to the hypervolume depends on its reference point; with one that is far away, they would
    always contribute most. So an end is `balanced` only if no member with registered weights lies between.
    """
    available = set(registered)
    indices = [index for index, member in enumerate(members) if member.point in available]
    if not indices:
        return {}
    added = contributions(members, goals)
    losses = as_losses(np.array([member.values for member in members]), goals.directions)
    ends = [min(indices, key=lambda index, axis=axis: losses[index, axis]) for axis in (0, 1)]  # type: ignore[misc]
    between = [index for index in indices if index not in ends] or indices
    best = max(between, key=lambda index: added[index])
    chosen = {"most-faithful": ends[0], "most-perceptual": ends[1], "balanced": best}
    return {alias: members[index].point for alias, index in chosen.items()}


@dataclass(frozen=True)
class _Publisher:
    """Records what belongs to the members of a study's front."""

    output: RunDirectory
    recorder: Recorder
    archive: ParetoArchive
    artifacts: ArtifactFolder

    def publish_samples(self) -> None:
        """Record the crops of the images, the references and the front."""
        record = self.recorder.record
        references = [reference_samples(HR), reference_samples(LQ)]
        for folder in (*references, *(reference.samples for reference in record.references.values())):
            self._record_crops(None, folder, folder)
        for point in self.archive.points:
            folder = _evaluation(point, record).samples
            # A trial's own run need not repeat whose point it is.
            shown = PurePosixPath(folder).name if isinstance(point, TrialPoint) else folder
            self._record_crops(_trial_of(point), folder, shown)

    def publish_models(self, goals: Goals) -> None:
        """Register the weights on the front; interpolations of images, and points whose files are gone, have none.

        Raises:
            ValueError: some weights are damaged, which the message names; all others are registered.
        """
        record, registered, damaged = self.recorder.record, [], []
        for point in self.archive.points:
            weights = self._weights_of(point)
            if weights is None or not weights.is_file():
                continue
            try:
                read_state(weights)
            except ValueError as error:
                damaged.append(str(error))
                continue
            trial, folder = _trial_of(point), self.output.model(point)
            _write_model(folder, weights, self._config_of(point))
            paths = tuple(self._relative(folder / name) for name in (WEIGHTS, CONFIG, _MLMODEL))
            tags: dict[str, str | int | None] = {
                **{name: f"{value:.6g}" for name, value in _evaluation(point, record).metrics.items()},
                "trial": trial,
                "iteration": point.iteration if isinstance(point, TrialPoint) else None,
                "sha256": _digest(weights)[:16],
            }
            model = ModelPublished(point=point, trial=trial, folder=self._relative(folder), paths=paths, tags=tags)
            self.recorder.add(model)
            registered.append(point)
        names = aliases(self.archive.members, registered, goals)
        self.recorder.add(AliasesPublished(aliases=names, members=self.archive.points))
        if damaged:
            raise ValueError("; ".join(damaged))

    def publish_report(self, report: Report | None) -> None:
        """Make the report and record its files."""
        if report is not None:
            self._record_files(None, "report", list(report(self.output.root)))

    def _record_crops(self, trial: int | None, folder: str, shown: str) -> None:
        files = sorted((self.output.root / folder).glob("*.png"))
        if folder and files:
            self._record_files(trial, f"samples/{shown}", files)

    def _record_files(self, trial: int | None, folder: str, files: Sequence[Path]) -> None:
        content = hashlib.sha256()
        for file in files:
            content.update(hashlib.sha256(file.read_bytes()).digest())
        paths = tuple(self._relative(file) for file in files)
        self.recorder.add(FilesPublished(trial=trial, folder=folder, paths=paths, content=content.hexdigest()[:16]))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.output.root).as_posix()

    def _weights_of(self, point: PointId) -> Path | None:
        if isinstance(point, FidelityPoint):
            return self.artifacts.open(point.key) / WEIGHTS if self.artifacts.has(point.key) else None
        return self.output.weights(point)

    def _config_of(self, point: PointId) -> dict[str, Any]:
        """Return the content of `config.json` of a registered model: it describes the network."""
        owner = point.owner if isinstance(point, InterpolatedPoint) else point
        if isinstance(owner, TrialPoint):
            return {"key": point.label, "config": self.recorder.record.trials[owner.trial].config}
        config = read_checked_json(self.artifacts.open(owner.key) / CONFIG, required=False)
        return config if point is owner else {**config, "key": point.label}


def _trial_of(point: PointId) -> int | None:
    return None if isinstance(point, FidelityPoint) else point.trial


def _evaluation(point: PointId, record: StudyRecord) -> PointEvaluated | ReferenceEvaluated | InterpolationEvaluated:
    match point:
        case TrialPoint():
            return record.points[point]
        case FidelityPoint():
            return record.references[point.key]
        case InterpolatedPoint():
            return record.interpolations[point]


def _write_model(folder: Path, weights: Path, config: Mapping[str, Any]) -> None:
    write_checked_json(folder / CONFIG, {**config})
    write_atomically(folder / _MLMODEL, _MLMODEL_TEXT.encode())
    linked = folder / WEIGHTS
    linked.unlink(missing_ok=True)
    try:
        os.link(weights, linked)
    except OSError:  # another file system, or one without links
        shutil.copyfile(weights, linked)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
