"""Upscale large images in tiles, within a bound on memory; exact where the tiles overlap enough."""

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ALIGNMENT = 16
"""Tiles begin at multiples of this many LR pixels, so that attention windows are those of the image."""

MOST_OVERLAP = 64
"""Largest default overlap of tiles in LR pixels: RRDBNet's whole receptive field would cost too much."""

_PROBE_SIDE = 48
_WIDEST_PROBE = 2048
# More than any generator here needs for an LR pixel.
_MOST_BYTES = 64 << 10
# Covers the work space of convolutions and the allocator's rounding, which are not counted.
_SAFETY = 1.5

Upscale = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tiling:
    """The geometry of the tiles.

    Attributes:
        side: of a tile without its overlap, in LR pixels.
        overlap: LR pixels beyond each side that are input of a tile.
        receptive_field: radius of an output pixel's receptive field in LR pixels; None if it is the whole image.
    """

    side: int
    overlap: int
    receptive_field: int | None

    @property
    def exact(self) -> bool:
        """Whether tiles equal the whole image, up to the order of sums."""
        return self.receptive_field is not None and self.overlap >= self.receptive_field


class Upscaler:
    """A generator with a bound on its memory: images that would exceed it are computed in tiles.

    Attributes:
        tiling: the tiles, once an image was cut.
        difference: where tiles are not exact, the largest change of a value in the first tile of the first such image
            when its overlap grows by the overlap or by `ALIGNMENT`, whichever is larger.
    """

    def __init__(
        self, generator: nn.Module, scale: int, *, bound: int, tile: int | None = None, overlap: int | None = None
    ) -> None:
        """Wrap a generator in eval mode.

        Args:
            generator: images (1, 3, h, w) to (1, 3, h * scale, w * scale), or a tuple that begins with it.
            scale: the SR factor.
            bound: largest memory of one forward pass in bytes.
            tile: LR pixels a side of a tile, for every larger image; None to cut only images that exceed the bound.
            overlap: LR pixels beyond their sides that are input of tiles; None for the generator's receptive field, at
                most `MOST_OVERLAP`.

        Raises:
            ValueError: a tile below 1 pixel, or an overlap below 0.
        """
        if (tile is not None and tile < 1) or (overlap is not None and overlap < 0):
            raise ValueError(f"tile must be at least 1 and overlap at least 0 LR pixels, but got {tile} and {overlap}")
        self._generator, self._scale, self._bound = generator, scale, bound
        self._tile, self._overlap = tile, overlap
        self._bytes_per_pixel: float | None = None
        self._tiles: Tiling | None = None
        self.tiling: Tiling | None = None
        self.difference: float | None = None

    @torch.no_grad()
    def __call__(self, lq: Tensor) -> Tensor:
        """Upscale one image, shape (1, 3, h, w), RGB in [0, 1]: (1, 3, h * scale, w * scale), not clamped."""
        height, width = lq.shape[-2:]
        if self._tile is None and self._fits(height * width):
            return self._whole(lq)
        tiling = self._choose(lq.device)
        if max(height, width) <= tiling.side:
            return self._whole(lq)
        self.tiling = tiling
        if not tiling.exact and self.difference is None:
            self.difference = self._difference(lq, tiling)
        return upscale_in_tiles(self._whole, lq, self._scale, tiling.side, tiling.overlap)

    def _difference(self, lq: Tensor, tiling: Tiling) -> float:
        """Return the largest change of a value in an image's first tile when its overlap grows."""
        side, edge = tiling.side, tiling.side * self._scale
        reaches = (tiling.overlap, tiling.overlap + max(tiling.overlap, ALIGNMENT))
        near, far = (self._whole(lq[..., : side + reach, : side + reach]) for reach in reaches)
        return float((near[..., :edge, :edge] - far[..., :edge, :edge]).abs().max())

    def _whole(self, lq: Tensor) -> Tensor:
        return first_image(self._generator(lq.contiguous(memory_format=torch.channels_last)))

    def _fits(self, pixels: int) -> bool:
        """Whether an image of so many LR pixels is within the bound; small ones need no measurement."""
        return pixels * _MOST_BYTES <= self._bound or pixels * self._cost() <= self._bound

    def _cost(self) -> float:
        """Return the bytes for each LR pixel, measured once."""
        if self._bytes_per_pixel is None:
            self._bytes_per_pixel = _SAFETY * peak_bytes(self._generator, _PROBE_SIDE) / _PROBE_SIDE**2
        return self._bytes_per_pixel

    def _choose(self, device: torch.device) -> Tiling:
        """Return tiles of the given side, or as large as the bound allows."""
        if self._tiles is None:
            field = receptive_field(self._generator)
            overlap = self._overlap
            if overlap is None:
                overlap = MOST_OVERLAP if field is None else min(field, MOST_OVERLAP)
            overlap = _aligned(overlap)
            side = self._tile
            if side is None:
                side = max(1, math.isqrt(int(self._bound / self._cost())) - 2 * overlap - ALIGNMENT)
            self._tiles = Tiling(_aligned(side), overlap, field)
        return self._tiles


