"""Metrics of large images, tile by tile within a bound on memory: sums over the image's pixels, in float64.

A tile is computed with a margin that covers what its values depend on, so the result is that of the whole image up to
the order of sums.
"""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

ALIGNMENT = 48
"""Tiles and margins are multiples of this many pixels: of the networks' strides, and of all SR factors."""


class Span(NamedTuple):
    """A tile along one axis, in pixels: `first` to `last` (None for the image's end), computed from `start` on."""

    start: int
    first: int
    last: int | None

    def of(self, step: int, border: int) -> slice:
        """Return which values belong to the tile: one each `step` pixels, the first one `border` pixels inside."""
        place = lambda pixel: max(0, math.ceil((pixel - self.start - border) / step))  # noqa: E731
        return slice(place(self.first), None if self.last is None else place(self.last))


class Tile(NamedTuple):
    """A tile of an image."""

    rows: Span
    columns: Span

    def own(self, values: Tensor, *, step: int = 1, border: int = 0) -> Tensor:
        """Return the values (..., h, w) of the tile alone; see `Span.of`."""
        return values[..., self.rows.of(step, border), self.columns.of(step, border)]


class Tiled(NamedTuple):
    """A metric as sums over tiles.

    Attributes:
        bytes_per_pixel: of HR, that the computation takes beside the images (measured on a CPU).
        margin: pixels around a tile that its values depend on, a multiple of `ALIGNMENT`.
        sums: of a tile, from the images with its margin; they are added over the tiles.
        finish: computes the metric from the totals.
    """

    bytes_per_pixel: int
    margin: int
    sums: Callable[[Tensor, Tensor, Tile], list[Tensor]]
    finish: Callable[[list[Tensor]], Tensor]

    def fits(self, pixels: int, memory: int) -> bool:
        """Return whether an image of so many pixels can be computed as a whole in so many bytes."""
        return pixels * self.bytes_per_pixel <= memory

    def __call__(self, sr: Tensor, hr: Tensor, memory: int) -> Tensor:
        """Compute the metric of images (1, 3, H, W) in about `memory` bytes."""
        side = math.isqrt(memory // self.bytes_per_pixel) - 2 * self.margin
        totals: list[Tensor] = []
        for tile, rows, columns in _tiles(sr.shape[-2], sr.shape[-1], side, self.margin):
            sums = self.sums(sr[..., rows, columns], hr[..., rows, columns], tile)
            totals = [total + new for total, new in zip(totals, sums, strict=True)] if totals else sums
        return self.finish(totals)


def sum_and_count(values: Tensor) -> Tensor:
    """Return the sum of values and their number, float64: shape (2,)."""
    return torch.stack([values.sum(dtype=torch.float64), values.new_tensor(values.numel(), dtype=torch.float64)])


def mean(total: Tensor) -> Tensor:
    """Return the mean from `sum_and_count`: shape (1,)."""
    return total[:1] / total[1]


def _tiles(height: int, width: int, side: int, margin: int) -> Iterator[tuple[Tile, slice, slice]]:
    """Yield tiles with the rows and columns that are their input."""
    side = max(ALIGNMENT, side // ALIGNMENT * ALIGNMENT)
    for (rows, seen_rows), (columns, seen_columns) in product(
        _spans(height, side, margin), _spans(width, side, margin)
    ):
        yield Tile(rows, columns), seen_rows, seen_columns


def _spans(length: int, side: int, margin: int) -> list[tuple[Span, slice]]:
    spans = []
    for first in range(0, length, side):
        start, last = max(0, first - margin), first + side
        end = min(length, last + margin)
        spans.append((Span(start, first, None if last >= length else last), slice(start, end)))
    return spans
