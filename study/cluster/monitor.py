"""The live view of a study, refreshed by Tune's event loop."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ray import tune

from study.cluster.jobs import JobQueue
from study.cluster.preflight import slots_of
from study.cluster.progress import ProgressView, Snapshot
from study.cluster.searcher import StudySearcher
from study.cluster.study import Study
from study.record.state import StudyRecord
from study.search.pareto_archive import ParetoArchive


class Monitor(tune.Callback):
    """Tune callback that takes snapshots of a study and shows them."""

    def __init__(
        self,
        view: ProgressView,
        searcher: StudySearcher,
        queue: JobQueue,
        study: Study,
        record: StudyRecord,
        archive: ParetoArchive,
    ) -> None:
        self._view, self._searcher, self._queue = view, searcher, queue
        self._study, self._record, self._archive = study, record, archive

    def __getstate__(self) -> dict[str, Any]:
        return {}  # nothing to restore, as for the searcher

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Record a stop that was requested, and show a snapshot if one is due."""
        self._searcher.record_stop()
        if self._view.due:
            self._view.show(self.snapshot())

    def snapshot(self) -> Snapshot:
        """Return the present state of the study."""
        record, limits = self._record, self._study.limits
        running, members = self._queue.running, self._archive.members
        trials = sum(job.kind == "trial" for job in running)
        waiting = record.count("RUNNING") - trials
        return Snapshot(
            total=self._study.trials,
            counts={state: record.count(state) for state in ("COMPLETE", "PRUNED", "FAILED")}
            | {"RUNNING": trials, "WAITING": waiting},
            jobs=[(name, *done) for name, done in self._searcher.progress.items()],
            seconds_left=self._seconds_left(waiting, {job.name for job in running if job.stage is None}),
            front=[(member.point.label, member.values) for member in members],
            objectives=list(self._archive.goals.metrics),
            hypervolume=self._archive.hypervolume,
            elsewhere=self._queue.elsewhere,
            limits=limits.standing(record.device_seconds, record.hypervolumes),
        )

    def _seconds_left(self, waiting: int, evaluating: Collection[str]) -> float:
        record, drawn = self._record, len(self._record.trials)
        training = {name: done for name, done in self._searcher.progress.items() if name not in evaluating}
        to_draw = 0
        if not self._queue.all_drawn:
            to_draw = self._study.limits.still_to_draw(drawn, len(record.ends), record.device_seconds)
        return seconds_left(training, record.durations, waiting + to_draw, slots_of(self._study.resources))


def seconds_left(
    progress: Mapping[str, tuple[int, int]], durations: Sequence[float], not_started: int, slots: int
) -> float:
    """Estimate the seconds to the end of a study; NaN before the first trial has ended."""
    if not durations:
        return math.nan
    mean = sum(durations) / len(durations)
    running = sum(mean * (1 - done / total) for done, total in progress.values())
    return (running + mean * not_started) / max(1, slots)
