"""The image store: one Arrow IPC file, mapped into memory, from which patches are cut without decoding anything.

One record batch an image, uncompressed, so that its pixels lie in the file as they are used. They lie in planes
(`images.planar`). Each row's `chain` is the sha256 of the one before and of all the row's values but the pixels
(these stand in it by their digests); the first starts from the schema's metadata. So damage to any value is found
when a store is opened, without reading pixels; damage to pixels is found when an image is first asked for; and the last
link is a checksum of the whole.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from study.data.image_set import TEST_MULTIPLE, ImageSet, LowQuality, crop_to_multiple
from study.data.images import MAX_PIXELS, pixel_digest
from study.data.problems import FileError

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


@dataclass(frozen=True)
class Description:
    """What a store is, known before its first image.

    Attributes:
        name: of the set.
        count: its number of images.
        scale: HR pixels a low-quality pixel.
        degradation: how the low-quality images were made, as plain JSON types with a `kind`.
        multiple: HR images were cropped to multiples of this; 1 for not at all.
        seed: of what is random in the degradation.
    """

    name: str
    count: int
    scale: int
    degradation: Mapping[str, Any]
    multiple: int
    seed: int

    def metadata(self) -> dict[str, str]:
        """The schema's metadata."""
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
        """The Arrow schema of such a store."""
        return _SCHEMA.with_metadata(self.metadata())


def row_values(name: str, hr: np.ndarray, lq: np.ndarray, sources: Mapping[str, str | None]) -> dict[str, Any]:
    """All columns of a row but the pixels and the chain.

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
        "crop_digest": pixel_digest(crop_to_multiple(hr, TEST_MULTIPLE)),
        "lq_height": lq.shape[0],
        "lq_width": lq.shape[1],
        "lq_digest": pixel_digest(lq),
        **sources,
    }


def chain_start(metadata: Mapping[str, str]) -> str:
    """The link before the first row."""
    return _sha256(json.dumps(dict(sorted(metadata.items()))))


def next_link(chain: str, values: Mapping[str, Any]) -> str:
    """The link of a row, from the one before and the row's values."""
    return _sha256(json.dumps([chain, *(values[name] for name, _ in COLUMNS)]))


def record_batch(
    values: Mapping[str, Any], hr: np.ndarray, lq: np.ndarray, chain: str, schema: pa.Schema
) -> pa.RecordBatch:
    """Make the batch of one image; `chain` is the link before it."""
    columns = [pa.array([values[name]], kind) for name, kind in COLUMNS]
    columns.append(pa.array([next_link(chain, values)], pa.string()))
    columns += [_pixels(hr), _pixels(lq)]
    return pa.record_batch(columns, schema=schema)


def open_store(path: Path | str) -> "Store":
    """Map a store into memory and check all of it but the pixels.

    Raises:
        StoreError: it is missing, no store, cut short, damaged, or of a newer format.
    """
    path = Path(path)
    reader = _reader(path)
    description = _description(path, reader.schema)
    if reader.num_record_batches != description.count:
        raise _damaged(path, f"it has {reader.num_record_batches} images of {description.count}")
    rows = list(_rows(path, reader, description))
    return Store(path, description, tuple(rows))


@dataclass(frozen=True)
class StoredRow:
    """A row of an open store: its values, and its pixels where they lie in the file."""

    values: Mapping[str, Any]
    chain: str
    hr: np.ndarray
    lq: np.ndarray


@dataclass(frozen=True, eq=False)
class Store:
    """An open store.

    Attributes:
        path: its file.
        description: what it is.
        rows: of its images, in the order of their names.
    """

    path: Path
    description: Description
    rows: tuple[StoredRow, ...] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The images' keys."""
        return tuple(row.values["name"] for row in self.rows)

    @property
    def checksum(self) -> str:
        """The sha256 (hex) of everything in the store, by its chain."""
        return self.rows[-1].chain if self.rows else chain_start(self.description.metadata())

    @cached_property
    def images(self) -> "StoredImages":
        """The HR images."""
        return StoredImages(self, "")

    @cached_property
    def lq(self) -> "StoredImages":
        """The low-quality images."""
        return StoredImages(self, "lq_")

    def image_set(self) -> ImageSet:
        """The store as a set to train on or to evaluate on; its fingerprint is that of the folder it was packed from."""
        made_by = self.description.degradation
        exact, given = made_by["kind"] == "bicubic", made_by["kind"] == "given"
        lq = LowQuality(self.description.scale, self.lq, exact, {} if given else made_by)
        return ImageSet(self.description.name, self.names, self.images, lq)


