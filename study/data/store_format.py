"""The format of an image store: its columns, its description, and the chain of hashes over its rows.

A store is one Arrow IPC file with one uncompressed record batch per image, so that the pixels in the file can be used
in place, as planes (`images.planar`). Each row's `chain` is the sha256 of the previous link and of all the row's values
but the pixels (which the values include by their digests); the first link starts from the schema's metadata. So
opening a store detects damage to any value without reading pixels, the first access to an image detects damage to its
pixels, and the last link is a checksum of the whole store.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from study.data.errors import FileError
from study.data.image_set import CROP_MULTIPLE, crop_to_multiple
from study.data.images import MAX_PIXELS, pixel_digest
from study.data.paired_files import name_problem, sizes_match

FORMAT = "aesop-study-store"
VERSION = 1

_LARGEST_SCALE = 8

COLUMNS = (
    ("name", pa.string()),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("digest", pa.string()),
    ("crop_digest", pa.string()),
    ("lq_height", pa.int32()),
    ("lq_width", pa.int32()),
    ("lq_digest", pa.string()),
    ("source", pa.string()),
    ("source_sha256", pa.string()),
    ("lq_source", pa.string()),
    ("lq_source_sha256", pa.string()),
)
_SCHEMA = pa.schema([*COLUMNS, ("chain", pa.string()), ("hr", pa.binary()), ("lq", pa.binary())])


class StoreError(FileError):
    """A store that cannot be used."""


def damaged(path: Path, problem: str) -> StoreError:
    """Return the error for a damaged store."""
    return StoreError(path, f"the store is damaged: {problem}; copy it again, or remove it and pack it again")


@dataclass(frozen=True)
class Description:
    """What a store contains, without its images.

    Attributes:
        name: of the set.
        count: its number of images.
        scale: HR pixels per low-quality pixel.
        degradation: how the low-quality images were made, as plain JSON types with a `kind`.
        multiple: HR images were cropped to multiples of this; 1 if they were not cropped.
        seed: of the degradation's random numbers.
    """

    name: str
    count: int
    scale: int
    degradation: Mapping[str, Any]
    multiple: int
    seed: int

    def metadata(self) -> dict[str, str]:
        """Return the schema's metadata."""
        return {
            "format": FORMAT,
            "version": str(VERSION),
            "set": self.name,
            "count": str(self.count),
            "scale": str(self.scale),
            "degradation": json.dumps(self.degradation, sort_keys=True),
            "multiple": str(self.multiple),
            "seed": str(self.seed),
        }

    def schema(self) -> pa.Schema:
        """Return the Arrow schema of such a store."""
        return _SCHEMA.with_metadata(self.metadata())


@dataclass(frozen=True)
class StoredRow:
    """A row of a store: its values, its link of the chain, and views of its pixels in the file."""

    values: Mapping[str, Any]
    chain: str
    hr: np.ndarray
    lq: np.ndarray


def row_values(name: str, hr: np.ndarray, lq: np.ndarray, sources: Mapping[str, str | None]) -> dict[str, Any]:
    """Return all columns of a row but the pixels and the chain.

    Args:
        name: the image's key.
        hr, lq: (H, W, 3) uint8.
        sources: `source`, `source_sha256`, `lq_source`, `lq_source_sha256`: the files' names and the hashes of their
            bytes; None for a low-quality image that was made.
    """
    return {
        "name": name,
        "height": hr.shape[0],
        "width": hr.shape[1],
        "digest": pixel_digest(hr),
        "crop_digest": pixel_digest(crop_to_multiple(hr, CROP_MULTIPLE)),
        "lq_height": lq.shape[0],
        "lq_width": lq.shape[1],
        "lq_digest": pixel_digest(lq),
        **sources,
    }


def chain_start(metadata: Mapping[str, str]) -> str:
    """Return the link before the first row."""
    return _sha256(json.dumps(dict(sorted(metadata.items()))))


def next_link(chain: str, values: Mapping[str, Any]) -> str:
    """Return a row's link from the previous link and the row's values."""
    return _sha256(json.dumps([chain, *(values[name] for name, _ in COLUMNS)]))


