"""A study rebuilt from its journal, and the recorder of new events."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from study.record.entries import Entry
from study.record.events import (
    AliasesPublished,
    ArtifactEnded,
    Event,
    FilesPublished,
    FrontMoved,
    InterpolationEvaluated,
    JobWarned,
    JournalRepaired,
    ModelPublished,
    PairEnded,
    PointEvaluated,
    ReferenceEvaluated,
    SearchEnded,
    StudyDescribed,
    StudyState,
    StudyStateChanged,
    TrialEnded,
    TrialExtended,
    TrialRetried,
    TrialStarted,
)
from study.record.journal import Journal
from study.record.points import InterpolatedPoint, Metrics, TrialPoint, pair_name

Published = FilesPublished | ModelPublished | AliasesPublished


@dataclass
class StudyRecord:
    """The events of a study by subject, in their order; the first event of a subject counts where it is repeated.

    Attributes:
        described: what the study is, as in `study.json`; None in a journal that does not say it.
        repairs: of the journal.
        trials, ends: by trial number.
        points, interpolations: by point.
        artifacts: one event each time that an artifact ended, so that repeated training is visible.
        references: the baseline by name, and fidelity generators by key.
        pairs: the last end of each pair, by its name.
        fronts: after each trial that ended.
        warnings: of jobs, about problems that they dealt with.
        search_ended: why no more trials are sampled; None while they are.
        state: of the study.
    """

    described: Mapping[str, Any] | None = None
    repairs: list[JournalRepaired] = field(default_factory=list)
    trials: dict[int, TrialStarted] = field(default_factory=dict)
    ends: dict[int, TrialEnded] = field(default_factory=dict)
    points: dict[TrialPoint, PointEvaluated] = field(default_factory=dict)
    artifacts: list[ArtifactEnded] = field(default_factory=list)
    references: dict[str, ReferenceEvaluated] = field(default_factory=dict)
    interpolations: dict[InterpolatedPoint, InterpolationEvaluated] = field(default_factory=dict)
    pairs: dict[str, PairEnded] = field(default_factory=dict)
    fronts: list[FrontMoved] = field(default_factory=list)
    warnings: list[JobWarned] = field(default_factory=list)
    search_ended: SearchEnded | None = None
    state: StudyState = "RUNNING"

    @staticmethod
    def of(entries: Iterable[Entry]) -> "StudyRecord":
        """Rebuild a study from the entries of its journal."""
        record = StudyRecord()
        for entry in entries:
            record.apply(entry.event)
        return record

    def apply(self, event: Event) -> None:
        """Add an event."""
        match event:
            case StudyDescribed():
                self.described = event.metadata
            case JournalRepaired():
                self.repairs.append(event)
            case TrialStarted():
                self.trials.setdefault(event.trial, event)
            case PointEvaluated():
                self.points.setdefault(event.point, event)
            case TrialEnded():
                self.ends.setdefault(event.trial, event)
            case TrialRetried():
                self.ends.pop(event.trial, None)
            case TrialExtended():
                self.ends.pop(event.trial, None)
                if event.trial in self.trials:
                    self.trials[event.trial] = replace(self.trials[event.trial], config=event.config)
            case JobWarned():
                self.warnings.append(event)
            case ArtifactEnded():
                self.artifacts.append(event)
            case ReferenceEvaluated():
                self.references.setdefault(event.name, event)
            case InterpolationEvaluated():
                self.interpolations.setdefault(event.point, event)
            case PairEnded():
                self.pairs[pair_name(event.first, event.second)] = event
            case FrontMoved():
                self.fronts.append(event)
            case SearchEnded():
                self.search_ended = event
            case StudyStateChanged():
                self.state = event.state

    # --- trials

    def trial_state(self, trial: int) -> Literal["RUNNING", "COMPLETE", "PRUNED", "FAILED"]:
        """Return how a trial ended, or RUNNING."""
        return self.ends[trial].state if trial in self.ends else "RUNNING"

    def count(self, state: str) -> int:
        """Return how many trials are in a state."""
        if state == "RUNNING":
            return len(self.trials.keys() - self.ends.keys())
        return sum(end.state == state for end in self.ends.values())

    def last_metrics(self, trial: int) -> Metrics | None:
        """Return the metrics of a trial's last point; None without one, or if one of them is not finite."""
        points = [point for point in self.points if point.trial == trial]
        if not points:
            return None
        metrics = self.points[max(points, key=lambda point: point.iteration)].metrics
        return metrics if all(math.isfinite(value) for value in metrics.values()) else None

    def live_points(self) -> list[TrialPoint]:
        """Return the points of all trials that did not fail."""
        return [point for point in self.points if self.trial_state(point.trial) != "FAILED"]

    @property
    def warm_overheads(self) -> list[float]:
        """Seconds from ready to run until the training function is entered, of trials on warm workers."""
        known = ((end.warm, end.overhead_seconds) for end in self.ends.values())
        return [seconds for warm, seconds in known if warm and seconds is not None]

    @property
    def durations(self) -> list[float]:
        """Seconds that each ended trial took."""
        return [end.seconds for end in self.ends.values() if end.seconds is not None]

    # --- artifacts and cost

    @property
    def last_artifacts(self) -> dict[str, ArtifactEnded]:
        """The latest event of each artifact, by key."""
        return {artifact.key: artifact for artifact in self.artifacts}

    @property
    def uses(self) -> Counter[str]:
        """Number of trials that start from each artifact, by key."""
        return Counter(key for trial in self.trials.values() for key in trial.upstream.values())

    @property
    def device_seconds(self) -> float:
        """Device-seconds of training and evaluation so far; reused artifacts cost nothing."""
        spent: dict[object, float] = {}
        parts = [(point.trial, event.spent) for point, event in self.points.items()]
        made = [(artifact.key, artifact.spent) for artifact in self.artifacts if not artifact.reused]
        between = [(point, event.spent) for point, event in self.interpolations.items()]
        for owner, each in (*parts, *made, *between):
            spent[owner] = max(each.device_seconds, spent.get(owner, 0.0))  # a trial's points are cumulative
        return sum(spent.values())

    @property
    def hypervolumes(self) -> list[float]:
        """Hypervolume of the front after each trial that ended."""
        return [front.hypervolume for front in self.fronts if not front.final]