class StoredImages(Sequence[np.ndarray]):
    """The HR or the low-quality images of a store: views of the mapped file, each verified when first asked for."""

    def __init__(self, store: Store, side: str) -> None:
        """Take the columns of one side: prefix `` or `lq_`."""
        self._store, self._side = store, side
        self._pixels = [row.lq if side else row.hr for row in store.rows]
        self._verified = [False] * len(store.rows)

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each."""
        return tuple((pixels.shape[0], pixels.shape[1]) for pixels in self._pixels)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The sha256 (hex) of each one's pixels, as stored."""
        return tuple(row.values[f"{self._side}digest"] for row in self._store.rows)

    @cached_property
    def crop_digests(self) -> tuple[str, ...]:
        """The same of their crops to multiples of 12; of HR images as stored."""
        if self._side:
            return tuple(pixel_digest(crop_to_multiple(image, TEST_MULTIPLE)) for image in self)
        return tuple(row.values["crop_digest"] for row in self._store.rows)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        """View an image, (H, W, 3) uint8, read-only; StoreError if its pixels are not those that were packed."""
        pixels = self._pixels[index]
        if not self._verified[index]:
            self._verify(index, pixels)
        return pixels

    def _verify(self, index: int, pixels: np.ndarray) -> None:
        if pixel_digest(pixels) != self.digests[index]:
            side = "low-quality" if self._side else "HR"
            raise _damaged(self._store.path, f"the pixels of {self._store.names[index]} ({side}) have changed")
        self._verified[index] = True


def verify(path: Path | str) -> Iterator[str]:
    """Read all of a store; yields the problem of each damaged image, or "" for one that is whole.

    Raises:
        StoreError: as `open_store`.
    """
    store = open_store(path)
    for index in range(len(store.rows)):
        yield "; ".join(problem for side in (store.images, store.lq) if (problem := _problem(side, index)))


def read_rows(path: Path) -> Iterator[tuple[Description, StoredRow]]:
    """Read the whole rows at the beginning of a store whose writing was cut off; ends where they end being whole."""
    try:
        with pa.memory_map(str(path)) as source:
            source.seek(8)  # the file format is the stream format between a magic number and a footer
            reader = pa.ipc.open_stream(source)
            description = _description(path, reader.schema)
            chain = chain_start(description.metadata())
            for batch in reader:
                row = _row(path, batch, chain)
                chain = row.chain
                if pixel_digest(row.hr) != row.values["digest"] or pixel_digest(row.lq) != row.values["lq_digest"]:
                    return
                yield description, row
    except (pa.ArrowException, OSError, StoreError):
        return


def _reader(path: Path) -> pa.ipc.RecordBatchFileReader:
    if not path.is_file():
        raise StoreError(path, "there is no such store; check the path, or pack one: study/prepare.py pack")
    if path.stat().st_size == 0:
        raise StoreError(path, "the file is empty (0 bytes); pack it again")
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic != b"ARROW1":
            raise StoreError(
                path, "this is no image store; pack the images first: study/prepare.py pack DIR --out STORE"
            )
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowException, OSError) as error:
        remedy = "its end is missing or damaged: copy it again, or remove it and pack it again"
        raise StoreError(path, f"the store was cut short ({_first_line(error)}); {remedy}") from error