def record_batch(
    values: Mapping[str, Any], hr: np.ndarray, lq: np.ndarray, chain: str, schema: pa.Schema
) -> pa.RecordBatch:
    """Return the record batch of one image; `chain` is the link before it."""
    columns = [pa.array([values[name]], kind) for name, kind in COLUMNS]
    columns.append(pa.array([next_link(chain, values)], pa.string()))
    columns += [_to_binary(hr), _to_binary(lq)]
    return pa.record_batch(columns, schema=schema)


def parse_description(path: Path, schema: pa.Schema) -> Description:
    """Read a store's description from its schema; StoreError if it is no store, damaged, or of a newer format."""
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise damaged(path, "its description is not text") from error
    if metadata.get("format") != FORMAT:
        raise StoreError(path, "this Arrow file is no image store; pack the images first: study/prepare.py pack")
    version = metadata.get("version", "")
    if version.isdecimal() and int(version) > VERSION:
        problem = f"it was written by a newer version of AESOP Study (format {version}, this one reads {VERSION})"
        raise StoreError(path, f"{problem}; update this installation, or pack the images again with it")
    try:
        description = Description(
            name=metadata["set"],
            count=int(metadata["count"]),
            scale=int(metadata["scale"]),
            degradation=json.loads(metadata["degradation"]),
            multiple=int(metadata["multiple"]),
            seed=int(metadata["seed"]),
        )
        if not isinstance(description.degradation["kind"], str):
            raise TypeError("kind")
    except (KeyError, ValueError, TypeError) as error:
        raise damaged(path, "its description is incomplete") from error
    if schema.remove_metadata() != _SCHEMA or description.metadata() != metadata:
        raise damaged(path, "its description is not that of a store")
    if not 1 <= description.scale <= _LARGEST_SCALE or description.multiple < 1:
        raise damaged(path, f"scale {description.scale} and multiple {description.multiple} cannot be")
    return description


def parse_row(path: Path, batch: pa.RecordBatch, chain: str) -> StoredRow:
    """Read a record batch; StoreError if it does not continue the chain or its pixels do not match its sizes."""
    try:
        batch.validate(full=True)
        if batch.num_rows != 1:
            raise ValueError(f"{batch.num_rows} rows")
        values = {name: batch.column(index)[0].as_py() for index, (name, _) in enumerate(COLUMNS)}
        link = batch.column("chain")[0].as_py()
        if link != next_link(chain, values):
            raise ValueError(f"the row of {values['name']!r} has changed")
        hr = _from_binary(batch.column("hr"), values["height"], values["width"])
        lq = _from_binary(batch.column("lq"), values["lq_height"], values["lq_width"])
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise damaged(path, first_line(error)) from error
    return StoredRow(values, link, hr, lq)


def check_row(path: Path, row: StoredRow, description: Description, last: str) -> None:
    """Raise StoreError for a row that `packing` never writes, even with a valid chain: a store is untrusted input.

    last: the name of the row before.
    """
    name = row.values["name"]
    if problem := name_problem(name):
        raise StoreError(path, f"the image name {name!r} {problem}; pack the images again")
    if name <= last:
        raise damaged(path, f"{name!r} comes after {last!r}: the images are not in the order of their names")
    if not sizes_match(row.hr.shape, row.lq.shape, description.scale):
        raise damaged(path, f"the sizes of {name} do not fit: {row.hr.shape} and {row.lq.shape}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _from_binary(column: pa.BinaryArray, height: int, width: int) -> np.ndarray:
    """View a row's pixels as (height, width, 3), without copying them."""
    _, offsets, data = column.buffers()  # the column's own scalars would be copies
    start, end = np.frombuffer(offsets, np.int32)[column.offset : column.offset + 2].tolist()
    if height < 1 or width < 1 or height * width > MAX_PIXELS or end - start != 3 * height * width:
        raise ValueError(f"{end - start} bytes are no image of {width} x {height} px")
    return np.frombuffer(data, np.uint8, count=end - start, offset=start).reshape(3, height, width).transpose(1, 2, 0)


def _to_binary(image: np.ndarray) -> pa.BinaryArray:
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    offsets = np.array([0, planes.size], np.int32)
    return pa.BinaryArray.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(planes)])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
