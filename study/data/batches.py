"""The batch at step s as a pure function of (seed, s): it makes every run resumable and shardable."""

from bisect import bisect_right
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from study.data.bicubic import to_float
from study.data.pairs import Pairs

_WORDS_PER_ITEM = 4  # one block of Philox4x64: which image, which row, which column, which symmetries


class Batches:
    """Random aligned patches of image pairs; `at(step)` may be asked in any order, from any process.

    Item i of step s is made of the i-th block of the Philox counter stream (Salmon et al. 2011, "Parallel
    random numbers: as easy as 1, 2, 3") whose key is the seed and whose top counter word is s. The raw words
    are used, for numpy promises that those stay the same in all its versions.

    An image is drawn with a probability proportional to its number of pixels, as happens when a set is cut
    into sub-images first; the crop is uniform over the low-quality grid; horizontal flip, vertical flip and
    transpose each have probability 1/2 and apply to both patches (METHODS 8).
    """

    def __init__(self, pairs: Pairs, *, patch: int, batch: int, seed: int) -> None:
        """Prepare batches of `batch` patches: patch x patch px on the high-quality side.

        Raises ValueError if the patch is no multiple of the scale or exceeds an image, if batch is below 1,
        or if the seed is not in 0..2**64-1.
        """
        _check(pairs, patch, batch, seed)
        self.patch = patch
        self.batch = batch
        self.seed = seed
        self._pairs = pairs
        self._pixels_up_to = list(accumulate(image.shape[0] * image.shape[1] for image in pairs.lq))

    def at(self, step: int, *, rank: int = 0, ranks: int = 1) -> tuple[Tensor, Tensor]:
        """Return (lq, hr) of one step: (B, 3, p/s, p/s) and (B, 3, p, p), float32 in [0, 1].

        Both are contiguous and on the CPU.

        With several ranks, B is batch/ranks, and rank r gets items r, r + ranks, r + 2 ranks, ... of the
        global batch, which does not depend on the number of ranks. Raises ValueError if ranks does not divide
        the batch, rank is not in 0..ranks-1, or step is not in 0..2**64-1.
        """
        self._check_call(step, rank, ranks)
        draws = self._draws(step)[rank::ranks]
        side = self.patch // self._pairs.scale
        lq = np.empty((len(draws), 3, side, side), np.uint8)
        hr = np.empty((len(draws), 3, self.patch, self.patch), np.uint8)
        for item, words in enumerate(draws):
            self._cut(words, lq[item], hr[item])
        return to_float(torch.from_numpy(lq)), to_float(torch.from_numpy(hr))

    def _draws(self, step: int) -> list[list[int]]:
        stream = np.random.Philox(key=self.seed, counter=[0, 0, 0, step])
        words: list[list[int]] = stream.random_raw(self.batch * _WORDS_PER_ITEM).reshape(self.batch, -1).tolist()
        return words

    def _cut(self, words: list[int], lq_out: np.ndarray, hr_out: np.ndarray) -> None:
        """Write one pair of patches (3, side, side) from its four random words."""
        which, where_y, where_x, symmetry = words
        index = bisect_right(self._pixels_up_to, _below(self._pixels_up_to[-1], which))
        lq, hr, scale = self._pairs.lq[index], self._pairs.hr[index], self._pairs.scale
        side = lq_out.shape[1]
        y = _below(lq.shape[0] - side + 1, where_y)
        x = _below(lq.shape[1] - side + 1, where_x)
        lq_out[...] = _turned(lq[y : y + side, x : x + side], symmetry)
        y, x = y * scale, x * scale
        hr_out[...] = _turned(hr[y : y + self.patch, x : x + self.patch], symmetry)

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


def _turned(patch: np.ndarray, symmetry: int) -> np.ndarray:
    """View an (H, W, 3) patch as (3, H, W), turned by one of 8 symmetries (the low 3 bits)."""
    if symmetry & 1:
        patch = patch[:, ::-1]
    if symmetry & 2:
        patch = patch[::-1]
    return patch.transpose(2, 1, 0) if symmetry & 4 else patch.transpose(2, 0, 1)


def _check(pairs: Pairs, patch: int, batch: int, seed: int) -> None:
    if patch < 1 or patch % pairs.scale:
        raise ValueError(f"patch must be a positive multiple of the scale {pairs.scale}, but got {patch}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, but got {batch}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in 0..2**64-1, but got {seed}")
    if not len(pairs):
        raise ValueError("there are no images to cut patches from")
    for name, image in zip(pairs.names, pairs.hr, strict=True):
        height, width = image.shape[:2]
        if min(height, width) < patch:
            remedy = "choose a smaller patch or remove the image"
            raise ValueError(f"image {name!r} is {width} x {height} px, smaller than the patch of {patch}: {remedy}")
