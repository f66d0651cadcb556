"""Packs folders of images into a store: all problems first, then in parallel, resumable, and whole or not at all."""

import errno
import fcntl
import glob
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from study.data.degradations import Bicubic, Degradation, Given, degrade
from study.data.image_set import crop_to_multiple
from study.data.images import ImageError, decode_image, list_images, read_bytes, read_size
from study.data.layouts import CUSTOM, Layout, find_layout, lq_key, strip_key
from study.data.problems import refuse
from study.data.store import (
    Description,
    Store,
    StoredRow,
    StoreError,
    chain_start,
    fits,
    name_problem,
    next_link,
    open_store,
    read_rows,
    record_batch,
    row_values,
)

_SPARE = 2  # images in flight beyond one a thread: decoded, waiting for their turn to be written


class PackError(ValueError):
    """Input that cannot be packed; the message lists every problem found and the remedies."""


@dataclass(frozen=True)
class Item:
    """One image to pack: its key, its file, and that of its low-quality version if there is one."""

    key: str
    hr: Path
    lq: Path | None


@dataclass(frozen=True)
class Plan:
    """What will be packed: nothing of it has been decoded yet.

    Attributes:
        description: of the store to be.
        degradation: how low-quality images are made.
        items: the images, in the order of their keys.
        problems: what is wrong with the others, by their names, headers and number; `pack` adds what it finds.
    """

    description: Description
    degradation: Degradation
    items: tuple[Item, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Packed:
    """A finished pack: the store, how many of its images were packed just now, how many were there from before."""

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
    """Look at everything that is to be packed, without decoding it.

    Args:
        folders, lq, name, scale: as for `layouts.find_layout`.
        degradation: how low-quality images are made; None to take those that lie beside the HR images, or else bicubic.
        seed: of what is random in it.

    Raises:
        LayoutError: there are no images where they should be.
        PackError: low-quality images are given and a degradation is named.
    """
    if lq and degradation is not None:
        raise PackError("low-quality images are either given or made: name their folders, or a degradation")
    layout = find_layout(folders, scale=scale, lq=lq if degradation is None else None, name=name)
    items, problems = _pair(layout)
    problems += _count_problems(layout, len(items), name)
    multiple = layout.known.multiple if layout.known else 1
    sound = []
    for item in items:
        of_item = _header_problems(item, scale, multiple)
        problems += of_item
        if not of_item and (item.lq is not None or not layout.lq):
            sound.append(item)
    degradation = Given() if layout.lq else degradation or Bicubic()
    description = Description(
        name=layout.name,
        count=len(sound),
        scale=scale,
        degradation=degradation.model_dump(mode="json"),
        multiple=multiple,
        seed=seed,
    )
    return Plan(description, degradation, tuple(sound), tuple(sorted(problems)))


def pack(plan: Plan, path: Path, *, jobs: int, progress: Callable[[int], None] = lambda _: None) -> Packed:
    """Write a store, or find that it is there already.

    A pack that was stopped, in whatever way, goes on from the images that it had written; the result is the
    same to the byte. The store appears under its name only when it is whole. Where the plan has problems, the other
    images are prepared all the same: one report names all that is wrong, and what was done is kept for the next try.

    Args:
        plan: what to pack.
        path: the store's file.
        jobs: threads that decode, shrink and hash.
        progress: called after each image with the number of those done.

    Raises:
        PackError: all problems of all files; or `path` holds another store.
        OSError: the disk is full, or may not be written; what was packed is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _only_packer(path):
        if path.exists():
            refuse(PackError, _heading(plan), plan.problems)
            return Packed(_up_to_date(plan, path, jobs), new=0, kept=len(plan.items))
        partial = path.with_name(path.name + ".partial")
        attempts = _attempts(partial)
        kept = _write(plan, partial, attempts, jobs, progress)
        os.replace(partial, path)
        _sync_folder(path.parent)
        return Packed(open_store(path), new=len(plan.items) - kept, kept=kept)


def _pair(layout: Layout) -> tuple[list[Item], list[str]]:
    """Give each HR file its key and its low-quality file, if it has one; also what is wrong with the names."""
    hr, problems = _by_key(layout.hr, strip_key)
    lq, of_lq = _by_key(layout.lq, lambda stem: lq_key(stem, hr))
    problems += of_lq
    if layout.lq:
        problems += [f"{hr[key]}: no low-quality image of that name; add it, or remove this" for key in hr.keys() - lq]
        problems += [f"{lq[key]}: no HR image of that name; add it, or remove this" for key in lq.keys() - hr]
    return [Item(key, path, lq.get(key)) for key, path in sorted(hr.items())], problems


def _by_key(folders: Iterable[Path], key_of: Callable[[str], str]) -> tuple[dict[str, Path], list[str]]:
    keyed: dict[str, Path] = {}
    problems = []
    for folder in folders:
        for path in list_images(folder):
            key = key_of(path.stem)
            if problem := name_problem(key):
                problems.append(f"{str(path)!r}: the name {problem}; rename it")
            elif key in keyed:
                problems.append(f"{path}: the same image name as {keyed[key]} ({key!r}); rename or remove one")
            else:
                keyed[key] = path
    return keyed, problems


def _count_problems(layout: Layout, count: int, name: str | None) -> list[str]:
    if layout.known is None or layout.known.count == count or name == CUSTOM:
        return []
    return [
        f"{layout.known.name} has {layout.known.count} images, but {count} were found; complete it, or pack what there "
        f"is under no known name: --set {CUSTOM}"
    ]


def _header_problems(item: Item, scale: int, multiple: int) -> list[str]:
    """What the headers of an image's files say: unreadable, too small, sizes that do not fit."""
    try:
        hr = read_size(item.hr)
        lq = None if item.lq is None else read_size(item.lq)
    except ImageError as error:
        return [str(error)]
    return _size_problems(item, hr, lq, scale, multiple)


def _size_problems(item: Item, hr: tuple[int, int], lq: tuple[int, int] | None, scale: int, multiple: int) -> list[str]:
    least = max(scale, multiple)
    if min(hr) < least:
        return [f"{item.hr}: {hr[1]} x {hr[0]} px, but both sides must have at least {least} px; remove it"]
    cropped = (hr[0] // multiple * multiple, hr[1] // multiple * multiple)
    if lq is None or fits(cropped, lq, scale) or fits(hr, lq, scale):
        return []
    others = [
        other for other in (1, 2, 3, 4, 8) if other != scale and (fits(hr, lq, other) or fits(cropped, lq, other))
    ]
    hint = f"it would fit scale {others[0]}" if others else "no scale would fit"
    return [
        f"{item.lq}: {lq[1]} x {lq[0]} px is not {item.hr.name} ({hr[1]} x {hr[0]} px) at scale {scale}: {hint}; "
        f"pack one scale at a time (--scale), or remove the low-quality images to have them made"
    ]


def _attempts(partial: Path) -> list[Path]:
    """Put what a stopped pack had written aside, to take its images over; returns all that is there of this kind."""
    attempts = sorted(partial.parent.glob(f"{glob.escape(partial.name)}-*"))
    if partial.exists():
        attempts.append(partial.with_name(f"{partial.name}-{len(attempts)}"))
        os.replace(partial, attempts[-1])
    return attempts


def _write(plan: Plan, partial: Path, attempts: list[Path], jobs: int, progress: Callable[[int], None]) -> int:
    """Write all rows; returns how many were taken over from earlier attempts."""
    earlier = {row.values["name"]: row for attempt in attempts for row in _rows_of(plan, attempt)}
    schema = plan.description.schema()
    chain = chain_start(plan.description.metadata())
    problems = list(plan.problems)
    kept = 0
    with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for done, outcome in enumerate(_prepared(plan, earlier, jobs), start=1):
            progress(done)
            if isinstance(outcome, str):
                problems.append(outcome)  # go on: one report shall name all, and the good ones are kept for the next
                continue
            writer.write_batch(record_batch(outcome.values, outcome.hr, outcome.lq, chain, schema))
            chain = next_link(chain, outcome.values)
            kept += outcome.kept
    for attempt in attempts:
        attempt.unlink()
    refuse(PackError, f"{_heading(plan)} (the others are kept for the next try)", problems)
    _sync(partial)
    return kept


def _heading(plan: Plan) -> str:
    return f"{plan.description.name}: these images cannot be packed"


@dataclass(frozen=True)
class _Prepared:
    values: dict[str, Any]
    hr: np.ndarray
    lq: np.ndarray
    kept: bool


def _prepared(plan: Plan, earlier: dict[str, StoredRow], jobs: int) -> Iterator[_Prepared | str]:
    """Prepare all images in threads, a few at a time; gives them, or what is wrong with them, in order."""
    with _one_torch_thread(), ThreadPoolExecutor(jobs) as threads:
        in_flight: deque[Future[_Prepared | str]] = deque()
        try:
            for item in plan.items:
                in_flight.append(threads.submit(_prepare, plan, item, earlier.get(item.key)))
                if len(in_flight) >= jobs + _SPARE:
                    yield in_flight.popleft().result()
            while in_flight:
                yield in_flight.popleft().result()
        finally:
            for future in in_flight:
                future.cancel()


def _prepare(plan: Plan, item: Item, earlier: StoredRow | None) -> _Prepared | str:
    try:
        content = read_bytes(item.hr)
        lq_content = None if item.lq is None else read_bytes(item.lq)
        sources = _sources(item, content, lq_content)
        if earlier is not None and all(earlier.values[name] == value for name, value in sources.items()):
            return _Prepared(dict(earlier.values), earlier.hr, earlier.lq, kept=True)
        hr, lq = _pixels(plan, item, content, lq_content)
    except (ImageError, PackError) as error:
        return str(error)
    return _Prepared(row_values(item.key, hr, lq, sources), hr, lq, kept=False)


def _sources(item: Item, content: bytes, lq_content: bytes | None) -> dict[str, str | None]:
    return {
        "source": item.hr.name,
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "lq_source": None if item.lq is None else item.lq.name,
        "lq_source_sha256": None if lq_content is None else hashlib.sha256(lq_content).hexdigest(),
    }


def _pixels(plan: Plan, item: Item, content: bytes, lq_content: bytes | None) -> tuple[np.ndarray, np.ndarray]:
    scale, multiple = plan.description.scale, plan.description.multiple
    whole = decode_image(item.hr, content)
    hr = crop_to_multiple(whole, multiple)
    if item.lq is not None and lq_content is not None:
        lq = decode_image(item.lq, lq_content)
        problems = _size_problems(item, whole.shape[:2], lq.shape[:2], scale, multiple)  # the headers may have lied
        if problems:
            raise PackError(problems[0])
        return hr, lq if fits(hr.shape, lq.shape, scale) else lq[: hr.shape[0] // scale, : hr.shape[1] // scale]
    seed = int(hashlib.sha256(f"{plan.description.seed}\n{item.key}".encode()).hexdigest()[:16], 16)
    return hr, degrade(crop_to_multiple(hr, scale), scale, plan.degradation, seed=seed)


def _rows_of(plan: Plan, attempt: Path) -> Iterator[StoredRow]:
    """The whole rows of an earlier attempt that made its images in the same way."""
    for description, row in read_rows(attempt):
        if replace(description, name="", count=0) != replace(plan.description, name="", count=0):
            return
        yield row


def _up_to_date(plan: Plan, path: Path, jobs: int) -> Store:
    """The finished store, if it was packed from these very files in this very way; PackError otherwise."""
    try:
        store = open_store(path)
    except StoreError as error:
        raise PackError(f"{error}; or name another file as --out") from error
    remedy = "name another file as --out, or remove it"
    if store.description != plan.description:
        mine, theirs = plan.description.metadata(), store.description.metadata()
        told = ", ".join(f"{key} {theirs[key]}, not {mine[key]}" for key in mine if mine[key] != theirs[key])
        raise PackError(f"{path}: another store is there ({told}); {remedy}")
    with ThreadPoolExecutor(jobs) as threads:
        found = list(threads.map(_hashes, plan.items))
    stored = [tuple(row.values[name] for name in ("name", "source_sha256", "lq_source_sha256")) for row in store.rows]
    changed = [item.key for item, hashes, row in zip(plan.items, found, stored, strict=True) if hashes != row]
    if changed:
        raise PackError(f"{path}: {len(changed)} images have changed since it was packed, {changed[0]} first; {remedy}")
    return store


def _hashes(item: Item) -> tuple[str, str | None, str | None]:
    lq_content = None if item.lq is None else read_bytes(item.lq)
    sources = _sources(item, read_bytes(item.hr), lq_content)
    return item.key, sources["source_sha256"], sources["lq_source_sha256"]


@contextmanager
def _only_packer(path: Path) -> Iterator[None]:
    """Refuse to write a store that another process is writing; the system takes the lock back from a dead one."""
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
    """Images are shrunk one to a thread, so that each needs a core only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
