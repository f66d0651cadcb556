"""A study as statistics use it: what it is, its events, and its tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.statistics.fronts import front_mask, group_front_names
from study.record.entries import Entry
from study.record.goals import Goals, Objective
from study.record.metadata import StudyMetadata
from study.record.state import StudyRecord
from study.record.stored import read_study
from study.record.tables import artifacts_table, images_table, points_table, trials_table


@dataclass(frozen=True, kw_only=True)
class Results:
    """A study; statistics of groups need the tables and the metadata alone.

    Attributes:
        metadata: what the study is.
        points, images, trials, artifacts: its tables; columns in `study/record/tables.py`.
        entries: its journal, in order.
        record: the study rebuilt from them.
        faults: what of the study is damaged or missing, a clause each; the tables lack what was there.
    """

    metadata: StudyMetadata
    points: pd.DataFrame
    images: pd.DataFrame
    trials: pd.DataFrame
    artifacts: pd.DataFrame
    entries: Sequence[Entry] = ()
    record: StudyRecord = field(default_factory=StudyRecord)
    faults: tuple[str, ...] = ()

    @property
    def goals(self) -> Goals:
        """What the study optimises."""
        return self.metadata.goals

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The axes of the front; figures use the first (fidelity) and the second (perception)."""
        return self.metadata.objectives

    @property
    def groups(self) -> tuple[str, ...]:
        """Config paths by which trials are grouped; the first is the study's main question."""
        return self.metadata.search.groups


def load_results(run_dir: Path) -> Results:
    """Read a run directory into tables; notes of the metadata name what is damaged, or was repaired.

    Raises:
        RunDirectoryError: neither the journal nor a study.json says what the study is.
        JournalError: another version wrote the journal.
    """
    stored = read_study(run_dir)
    repaired = [fault for repair in stored.record.repairs for fault in repair.faults]
    notes = [
        *(f"Damage: {fault}." for fault in stored.faults),
        *(
            f"The journal was repaired, and what it lacked was done again where it was needed: {fault}."
            for fault in repaired
        ),
    ]
    metadata = replace(stored.metadata, notes=(*stored.metadata.notes, *notes))
    return replace(tables_of(metadata, stored.entries), faults=stored.faults)


def tables_of(metadata: StudyMetadata, entries: Iterable[Entry]) -> Results:
    """Make all tables of a study."""
    entries = tuple(entries)
    record = StudyRecord.of(entries)
    points = points_table(record, metadata.goals.metrics)
    points["front"] = pd.array(front_mask(points, metadata.goals), dtype="boolean")
    points["group_front"] = group_front_names(points, metadata.goals, metadata.search.groups)
    return Results(
        metadata=metadata,
        points=points,
        images=images_table(record, points),
        trials=trials_table(record, metadata.goals),
        artifacts=artifacts_table(record),
        entries=entries,
        record=record,
    )


def regrouped(results: Results, paths: Sequence[str]) -> Results:
    """Return the same results, grouped by other config paths."""
    metadata = results.metadata
    return replace(results, metadata=replace(metadata, search=replace(metadata.search, groups=tuple(paths))))


def sampled_paths(results: Results) -> list[str]:
    """Return the config paths that tell trials apart: those of the groups, then all others that were sampled."""
    sampled = [column.removeprefix("param.") for column in results.trials if column.startswith("param.")]
    known = [path for path in (*results.groups, *sampled) if f"config.{path}" in results.points]
    return list(dict.fromkeys(known))


def metric_columns(results: Results) -> list[str]:
    """Return the names of all measured metrics, objectives first."""
    columns = list(results.points.columns)
    return columns[columns.index("iteration") + 1 : columns.index("front")]


def image_metrics(results: Results, point: pd.Series) -> Mapping[str, Mapping[str, Any]]:
    """Return the metrics of a row of the points table by validation image."""
    rows = results.images[results.images["point"] == point.name]
    metrics = [name for name in metric_columns(results) if name in rows]
    return dict(zip(rows["image"], rows[metrics].to_dict("records"), strict=True))
