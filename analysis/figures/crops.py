"""Sample crops of held-out images, embedded so that the page needs no other file."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.formatting import metric_name, with_unit
from analysis.statistics.findings import image_metrics, point_name
from analysis.statistics.fronts import front_of, is_interpolation, is_of_trial
from analysis.statistics.tables import Results

HR_SAMPLES = "references/hr"
MAX_IMAGES = 6
MAX_FRONT_MEMBERS = 4
_MAX_BYTES = 2_000_000
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Crop:
    """One picture of a row: what made it, its scores on the whole image, and its PNG as a data URI."""

    title: str
    scores: str
    sample: str
    """What the picture is called in this page (`sample_name`)."""
    uri: str | None


@dataclass(frozen=True, kw_only=True)
class CropRow:
    """The same window of one held-out image, as every method shows it."""

    image: str
    crops: tuple[Crop, ...]


def crop_rows(run_dir: Path, results: Results, chosen: pd.DataFrame | None = None) -> tuple[CropRow, ...]:
    """Gather the crops of the first held-out images; images without any sample are left out.

    Args:
        run_dir: where they lie.
        results: the study.
        chosen: rows of its points, to stand beside the references; None for some of the front.
    """
    columns = list(_columns(results, _some_of_front(results) if chosen is None else chosen))
    rows = []
    for image in results.facts.test_images:
        row = CropRow(image=image, crops=tuple(_crop(run_dir, results, image, *column) for column in columns))
        if any(crop.uri for crop in row.crops):
            rows.append(row)
        if len(rows) == MAX_IMAGES:
            break
    return tuple(rows)


def spread(members: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Pick so many rows at even distances, the first and the last among them."""
    if len(members) <= limit:
        return members
    return members.iloc[np.linspace(0, len(members) - 1, limit).round().astype(int)]


def _some_of_front(results: Results) -> pd.DataFrame:
    members = front_of(results.points, results.facts)
    return spread(members[is_of_trial(members) | is_interpolation(members)], MAX_FRONT_MEMBERS)


def _columns(results: Results, chosen: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series | None]]:
    """What stands side by side: title, directory of samples, and the point that they belong to."""
    yield "low quality, as large", "references/lq", None
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
        known = [axis for axis in results.facts.objectives if isinstance(values.get(axis.metric), int | float)]
        scores = ", ".join(f"{metric_name(axis)} {with_unit(values[axis.metric], axis)}" for axis in known)
    uri = embed(run_dir, directory, image) if directory else None
    return Crop(title=title, scores=scores, sample=sample_name(directory, image), uri=uri)


def sample_name(directory: str, image: str) -> str:
    """Name a sample of an image, by which the chart finds what the page holds already."""
    return f"{directory}/{image}"


def embed(run_dir: Path, directory: str, image: str) -> str | None:
    """Read a PNG below the run directory; anything else that a name may point to is treated as missing."""
    path = (run_dir / directory / f"{image}.png").resolve()
    if not path.is_relative_to(run_dir.resolve()) or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    content = path.read_bytes()
    if not content.startswith(_PNG_SIGNATURE):
        return None
    return png_uri(content)


def png_uri(content: bytes) -> str:
    """A PNG file's content as a data URI."""
    return _uri("image/png", content)


def figure_uri(png: Path, svg: Path) -> str:
    """The smaller file of the same figure as a data URI: of many points, that is not the SVG."""
    if png.stat().st_size < svg.stat().st_size:
        return png_uri(png.read_bytes())
    return _uri("image/svg+xml", svg.read_bytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