def _description(path: Path, schema: pa.Schema) -> Description:
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise _damaged(path, "its description is not text") from error
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
        raise _damaged(path, "its description is incomplete") from error
    if schema.remove_metadata() != _SCHEMA or description.metadata() != metadata:
        raise _damaged(path, "its description is not that of a store")
    if not 1 <= description.scale <= _LARGEST_SCALE or description.multiple < 1:
        raise _damaged(path, f"scale {description.scale} and multiple {description.multiple} cannot be")
    return description


def _rows(path: Path, reader: pa.ipc.RecordBatchFileReader, description: Description) -> Iterator[StoredRow]:
    chain = chain_start(description.metadata())
    last = ""
    for index in range(reader.num_record_batches):
        try:
            batch = reader.get_batch(index)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, f"image {index} cannot be read ({_first_line(error)})") from error
        row = _row(path, batch, chain)
        _check_row(path, row, description, last)
        chain, last = row.chain, row.values["name"]
        yield row


def _row(path: Path, batch: pa.RecordBatch, chain: str) -> StoredRow:
    """Take a row apart and make sure that it follows on the link before."""
    try:
        batch.validate(full=True)
        if batch.num_rows != 1:
            raise ValueError(f"{batch.num_rows} rows")
        values = {name: batch.column(index)[0].as_py() for index, (name, _) in enumerate(COLUMNS)}
        link = batch.column("chain")[0].as_py()
        if link != next_link(chain, values):
            raise ValueError(f"the row of {values['name']!r} has changed")
        hr = _planes(batch.column("hr"), values["height"], values["width"])
        lq = _planes(batch.column("lq"), values["lq_height"], values["lq_width"])
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise _damaged(path, _first_line(error)) from error
    return StoredRow(values, link, hr, lq)


def _check_row(path: Path, row: StoredRow, description: Description, last: str) -> None:
    """What no packing of ours writes, though its chain be right: a store is untrusted input."""
    name = row.values["name"]
    if problem := name_problem(name):
        raise StoreError(path, f"the image name {name!r} {problem}; pack the images again")
    if name <= last:
        raise _damaged(path, f"{name!r} comes after {last!r}: the images are not in the order of their names")
    if not fits(row.hr.shape, row.lq.shape, description.scale):
        raise _damaged(path, f"the sizes of {name} do not fit: {row.hr.shape} and {row.lq.shape}")


def name_problem(name: str) -> str:
    """What is wrong with an image's name; "" for nothing. Names become file names in reports."""
    if not name or name.strip(".") == "" or ".." in name:
        return "is empty or contains '..'"
    if any(character in "/\\" or not character.isprintable() for character in name):
        return "contains a path separator or a control character"
    return ""


def fits(hr: tuple[int, ...], lq: tuple[int, ...], scale: int) -> bool:
    """Whether low-quality sides are HR's divided by the scale, rounded down (ours) or up (MATLAB's imresize)."""
    return any(
        all(low == round_(high / scale) for high, low in zip(hr[:2], lq[:2], strict=True))
        for round_ in (math.floor, math.ceil)
    )


def _planes(column: pa.BinaryArray, height: int, width: int) -> np.ndarray:
    """View a row's pixels as (height, width, 3), without copying them."""
    _, offsets, data = column.buffers()  # the column's own scalars would be copies
    start, end = np.frombuffer(offsets, np.int32)[column.offset : column.offset + 2].tolist()
    if height < 1 or width < 1 or height * width > MAX_PIXELS or end - start != 3 * height * width:
        raise ValueError(f"{end - start} bytes are no image of {width} x {height} px")
    return np.frombuffer(data, np.uint8, count=end - start, offset=start).reshape(3, height, width).transpose(1, 2, 0)


def _pixels(image: np.ndarray) -> pa.BinaryArray:
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    offsets = np.array([0, planes.size], np.int32)
    return pa.BinaryArray.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(planes)])


def _problem(images: StoredImages, index: int) -> str:
    try:
        images[index]
    except StoreError as error:
        return error.problem
    return ""


def _damaged(path: Path, problem: str) -> StoreError:
    return StoreError(path, f"the store is damaged: {problem}; copy it again, or remove it and pack it again")


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
