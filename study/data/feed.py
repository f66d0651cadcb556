"""Keeps a training step from waiting for its data: batches made ahead, or cut on the device itself."""

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

_AHEAD = 3
"""Batches under way: one in training, one ready, one in the making."""

RESIDENT_SHARE = 0.25
"""Of a GPU's free memory, the most that a training set may take to be held there."""

Batch = tuple[Tensor, Tensor]


@contextmanager
def feed(
    batches: Batches, steps: range, device: torch.device, *, rank: int = 0, ranks: int = 1
) -> Iterator[Iterator[Batch]]:
    """Give the batches of successive steps on a device, each ready (or nearly) when it is asked for.

    A set that fits into a quarter of a GPU's free memory is held there as uint8 and cut there; otherwise a thread
    cuts ahead on the CPU. The numbers are those of `Batches.at`, whichever way they come; patches that are degraded
    anew in each step are degraded on the device, which rounds in its own way.

    Args:
        batches: what to cut.
        steps: which steps, in order.
        device: where (lq, hr) shall be.
        rank, ranks: as for `Batches`.

    Yields:
        An iterator over (lq, hr), float32 in [0, 1]. It raises what reading an image raises (a damaged store).
    """
    if device.type == "cuda" and (batches.pairs in _held or fits(batches, torch.cuda.mem_get_info(device)[0])):
        resident = ResidentBatches(batches, device)
        yield (resident.at(step, rank=rank, ranks=ranks) for step in steps)
        return
    with closing(_ahead(batches, steps, device, rank, ranks)) as made_ahead:
        yield made_ahead


def fits(batches: Batches, free_bytes: int) -> bool:
    """Whether the images of a set may be held in a memory of which so much is free."""
    shapes = batches.pairs.hr.shapes + batches.pairs.lq.shapes
    return sum(3 * height * width for height, width in shapes) <= RESIDENT_SHARE * free_bytes


class ResidentBatches:
    """The batches of a `Batches`, cut on a device that holds all images as uint8.

    The images stay there as long as their `Pairs` do, for all stages and trials that train on them.
    """

    def __init__(self, batches: Batches, device: torch.device) -> None:
        """Copy the images to the device, unless they are there."""
        self._batches = batches
        self._lq, self._hr = _resident(batches.pairs, device)

    def at(self, step: int, *, rank: int = 0, ranks: int = 1) -> Batch:
        """Return what `Batches.at` does, on the device."""
        cuts = self._batches.cuts(step, rank=rank, ranks=ranks)
        scale = self._batches.pairs.scale
        side = self._batches.patch // scale
        lq, hr = to_float(self._lq.cut(cuts, side, 1)), to_float(self._hr.cut(cuts, side * scale, scale))
        return self._batches.finished(step, lq, hr, rank=rank, ranks=ranks)


_held: WeakKeyDictionary[Pairs, tuple[torch.device, "_Planes", "_Planes"]] = WeakKeyDictionary()


def _resident(pairs: Pairs, device: torch.device) -> tuple["_Planes", "_Planes"]:
    held = _held.get(pairs)
    if held is None or held[0] != device:
        held = _held[pairs] = (device, _Planes(pairs.lq, device), _Planes(pairs.hr, device))
    return held[1], held[2]


class _Planes:
    """All planes of all images in one row of bytes."""

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
        walks = torch.tensor([self._walk(cut, side, scale) for cut in cuts]).to(self._bytes.device, non_blocking=True)
        start, plane, down, right = (walks[:, column].view(-1, 1, 1, 1) for column in range(4))
        steps = torch.arange(side, device=self._bytes.device)
        channels = torch.arange(3, device=self._bytes.device).view(1, 3, 1, 1)
        return self._bytes[start + plane * channels + down * steps.view(1, 1, -1, 1) + right * steps]

    def _walk(self, cut: Cut, side: int, scale: int) -> tuple[int, int, int, int]:
        """Where a patch starts, and how far it is to the next plane, to the next row and to the next column."""
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


def _ahead(batches: Batches, steps: range, device: torch.device, rank: int, ranks: int) -> Generator[Batch, None, None]:
    """Cut in a thread, `_AHEAD` steps in advance; numpy and torch let go of the interpreter's lock while they copy."""

    def make(step: int) -> Batch:
        if device.type == "cpu":
            return batches.at(step, rank=rank, ranks=ranks)
        lq, hr = batches.levels(step, rank=rank, ranks=ranks)
        return lq.pin_memory(), hr.pin_memory()

    with ThreadPoolExecutor(1, thread_name_prefix="feed") as thread:
        under_way: deque[tuple[int, Future[Batch]]] = deque()

        def next_delivered() -> Batch:
            step, future = under_way.popleft()
            lq, hr = future.result()
            if device.type == "cpu":
                return lq, hr
            lq, hr = _delivered(lq, device), _delivered(hr, device)
            return batches.finished(step, lq, hr, rank=rank, ranks=ranks)

        try:
            for step in steps:
                under_way.append((step, thread.submit(make, step)))
                if len(under_way) == _AHEAD:
                    yield next_delivered()
            while under_way:
                yield next_delivered()
        finally:
            for _, future in under_way:
                future.cancel()


def _delivered(levels: Tensor, device: torch.device) -> Tensor:
    """Move uint8 patches to a GPU while it computes, and make floats of them there."""
    return to_float(levels.to(device, non_blocking=True))