class Recorder:
    """Appends events to a journal and updates the study's record; an event that is known is ignored.

    Attributes:
        record: the study.
    """

    def __init__(self, journal: Journal) -> None:
        """Rebuild the study from the journal."""
        self._journal = journal
        self._published: dict[tuple[object, ...], Published] = {}
        self.record = StudyRecord()
        for entry in journal.entries():
            self._apply(entry.event)

    def add(self, event: Event) -> bool:
        """Record an event unless it is known; return whether it was new.

        Raises:
            StorageError: the journal cannot be written.
        """
        if self._is_known(event):
            return False
        self._journal.append(event)
        self._apply(event)
        return True

    def try_again(self) -> None:
        """Let trials and interpolations run again that FAILED for a cause outside them; StorageError as `add`."""
        for ended in list(self.record.ends.values()):
            if ended.retry:
                self.add(TrialRetried(trial=ended.trial))
        self.record.pairs = {name: pair for name, pair in self.record.pairs.items() if not pair.retry}

    def check(self) -> None:
        """Check that the journal is where it was; StorageError if not."""
        self._journal.check()

    def _apply(self, event: Event) -> None:
        self.record.apply(event)
        if isinstance(event, Published):
            self._published[_subject(event)] = event

    def _is_known(self, event: Event) -> bool:
        record = self.record
        match event:
            case StudyDescribed():
                return record.described == event.metadata
            case TrialStarted():
                return event.trial in record.trials
            case PointEvaluated():
                return event.point in record.points
            case TrialEnded():
                return event.trial in record.ends
            case TrialRetried():
                return event.trial not in record.ends
            case TrialExtended():
                return record.trials[event.trial].config == event.config
            case JobWarned():
                return event in record.warnings
            case InterpolationEvaluated():
                return event.point in record.interpolations
            case ReferenceEvaluated():
                return event.name in record.references
            case ArtifactEnded():
                before = record.last_artifacts.get(event.key)
                return before is not None and before.state == "COMPLETE"
            case FrontMoved(final=True):  # interpolations may have changed it since the last trial ended
                return bool(record.fronts) and record.fronts[-1].members == event.members
            case FilesPublished() | ModelPublished() | AliasesPublished():
                return self._published.get(_subject(event)) == event
        return False


def _subject(event: Published) -> tuple[object, ...]:
    """Return the key by which a published event replaces earlier ones."""
    match event:
        case FilesPublished():
            return ("files", event.trial, event.folder)
        case ModelPublished():
            return ("model", event.point)
        case AliasesPublished():
            return ("aliases",)
