"""Sample crops of validation images, embedded so that the page needs no other file."""

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.formatting import metric_name, point_name, with_unit
from analysis.statistics.fronts import front_of, is_interpolation, is_of_trial
from analysis.statistics.tables import Results, image_metrics
from study.record.paths import HR, LQ, reference_samples

HR_SAMPLES = reference_samples(HR)
MAX_IMAGES = 6
MAX_FRONT_MEMBERS = 4
_MAX_BYTES = 2_000_000
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One picture of a row.

    Attributes:
        title: of the point or reference that made it.
        scores: objectives on the whole image.
        sample: its name in the page (`sample_name`).
        uri: its PNG as a data URI; None where the sample is missing.
    """

    title: str
    scores: str
    sample: str
    uri: str | None


@dataclass(frozen=True, kw_only=True)
class CropRow:
    """The same window of one validation image from every point and reference."""

    image: str
    crops: tuple[Crop, ...]


def crop_rows(run_dir: Path, results: Results, chosen: pd.DataFrame | None = None) -> tuple[CropRow, ...]:
    """Return the crops of the first validation images; images without any sample are left out.

    Args:
        run_dir: of the study.
        results: the study.
        chosen: rows of its points table, to show beside the references; None for some of the front.
    """
    columns = list(_columns(results, _some_of_front(results) if chosen is None else chosen))
    rows = []
    for image in results.metadata.val_images:
        row = CropRow(image=image, crops=tuple(_crop(run_dir, results, image, *column) for column in columns))
        if any(crop.uri for crop in row.crops):
            rows.append(row)
        if len(rows) == MAX_IMAGES:
            break
    return tuple(rows)


def spread(members: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Return `limit` rows at even distances, with the first and the last."""
    if len(members) <= limit:
        return members
    return members.iloc[np.linspace(0, len(members) - 1, limit).round().astype(int)]


def _some_of_front(results: Results) -> pd.DataFrame:
    members = front_of(results.points, results.goals)
    return spread(members[is_of_trial(members) | is_interpolation(members)], MAX_FRONT_MEMBERS)


def _columns(results: Results, chosen: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series | None]]:
    """Yield what is shown side by side: title, directory of samples, and their point."""
    yield "LQ input, enlarged", reference_samples(LQ), None
    for kind in ("bicubic", "input", "fidelity"):
        for _, point in results.points[results.points["kind"] == kind].head(1).iterrows():
            yield point_name(point), _text(point["samples"]), point
    for _, point in chosen.iterrows():
        yield point_name(point), _text(point["samples"]), point
    yield "HR", HR_SAMPLES, None


def _crop(run_dir: Path, results: Results, image: str, title: str, directory: str, point: pd.Series | None) -> Crop:
    scores = ""
    if point is not None:
        values = image_metrics(results, point).get(image, {})
        known = [axis for axis in results.objectives if math.isfinite(values.get(axis.metric, math.nan))]
        scores = ", ".join(f"{metric_name(axis)} {with_unit(values[axis.metric], axis)}" for axis in known)
    uri = embed(run_dir, directory, image) if directory else None
    return Crop(title=title, scores=scores, sample=sample_name(directory, image), uri=uri)


def sample_name(directory: str, image: str) -> str:
    """Name a sample of an image, so that the chart finds the pictures that are in the page already."""
    return f"{directory}/{image}"


def embed(run_dir: Path, directory: str, image: str) -> str | None:
    """Return a PNG below the run directory as a data URI; None for any other file."""
    path = (run_dir / directory / f"{image}.png").resolve()
    if not path.is_relative_to(run_dir.resolve()) or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    content = path.read_bytes()
    if not content.startswith(_PNG_SIGNATURE):
        return None
    return png_uri(content)


def png_uri(content: bytes) -> str:
    """Return a PNG file's content as a data URI."""
    return _uri("image/png", content)


def figure_uri(png: Path, svg: Path) -> str:
    """Return the smaller file of a figure as a data URI: with many points, the PNG."""
    if png.stat().st_size < svg.stat().st_size:
        return png_uri(png.read_bytes())
    return _uri("image/svg+xml", svg.read_bytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
