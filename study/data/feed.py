"""Deliver batches without making a training step wait: prefetched by a thread, or cut on the device itself."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from study.data.batches import Batches, Cut
from study.data.bicubic import to_float
from study.data.image_set import Images
from study.data.pairs import Pairs

_PREFETCH = 3
"""Batches in flight: one in training, one ready, one being made."""

RESIDENT_SHARE = 0.25
"""A training set that needs at most this share of a GPU's free memory is held there."""

Batch = tuple[Tensor, Tensor]


@contextmanager
def feed(
    batches: Batches, steps: range, device: torch.device, *, rank: int = 0, ranks: int = 1
) -> Iterator[Iterator[Batch]]:
    """Yield an iterator over the batches of successive steps on a device.

    A set that fits into a quarter of a GPU's free memory is held there as uint8 and cut there; otherwise a thread
    prefetches on the CPU. Both give the numbers of `Batches.at`; but patches that are degraded anew in each step are
    degraded on the device, whose rounding may differ.

    Args:
        batches: the source.
        steps: in order.
        device: of (lq, hr).
        rank, ranks: as for `Batches`.

    Yields:
        An iterator over (lq, hr), float32 in [0, 1]. It raises the errors of reading an image (a damaged store).
    """
    if device.type == "cuda" and (
        batches.pairs in _resident_sets or fits_on_device(batches, torch.cuda.mem_get_info(device)[0])
    ):
        resident = ResidentBatches(batches, device)
        yield (resident.at(step, rank=rank, ranks=ranks) for step in steps)
        return
    with closing(_prefetch(batches, steps, device, rank, ranks)) as prefetched:
        yield prefetched


def fits_on_device(batches: Batches, free_bytes: int) -> bool:
    """Return whether the images take at most RESIDENT_SHARE of a device's free memory."""
    shapes = batches.pairs.hr.shapes + batches.pairs.lq.shapes
    return sum(3 * height * width for height, width in shapes) <= RESIDENT_SHARE * free_bytes


class ResidentBatches:
    """The batches of a `Batches`, cut on a device that holds all images as uint8.

    The images stay on the device as long as their `Pairs` exists, for all stages and trials that train on them.
    """

    def __init__(self, batches: Batches, device: torch.device) -> None:
        """Copy the images to the device unless they are there already."""
        self._batches = batches
        self._lq, self._hr = _resident(batches.pairs, device)

    def at(self, step: int, *, rank: int = 0, ranks: int = 1) -> Batch:
        """Return the batch of `Batches.at`, on the device."""
        cuts = self._batches.cuts(step, rank=rank, ranks=ranks)
        scale = self._batches.pairs.scale
        side = self._batches.patch // scale
        lq, hr = to_float(self._lq.cut(cuts, side, 1)), to_float(self._hr.cut(cuts, side * scale, scale))
        return self._batches.degraded(step, lq, hr, rank=rank, ranks=ranks)


_resident_sets: WeakKeyDictionary[Pairs, tuple[torch.device, "_Planes", "_Planes"]] = WeakKeyDictionary()


def _resident(pairs: Pairs, device: torch.device) -> tuple["_Planes", "_Planes"]:
    held = _resident_sets.get(pairs)
    if held is None or held[0] != device:
        held = _resident_sets[pairs] = (device, _Planes(pairs.lq, device), _Planes(pairs.hr, device))
    return held[1], held[2]


class _Planes:
    """All planes of all images in one flat tensor of bytes."""

    def __init__(self, images: Images, device: torch.device) -> None:
        planes = [torch.from_numpy(image.transpose(2, 0, 1).reshape(-1).copy()) for image in images]
        self._widths = [width for _, width in images.shapes]
        self._sizes = [height * width for height, width in images.shapes]
        self._starts = np.cumsum([0, *(3 * size for size in self._sizes)]).tolist()
        self._bytes = torch.empty(self._starts[-1], dtype=torch.uint8, device=device)
        for start, plane in zip(self._starts, planes, strict=False):
            self._bytes[start : start + len(plane)] = plane.to(device)

    def cut(self, cuts: list[Cut], side: int, scale: int) -> Tensor:
        """Return patches (B, 3, side, side) uint8."""
        strides = [self._strides(cut, side, scale) for cut in cuts]
        columns = torch.tensor(strides).to(self._bytes.device, non_blocking=True).unbind(1)
        start, plane, down, right = (column.view(-1, 1, 1, 1) for column in columns)
        steps = torch.arange(side, device=self._bytes.device)
        channels = torch.arange(3, device=self._bytes.device).view(1, 3, 1, 1)
        return self._bytes[start + plane * channels + down * steps.view(1, 1, -1, 1) + right * steps]

    def _strides(self, cut: Cut, side: int, scale: int) -> tuple[int, int, int, int]:
        """Return a patch's offset and its strides to the next plane, row and column, in bytes."""
        width = self._widths[cut.image]
        start = self._starts[cut.image] + cut.y * scale * width + cut.x * scale
        down, right = width, 1
        if cut.symmetry & 1:
            start, right = start + (side - 1) * right, -right
        if cut.symmetry & 2:
            start, down = start + (side - 1) * down, -down
        if cut.symmetry & 4:
            down, right = right, down
        return start, self._sizes[cut.image], down, right


def _prefetch(
    batches: Batches, steps: range, device: torch.device, rank: int, ranks: int
) -> Generator[Batch, None, None]:
    """Yield batches that a thread cuts up to `_PREFETCH` steps ahead; numpy and torch copy without the GIL."""

    def make(step: int) -> Batch:
        if device.type == "cpu":
            return batches.at(step, rank=rank, ranks=ranks)
        lq, hr = batches.levels(step, rank=rank, ranks=ranks)
        return lq.pin_memory(), hr.pin_memory()

    with ThreadPoolExecutor(1, thread_name_prefix="feed") as thread:
        in_flight: deque[tuple[int, Future[Batch]]] = deque()

        def next_batch() -> Batch:
            step, future = in_flight.popleft()
            lq, hr = future.result()
            if device.type == "cpu":
                return lq, hr
            lq, hr = _deliver(lq, device), _deliver(hr, device)
            return batches.degraded(step, lq, hr, rank=rank, ranks=ranks)

        try:
            for step in steps:
                in_flight.append((step, thread.submit(make, step)))
                if len(in_flight) == _PREFETCH:
                    yield next_batch()
            while in_flight:
                yield next_batch()
        finally:
            for _, future in in_flight:
                future.cancel()


def _deliver(levels: Tensor, device: torch.device) -> Tensor:
    """Move uint8 patches to a GPU while it computes, and convert them to float32 there."""
    return to_float(levels.to(device, non_blocking=True))