def memory_bound(device: torch.device) -> int:
    """Return the default bound of a forward pass in bytes: 4 GiB, on a GPU half of the free memory."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 4 << 30


def upscale_in_tiles(upscale: Upscale, lq: Tensor, scale: int, side: int, overlap: int) -> Tensor:
    """Assemble an image from tiles, each computed from `overlap` more pixels on each side within the image.

    Args:
        upscale: images (1, 3, h, w) to (1, 3, h * scale, w * scale).
        lq: shape (1, 3, h, w).
        scale: the SR factor.
        side: of a tile in LR pixels, a multiple of `ALIGNMENT`.
        overlap: in LR pixels, a multiple of `ALIGNMENT`.

    Returns:
        Shape (1, 3, h * scale, w * scale), on the device of `lq`.
    """
    height, width = lq.shape[-2:]
    whole = lq.new_empty(*lq.shape[:2], height * scale, width * scale)
    for (top, bottom), (left, right) in product(_spans(height, side), _spans(width, side)):
        above, before = min(overlap, top), min(overlap, left)
        seen = lq[..., top - above : bottom + overlap, left - before : right + overlap]
        part = upscale(seen)[..., above * scale :, before * scale :]
        rows, columns = (bottom - top) * scale, (right - left) * scale
        whole[..., top * scale : bottom * scale, left * scale : right * scale] = part[..., :rows, :columns]
    return whole


@torch.no_grad()
def receptive_field(generator: nn.Module) -> int | None:
    """Measure the radius of an output pixel's receptive field in LR pixels; return None above half of 2,048 pixels.

    Columns of a strip are set to NaN: every output pixel that depends on them is NaN as well.
    """
    device = next(generator.parameters()).device
    width = 8 * ALIGNMENT
    while width <= _WIDEST_PROBE:
        first, last = width // 2, width // 2 + ALIGNMENT
        strip = torch.zeros(1, 3, ALIGNMENT, width, device=device)
        strip[..., first:last] = torch.nan
        output = first_image(generator(strip))
        scale = output.shape[-1] // width
        reached = output.isnan().any(dim=(0, 1, 2)).nonzero().flatten()
        nearest, furthest = int(reached[0]), int(reached[-1])
        if nearest > 0 and furthest < output.shape[-1] - 1:
            return max(math.ceil((first * scale - nearest) / scale), math.ceil((furthest + 1 - last * scale) / scale))
        width *= 2
    return None


@torch.no_grad()
def peak_bytes(generator: nn.Module, side: int) -> int:
    """Measure the peak memory of tensors, weights apart, in a generator's forward pass on a square image."""
    device = next(generator.parameters()).device
    with Tally() as tally:
        generator(torch.zeros(1, 3, side, side, device=device).contiguous(memory_format=torch.channels_last))
    return tally.peak


def first_image(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the image among a generator's outputs: SPSR's has gradient maps beside it."""
    return output if isinstance(output, Tensor) else output[0]


class Tally(TorchDispatchMode):
    """Count the bytes of live tensors that were created in this mode."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _spans(length: int, side: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + side, length)) for start in range(0, length, side))


def _aligned(pixels: int) -> int:
    return math.ceil(pixels / ALIGNMENT) * ALIGNMENT
