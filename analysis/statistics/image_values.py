"""What each point scored on each held-out image: a table for export, and arrays to resample."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.journal import Event, Journal, StudyFacts


def images_table(points: pd.DataFrame, journal: Journal) -> pd.DataFrame:
    """Make a row per point and image.

    Args:
        points: of `tables.points_table`.
        journal: that they are from.

    Returns:
        `point` (the row's number in `points`), `trial`, `kind`, `name`, `iteration`, `image`, and a column per metric.
    """
    rows = [
        {"point": index, "image": image, **_numbers(values)}
        for index, event in zip(points.index, events_of(points, journal), strict=True)
        for image, values in _images(event).items()
    ]
    table = pd.DataFrame(rows, columns=None if rows else ["point", "image"])
    told = points[["trial", "kind", "name", "iteration"]].loc[table["point"].astype("int64")].reset_index(drop=True)
    metrics = [name for name in table.columns if name not in ("point", "image")]
    types = {"point": "int64", "image": "string", **dict.fromkeys(metrics, "float64")}
    return pd.concat([table[["point"]], told, table[["image", *metrics]]], axis=1).astype(types)


def image_values(points: pd.DataFrame, journal: Journal, facts: StudyFacts) -> np.ndarray:
    """The objectives of each point on each image.

    Returns:
        Shape (points, images, objectives), images in the order of `facts.test_images`; NaN where nothing was recorded.
    """
    images = {name: index for index, name in enumerate(facts.test_images)}
    metrics = {axis.metric: index for index, axis in enumerate(facts.objectives)}
    values = np.full((len(points), len(images), len(metrics)), np.nan)
    for row, event in enumerate(events_of(points, journal)):
        for image, scores in _images(event).items():
            if image in images and isinstance(scores, Mapping):
                for metric, column in metrics.items():
                    values[row, images[image], column] = _number(scores.get(metric))
    return values


def events_of(points: pd.DataFrame, journal: Journal) -> Iterator[Event]:
    """The journal's event of each row of a points table."""
    for kind, trial, iteration, name in zip(
        points["kind"], points["trial"], points["iteration"], points["name"], strict=True
    ):
        if kind == "trial":
            yield journal.points[int(trial), int(iteration)]
        elif kind == "interpolation":
            pair, _, interpolation = str(name).rpartition(" ")
            yield journal.interpolations[pair, interpolation]
        else:
            yield journal.references[str(name)]


def _images(event: Event) -> Mapping[str, Any]:
    images = event.get("images")
    return images if isinstance(images, Mapping) else {}


def _numbers(scores: Any) -> dict[str, float]:
    return {name: _number(value) for name, value in scores.items()} if isinstance(scores, Mapping) else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
