"""The batch at step s as a pure function of (seed, s), so that runs can be resumed and distributed exactly."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from study.data.bicubic import to_float
from study.data.degradations import Noise, degrade_patches
from study.data.pairs import Pairs
from study.data.second_order import SecondOrder

_WORDS_PER_ITEM = 4  # one block of Philox4x64: image, row, column, symmetries
_SYMMETRY_BITS = 3


@dataclass(frozen=True, slots=True)
class Cut:
    """The place of a patch.

    Attributes:
        image: the image's index.
        y, x: the top-left corner on the low-quality grid, in pixels.
        symmetry: bit 0 flips horizontally, bit 1 vertically, bit 2 transposes after that.
    """

    image: int
    y: int
    x: int
    symmetry: int


class Batches:
    """Random aligned patches of image pairs, for any step in any order and in any process.

    Item i of step s is derived from the i-th block of the Philox counter stream (Salmon et al. 2011, "Parallel
    random numbers: as easy as 1, 2, 3") whose key is the seed and whose top counter word is s. Raw words are
    used because numpy guarantees that they stay the same in all its versions.

    An image is drawn with a probability proportional to its number of pixels, as if the set were cut into
    sub-images first; the crop is uniform over the low-quality grid; horizontal flip, vertical flip and
    transpose each have probability 1/2 and apply to both patches.

    Rank r of several gets items r, r + ranks, r + 2 ranks, ... of the global batch, which does not depend on the
    number of ranks. All methods with a step raise ValueError if ranks does not divide the batch, rank is not in
    0..ranks-1, or step is not in 0..2**64-1.
    """

    def __init__(
        self, pairs: Pairs, *, patch: int, batch: int, seed: int, degradation: Noise | SecondOrder | None = None
    ) -> None:
        """Prepare batches of `batch` patches: patch x patch px on the high-quality side.

        With a degradation, the low-quality patches are made from the high-quality ones in every step, each with a
        seed from the same stream.

        Raises ValueError if the patch is no multiple of the scale or exceeds an image, if batch is below 1,
        or if the seed is not in 0..2**64-1.
        """
        _check(pairs, patch, batch, seed)
        self.patch = patch
        self.batch = batch
        self.seed = seed
        self.pairs = pairs
        self.degradation = degradation
        self._shapes = pairs.lq.shapes
        self._pixels_up_to = list(accumulate(height * width for height, width in self._shapes))

    def at(self, step: int, *, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """Return (lq, hr) of one step: (B, 3, p/s, p/s) and (B, 3, p, p), float32 in [0, 1], B = batch/ranks.

        Both are contiguous and on the CPU.
        """
        lq, hr = self.levels(step, rank=rank, ranks=ranks)
        return self.degraded(step, to_float(lq), to_float(hr), rank=rank, ranks=ranks)

    def degraded(self, step: int, lq: Tensor, hr: Tensor, *, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """Return the patches of a step, with lq made from hr on its device if there is a degradation."""
        if self.degradation is None:
            return lq, hr
        seeds = self.seeds(step, rank=rank, ranks=ranks)
        return degrade_patches(hr, self.pairs.scale, self.degradation, seeds=seeds), hr

    def levels(self, step: int, *, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """Return the patches as uint8, without the degradation: a quarter of the bytes to move to a GPU."""
        cuts = self.cuts(step, rank=rank, ranks=ranks)
        side = self.patch // self.pairs.scale
        lq = np.empty((len(cuts), 3, side, side), np.uint8)
        hr = np.empty((len(cuts), 3, self.patch, self.patch), np.uint8)
        for item, cut in enumerate(cuts):
            lq[item] = _patch(self.pairs.lq[cut.image], cut, side, 1)
            hr[item] = _patch(self.pairs.hr[cut.image], cut, self.patch, self.pairs.scale)
        return torch.from_numpy(lq), torch.from_numpy(hr)

    def cuts(self, step: int, *, rank: int = 0, ranks: int = 1) -> list[Cut]:
        """Return the places of the patches of a step."""
        return [self._cut(*words) for words in self._words(step, rank, ranks)]

    def seeds(self, step: int, *, rank: int = 0, ranks: int = 1) -> list[int]:
        """Return the seeds of the patches' degradations in a step: the 61 bits that the symmetries do not use."""
        return [words[-1] >> _SYMMETRY_BITS for words in self._words(step, rank, ranks)]

    def _words(self, step: int, rank: int, ranks: int) -> list[list[int]]:
        """Return the random words of each item of a step."""
        self._check_call(step, rank, ranks)
        stream = np.random.Philox(key=self.seed, counter=[0, 0, 0, step])
        words: list[list[int]] = stream.random_raw(self.batch * _WORDS_PER_ITEM).reshape(self.batch, -1).tolist()
        return words[rank::ranks]

    def _cut(self, which: int, where_y: int, where_x: int, symmetry: int) -> Cut:
        """Return the place that an item's four random words select."""
        index = bisect_right(self._pixels_up_to, _below(self._pixels_up_to[-1], which))
        height, width = self._shapes[index]
        side = self.patch // self.pairs.scale
        return Cut(index, _below(height - side + 1, where_y), _below(width - side + 1, where_x), symmetry & 7)

    def _check_call(self, step: int, rank: int, ranks: int) -> None:
        if not 0 <= step < 2**64:
            raise ValueError(f"step must be in 0..2**64-1, but got {step}")
        if ranks < 1 or self.batch % ranks:
            raise ValueError(f"the number of ranks must divide the batch of {self.batch}, but got {ranks=}")
        if not 0 <= rank < ranks:
            raise ValueError(f"rank must be in 0..{ranks - 1}, but got {rank}")


def _below(bound: int, word: int) -> int:
    """Map a 64-bit word to 0..bound-1; Python's integers keep it exact, with a bias below bound/2**64."""
    return (word * bound) >> 64


def _patch(image: np.ndarray, cut: Cut, side: int, scale: int) -> np.ndarray:
    """Return a view of a patch of an (H, W, 3) image as (3, side, side), transformed by the cut's symmetry."""
    y, x = cut.y * scale, cut.x * scale
    patch = image[y : y + side, x : x + side]
    if cut.symmetry & 1:
        patch = patch[:, ::-1]
    if cut.symmetry & 2:
        patch = patch[::-1]
    return patch.transpose(2, 1, 0) if cut.symmetry & 4 else patch.transpose(2, 0, 1)


def _check(pairs: Pairs, patch: int, batch: int, seed: int) -> None:
    if patch < 1 or patch % pairs.scale:
        raise ValueError(f"patch must be a positive multiple of the scale {pairs.scale}, but got {patch}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, but got {batch}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in 0..2**64-1, but got {seed}")
    if not len(pairs):
        raise ValueError("there are no images to cut patches from")
    for name, (height, width) in zip(pairs.names, pairs.hr.shapes, strict=True):
        if min(height, width) < patch:
            remedy = "choose a smaller patch or remove the image"
            raise ValueError(f"image {name!r} is {width} x {height} px, smaller than the patch of {patch}: {remedy}")
