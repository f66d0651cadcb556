"""A study restricted: evaluated on some of its validation images, or on its trials' last points."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.formatting import count_text
from analysis.statistics.tables import Results, tables_of
from study.record.entries import Entry
from study.record.events import InterpolationEvaluated, PointEvaluated
from study.record.metadata import RunDirectoryError, StudyMetadata
from study.record.points import TrialPoint
from study.record.tables import Evaluated

LAST_POINTS_NOTE = (
    "Trials are evaluated on their last points alone, without earlier checkpoints and the interpolations of these."
)


def only_images_of(results: Results, folder: Path) -> Results:
    """Return the study, evaluated on those of its validation images that have a file in a folder.

    Every metric is the mean over these images. The search itself used all images.

    Args:
        results: the study.
        folder: with a file for each of the images, by their names, such as a benchmark set's.

    Raises:
        RunDirectoryError: no such folder, or none of the validation images is there.
    """
    if not folder.is_dir():
        raise RunDirectoryError(
            f"--images {folder}: there is no such folder; name one that holds some validation images"
        )
    there = {path.stem for path in folder.iterdir()}
    names = results.metadata.val_images
    chosen = [name for name in names if name in there]
    if not chosen:
        raise RunDirectoryError(
            f"--images {folder}: none of the study's {count_text(len(names), 'validation image')} is there; they are "
            f"called {', '.join(names[:3])} ..."
        )
    entries = (
        replace(entry, event=_on_images(entry.event, chosen)) if isinstance(entry.event, Evaluated) else entry
        for entry in results.entries
    )
    return tables_of(_metadata_of_images(results.metadata, chosen, folder), entries)


def only_last_points(results: Results) -> Results:
    """Return the study without the trials' points before their last, and without interpolations of these.

    How many points a trial has depends on how many pixels it trains on (`training.evaluation.evaluation_spacing`).
    Where that differs between groups, the one with more points has more chances to be on a front.
    """
    last: dict[int, int] = {}
    for point in results.record.points:
        last[point.trial] = max(point.iteration, last.get(point.trial, 0))

    def is_kept(entry: Entry) -> bool:
        points: tuple[object, ...] = ()
        if isinstance(entry.event, PointEvaluated):
            points = (entry.event.point,)
        elif isinstance(entry.event, InterpolationEvaluated):
            points = (entry.event.point.first, entry.event.point.second)
        return all(last.get(each.trial) == each.iteration for each in points if isinstance(each, TrialPoint))

    metadata = replace(results.metadata, notes=(*results.metadata.notes, LAST_POINTS_NOTE))
    return tables_of(metadata, filter(is_kept, results.entries))


def _metadata_of_images(metadata: StudyMetadata, chosen: Sequence[str], folder: Path) -> StudyMetadata:
    name = folder.parent.name if folder.name in ("HR", "val", "test") else folder.name
    count = len(metadata.val_images)
    note = f"Evaluated on {len(chosen)} of the {count} validation images alone, those of {name}."
    images = {**metadata.images, "val": replace(metadata.images["val"], images=tuple(chosen))}
    return replace(metadata, images=images, notes=(*metadata.notes, note))


def _on_images(event: Evaluated, chosen: Sequence[str]) -> Evaluated:
    """Return an event with these images alone; without metrics where one of them was not recorded."""
    images = {name: values for name, values in event.images.items() if name in chosen}
    if len(images) < len(chosen):
        return replace(event, metrics={}, images=images)
    means = {name: float(np.mean([values.get(name, np.nan) for values in images.values()])) for name in event.metrics}
    return replace(event, metrics=means, images=images)
