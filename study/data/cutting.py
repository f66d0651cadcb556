"""Cut images that are too large for one row of a store into several, as BasicSR's extract_subimages.py does."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from study.data.images import MAX_PIXELS

_SIDE = 4096
"""About the largest side of a piece, in pixels."""


@dataclass(frozen=True)
class Piece:
    """A part of an HR image, in pixels; the whole image where it is not cut."""

    key: str
    top: int
    left: int
    height: int
    width: int

    @property
    def end(self) -> tuple[int, int]:
        """The (row, column) after its last pixel."""
        return self.top + self.height, self.left + self.width

    def of(self, image: np.ndarray, scale: int = 1) -> np.ndarray:
        """Return a view of the piece in an (H, W, 3) image, or in its low-quality version.

        The lowest and the rightmost pieces of a low-quality image extend to its end, which may be rounded up.
        """
        bottom, right = (math.ceil(end / scale) for end in self.end)
        return image[self.top // scale : bottom, self.left // scale : right]


def pieces_of(key: str, height: int, width: int, multiple: int) -> tuple[Piece, ...]:
    """Return the pieces of an image, row by row: one of up to MAX_PIXELS, else `KEY_s001`, `KEY_s002`, ...

    They do not overlap, and start at multiples of `multiple` px.
    """
    if height * width <= MAX_PIXELS:
        return (Piece(key, 0, 0, height, width),)
    corners = [(y, x) for y in pairwise(_edges(height, multiple)) for x in pairwise(_edges(width, multiple))]
    return tuple(
        Piece(f"{key}_s{number:03}", top, left, bottom - top, right - left)
        for number, ((top, bottom), (left, right)) in enumerate(corners, start=1)
    )


def _edges(length: int, multiple: int) -> list[int]:
    count = math.ceil(length / _SIDE)
    return [index * length // count // multiple * multiple for index in range(count)] + [length]
