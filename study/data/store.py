"""Read an image store: one file, mapped into memory, from which patches are cut without decoding (`store_format`)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from study.data.image_set import Images, ImageSet, LowQuality
from study.data.images import pixel_digest
from study.data.store_format import (
    Description,
    StoredRow,
    StoreError,
    chain_start,
    check_row,
    damaged,
    first_line,
    parse_description,
    parse_row,
)


def open_store(path: Path | str) -> "Store":
    """Map a store into memory and check all of it but the pixels.

    Raises:
        StoreError: it is missing, no store, cut short, damaged, or of a newer format.
    """
    path = Path(path)
    reader = _reader(path)
    description = parse_description(path, reader.schema)
    if reader.num_record_batches != description.count:
        raise damaged(path, f"it has {reader.num_record_batches} images of {description.count}")
    rows = list(_rows(path, reader, description))
    return Store(path, description, tuple(rows))


@dataclass(frozen=True, eq=False)
class Store:
    """An open store.

    Attributes:
        path: its file.
        description: what it contains.
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
        """The sha256 (hex) of everything in the store: the last link of its chain."""
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
        """Return the store's images as a set, whose fingerprint is that of the folder it was packed from."""
        made_by = self.description.degradation
        exact, given = made_by["kind"] == "bicubic", made_by["kind"] == "given"
        lq = LowQuality(self.description.scale, self.lq, exact, {} if given else made_by)
        return ImageSet(self.description.name, self.names, self.images, lq)


class StoredImages(Images):
    """The HR or the low-quality images of a store: views of the mapped file, each verified at its first access."""

    def __init__(self, store: Store, side: str) -> None:
        """Use the columns of one side: prefix "" for HR, "lq_" for low quality."""
        self._store, self._side = store, side
        self._pixels = [row.lq if side else row.hr for row in store.rows]
        self._verified = [False] * len(store.rows)
        self.shapes = tuple((pixels.shape[0], pixels.shape[1]) for pixels in self._pixels)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The sha256 (hex) of each one's pixels, as stored."""
        return tuple(row.values[f"{self._side}digest"] for row in self._store.rows)

    @cached_property
    def crop_digests(self) -> tuple[str, ...]:
        """The same of their crops to multiples of CROP_MULTIPLE; for low-quality images computed, not stored."""
        return super().crop_digests if self._side else tuple(row.values["crop_digest"] for row in self._store.rows)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        """View an image, (H, W, 3) uint8, read-only; StoreError if its pixels are not those that were packed."""
        pixels = self._pixels[index]
        if not self._verified[index]:
            if pixel_digest(pixels) != self.digests[index]:
                side = "low-quality" if self._side else "HR"
                raise damaged(self._store.path, f"the pixels of {self._store.names[index]} ({side}) have changed")
            self._verified[index] = True
        return pixels


def verify(path: Path | str) -> Iterator[str]:
    """Read all pixels of a store; yield the problem of each damaged image, and "" for each intact one.

    Raises:
        StoreError: as `open_store`.
    """
    store = open_store(path)
    for index in range(len(store.rows)):
        yield "; ".join(problem for side in (store.images, store.lq) if (problem := _problem(side, index)))


def read_rows(path: Path) -> Iterator[tuple[Description, StoredRow]]:
    """Yield the intact rows at the beginning of a store whose writing was cut off, up to the first damaged one."""
    try:
        with pa.memory_map(str(path)) as source:
            source.seek(8)  # the file format is the stream format between a magic number and a footer
            reader = pa.ipc.open_stream(source)
            description = parse_description(path, reader.schema)
            chain = chain_start(description.metadata())
            for batch in reader:
                row = parse_row(path, batch, chain)
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
            remedy = "pack the images first: study/prepare.py pack DIR --output STORE"
            raise StoreError(path, f"this is no image store; {remedy}")
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except (pa.ArrowException, OSError) as error:
        remedy = "its end is missing or damaged: copy it again, or remove it and pack it again"
        raise StoreError(path, f"the store was cut short ({first_line(error)}); {remedy}") from error


def _rows(path: Path, reader: pa.ipc.RecordBatchFileReader, description: Description) -> Iterator[StoredRow]:
    chain = chain_start(description.metadata())
    last = ""
    for index in range(reader.num_record_batches):
        try:
            batch = reader.get_batch(index)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, f"image {index} cannot be read ({first_line(error)})") from error
        row = parse_row(path, batch, chain)
        check_row(path, row, description, last)
        chain, last = row.chain, row.values["name"]
        yield row


def _problem(images: StoredImages, index: int) -> str:
    try:
        images[index]
    except StoreError as error:
        return error.problem
    return ""
