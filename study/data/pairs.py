"""Pairs of a photograph and its low-quality version, made by the exact degradation of the benchmarks."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from study.data.bicubic import bicubic_downsample, check_scale, round_levels, to_float
from study.data.images import fingerprint_images
from study.data.sources import ImageSet, crop_to_multiple


@dataclass(frozen=True, eq=False)
class Pairs:
    """Aligned images: hr[i] is (scale*h, scale*w, 3) and lq[i] is (h, w, 3), both uint8 RGB."""

    names: tuple[str, ...]
    hr: tuple[np.ndarray, ...]
    lq: tuple[np.ndarray, ...]
    scale: int

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) over the scale, the names, and the sizes and pixels of both sides."""
        sides = [fingerprint_images(self.names, self.hr), fingerprint_images(self.names, self.lq)]
        return hashlib.sha256("\n".join([str(self.scale), *sides]).encode()).hexdigest()

    def tensors(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the whole pair as (lq, hr), each (1, 3, h, w) float32 in [0, 1], to evaluate on."""
        return to_float(image_to_tensor(self.lq[index])), to_float(image_to_tensor(self.hr[index]))


def make_pairs(images: ImageSet, scale: int) -> Pairs:
    """Crop each image to multiples of the scale (from the top-left) and shrink it by MATLAB's bicubic.

    The whole image is shrunk before any patch is cut (METHODS 8), and rounded to 8 bit. The resize runs on
    the levels 0..255, not on [0, 1]: for scales 1, 2, 4 and 8 every product and sum is then exact in float64,
    so that a tie rounds the same way on every machine. The high-quality side shares the memory of the image
    set. Raises ValueError for a scale outside 1..8 and for an image smaller than the scale.
    """
    check_scale(scale)
    hr = tuple(_cropped(name, image, scale) for name, image in zip(images.names, images.images, strict=True))
    return Pairs(images.names, hr, tuple(_shrink(image, scale) for image in hr), scale)


def image_to_tensor(image: np.ndarray) -> Tensor:
    """Copy an (H, W, 3) uint8 image into a (1, 3, H, W) uint8 tensor, contiguous."""
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())


def _cropped(name: str, image: np.ndarray, scale: int) -> np.ndarray:
    height, width = image.shape[:2]
    if min(height, width) < scale:
        raise ValueError(f"image {name!r} is {width} x {height} px, less than one pixel after shrinking by {scale}")
    return crop_to_multiple(image, scale)


def _shrink(image: np.ndarray, scale: int) -> np.ndarray:
    lq = round_levels(bicubic_downsample(image_to_tensor(image).double(), scale))
    return np.ascontiguousarray(lq[0].permute(1, 2, 0).numpy())
