"""Pack folders of images into a store: in parallel, resumable, with all problems in one report."""

import errno
import fcntl
import glob
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from study.data.degradations import Bicubic, Degradation, Given, degrade
from study.data.errors import ImageError, raise_problems
from study.data.folder_notes import folder_notes
from study.data.image_files import read_bytes
from study.data.image_set import crop_to_multiple
from study.data.images import decode_image
from study.data.layouts import find_layout
from study.data.paired_files import Item, find_items, size_problems, sizes_match
from study.data.store import Store, open_store, read_rows
from study.data.store_format import (
    Description,
    StoredRow,
    StoreError,
    chain_start,
    next_link,
    record_batch,
    row_values,
)

_SPARE = 2  # images in flight beyond one per thread: decoded, waiting to be written


class PackError(ValueError):
    """Input that cannot be packed; the message lists every problem found and the remedies."""


@dataclass(frozen=True)
class Plan:
    """What will be packed; no image has been decoded yet.

    Attributes:
        description: of the store that will be written.
        degradation: how low-quality images are made.
        items: the images, each with the pieces that become rows, in the order of these.
        problems: of the other images: their names, headers and number; `pack` adds those that decoding shows.
        notes: of the folders (`folder_notes`).
    """

    description: Description
    degradation: Degradation
    items: tuple[Item, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Packed:
    """A finished pack: the store, the number of images packed now, and of those kept from an earlier attempt."""

    store: Store
    new: int
    kept: int


def plan_pack(
    folders: Sequence[Path],
    *,
    scale: int,
    degradation: Degradation | None = None,
    lq: Sequence[Path] = (),
    name: str | None = None,
    seed: int = 0,
) -> Plan:
    """Find everything that is to be packed, without decoding it.

    Args:
        folders, lq, name, scale: as for `layouts.find_layout`.
        degradation: how low-quality images are made; None to use those beside the HR images, or else bicubic.
        seed: of the degradation's random numbers.

    Raises:
        LayoutError: a folder is missing or holds no images.
        PackError: low-quality images are given and a degradation is named.
    """
    if lq and degradation is not None:
        raise PackError("low-quality images are either given or made: name their folders, or a degradation")
    layout = find_layout(folders, scale=scale, lq=lq if degradation is None else None, name=name)
    multiple = layout.known.multiple if layout.known else 1
    least = max(scale, multiple)
    items, problems = find_items(layout, scale=scale, multiple=multiple, least=least, large=True, name=name)
    keys = [piece.key for item in items for piece in item.pieces]
    degradation = Given() if layout.lq else degradation or Bicubic()
    description = Description(
        name=layout.name,
        count=len(keys),
        scale=scale,
        degradation=degradation.model_dump(mode="json"),
        multiple=multiple,
        seed=seed,
    )
    notes = (*folder_notes([*layout.hr, *layout.lq]), *_cut_notes(items))
    return Plan(description, degradation, tuple(items), tuple(problems), notes)


def _cut_notes(items: Iterable[Item]) -> list[str]:
    return [
        f"{item.hr}: cut into {len(item.pieces)} images, {item.pieces[0].key} to {item.pieces[-1].key}."
        for item in items
        if len(item.pieces) > 1
    ]


def pack(plan: Plan, path: Path, *, jobs: int, progress: Callable[[int], None] = lambda _: None) -> Packed:
    """Write a store, or return the one at `path` if it is up to date.

    A stopped pack continues from the images that it had written; the result is the same to the byte. The store
    appears under its name only when it is complete. Where the plan has problems, the other images are prepared all
    the same: one report names every problem, and the next attempt reuses the prepared images.

    Args:
        plan: what to pack.
        path: the store's file.
        jobs: threads that decode, shrink and hash.
        progress: called after each image with the number of finished images.

    Raises:
        PackError: all problems of all files; or `path` holds another store.
        OSError: the disk is full, or may not be written; packed images are kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(path):
        if path.exists():
            raise_problems(PackError, _heading(plan), plan.problems)
            return Packed(_up_to_date(plan, path, jobs), new=0, kept=plan.description.count)
        partial = path.with_name(path.name + ".partial")
        attempts = _attempts(partial)
        kept = _write(plan, partial, attempts, jobs, progress)
        os.replace(partial, path)
        _sync(path.parent)
        return Packed(open_store(path), new=plan.description.count - kept, kept=kept)


def _attempts(partial: Path) -> list[Path]:
    """Rename the output of a stopped pack so that its images can be reused; return all such files."""
    attempts = sorted(partial.parent.glob(f"{glob.escape(partial.name)}-*"))
    if partial.exists():
        attempts.append(partial.with_name(f"{partial.name}-{len(attempts)}"))
        os.replace(partial, attempts[-1])
    return attempts


def _write(plan: Plan, partial: Path, attempts: list[Path], jobs: int, progress: Callable[[int], None]) -> int:
    """Write all rows; return how many were reused from earlier attempts."""
    earlier = {row.values["name"]: row for attempt in attempts for row in _rows_of(plan, attempt)}
    schema = plan.description.schema()
    chain = chain_start(plan.description.metadata())
    problems = list(plan.problems)
    kept = 0
    with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for done, outcome in enumerate(_prepare_all(plan, earlier, jobs), start=1):
            progress(done)
            if isinstance(outcome, str):
                problems.append(outcome)  # continue, so that one report names every problem
                continue
            kept += sum(row.kept for row in outcome)
            chain = _write_rows(writer, schema, outcome, chain)
            outcome.clear()  # the next image may be a large one
    for attempt in attempts:
        attempt.unlink()
    raise_problems(PackError, f"{_heading(plan)} (the others are kept for the next try)", problems)
    _sync(partial)
    return kept


def _write_rows(
    writer: pa.ipc.RecordBatchFileWriter, schema: pa.Schema, rows: Sequence["_Prepared"], chain: str
) -> str:
    """Write rows after the link of the row before; return the link of the last."""
    for row in rows:
        writer.write_batch(record_batch(row.values, row.hr, row.lq, chain, schema))
        chain = next_link(chain, row.values)
    return chain


def _heading(plan: Plan) -> str:
    remedy = "; --degradation bicubic makes the low-quality ones of the HR images"
    return f"{plan.description.name}: these images cannot be packed{remedy * isinstance(plan.degradation, Given)}"


@dataclass(frozen=True)
class _Prepared:
    values: dict[str, Any]
    hr: np.ndarray
    lq: np.ndarray
    kept: bool


def _prepare_all(plan: Plan, earlier: dict[str, StoredRow], jobs: int) -> Iterator[list[_Prepared] | str]:
    """Prepare all images in threads, a few at a time; yield the rows of each, or its problem, in order.

    An image that is cut is prepared while no other one is in memory.
    """
    with _one_torch_thread(), ThreadPoolExecutor(jobs) as threads:
        in_flight: deque[Future[list[_Prepared] | str]] = deque()
        try:
            for item in plan.items:
                alone = len(item.pieces) > 1
                while len(in_flight) >= (1 if alone else jobs + _SPARE):
                    yield in_flight.popleft().result()
                if alone:
                    yield _prepare(plan, item, earlier)
                else:
                    in_flight.append(threads.submit(_prepare, plan, item, earlier))
            while in_flight:
                yield in_flight.popleft().result()
        finally:
            for future in in_flight:
                future.cancel()


def _prepare(plan: Plan, item: Item, earlier: Mapping[str, StoredRow]) -> list[_Prepared] | str:
    try:
        content = read_bytes(item.hr)
        lq_content = None if item.lq is None else read_bytes(item.lq)
        sources = _sources(item, content, lq_content)
        rows = [earlier[piece.key] for piece in item.pieces if piece.key in earlier]
        if len(rows) == len(item.pieces) and all(row.values[name] == sources[name] for row in rows for name in sources):
            return [_Prepared(dict(row.values), row.hr, row.lq, kept=True) for row in rows]
        hr, lq = _pixels(plan, item, content, lq_content)
        if len(item.pieces) == 1:
            return [_row(plan, item.key, hr, lq, sources)]
        if hr.shape[:2] != item.pieces[-1].end:
            raise PackError(f"{item.hr}: EXIF data after the pixels rotate this large image; save it upright")
        scale = plan.description.scale
        parts = [(piece.key, piece.of(hr), None if lq is None else piece.of(lq, scale)) for piece in item.pieces]
        return [_row(plan, key, hr_part, lq_part, sources) for key, hr_part, lq_part in parts]
    except (ImageError, PackError) as error:
        return str(error)


def _row(plan: Plan, key: str, hr: np.ndarray, lq: np.ndarray | None, sources: dict[str, str | None]) -> _Prepared:
    if lq is None:
        scale = plan.description.scale
        seed = int(hashlib.sha256(f"{plan.description.seed}\n{key}".encode()).hexdigest()[:16], 16)
        lq = degrade(crop_to_multiple(hr, scale), scale, plan.degradation, seed=seed)
    return _Prepared(row_values(key, hr, lq, sources), hr, lq, kept=False)


def _sources(item: Item, content: bytes, lq_content: bytes | None) -> dict[str, str | None]:
    return {
        "source": item.hr.name,
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "lq_source": None if item.lq is None else item.lq.name,
        "lq_source_sha256": None if lq_content is None else hashlib.sha256(lq_content).hexdigest(),
    }


def _pixels(plan: Plan, item: Item, content: bytes, lq_content: bytes | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the whole HR image, cropped to the set's multiple, and the low-quality image that is given with it."""
    scale, multiple = plan.description.scale, plan.description.multiple
    whole = decode_image(item.hr, content, large=True)
    hr = crop_to_multiple(whole, multiple)
    if item.lq is None or lq_content is None:
        return hr, None
    lq = decode_image(item.lq, lq_content, large=True)
    problems = size_problems(item, whole.shape[:2], lq.shape[:2], scale, multiple)  # headers may be wrong
    if problems:
        raise PackError(problems[0])
    matching = sizes_match(hr.shape, lq.shape, scale)
    return hr, lq if matching else lq[: hr.shape[0] // scale, : hr.shape[1] // scale]


def _rows_of(plan: Plan, attempt: Path) -> Iterator[StoredRow]:
    """Yield the complete rows of an earlier attempt that made its images in the same way."""
    for description, row in read_rows(attempt):
        if replace(description, name="", count=0) != replace(plan.description, name="", count=0):
            return
        yield row


def _up_to_date(plan: Plan, path: Path, jobs: int) -> Store:
    """Return the finished store if it was packed from these files in this way; raise PackError otherwise."""
    try:
        store = open_store(path)
    except StoreError as error:
        raise PackError(f"{error}; or name another file as --output") from error
    remedy = "name another file as --output, or remove it"
    if store.description != plan.description:
        planned, found = plan.description.metadata(), store.description.metadata()
        differences = [f"{key} {found[key]}, not {planned[key]}" for key in planned if planned[key] != found[key]]
        raise PackError(f"{path}: another store is there ({', '.join(differences)}); {remedy}")
    with ThreadPoolExecutor(jobs) as threads:
        hashes = [row for rows in threads.map(_hashes, plan.items) for row in rows]
    stored = [tuple(row.values[name] for name in ("name", "source_sha256", "lq_source_sha256")) for row in store.rows]
    changed = [found[0] for found, row in zip(hashes, stored, strict=True) if found != row]
    if changed:
        raise PackError(f"{path}: {len(changed)} images have changed since it was packed, {changed[0]} first; {remedy}")
    return store


def _hashes(item: Item) -> list[tuple[str, str | None, str | None]]:
    lq_content = None if item.lq is None else read_bytes(item.lq)
    sources = _sources(item, read_bytes(item.hr), lq_content)
    return [(piece.key, sources["source_sha256"], sources["lq_source_sha256"]) for piece in item.pieces]


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Raise PackError if another process writes this store; the system releases the lock of a process that died."""
    lock = path.with_name(path.name + ".lock")
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise PackError(f"{path}: another process is packing this store; wait for it, or stop it") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let torch use one thread: each worker thread shrinks an image of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
