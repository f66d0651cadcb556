"""Pairs of a photograph and its low-quality version, made by the exact degradation of the benchmarks or given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.data.bicubic import check_scale, to_float
from study.data.degradations import degrade, shrink
from study.data.image_set import CroppedImages, Images, ImageSet, LoadedImages
from study.data.images import pixel_digest
from study.data.second_order import SecondOrder


@dataclass(frozen=True, eq=False)
class Pairs:
    """Aligned images: hr[i] is (scale*h, scale*w, 3) and lq[i] is (h, w, 3), both uint8 RGB."""

    names: tuple[str, ...]
    hr: Images
    lq: Images
    scale: int

    def __len__(self) -> int:
        return len(self.names)

    def tensors(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the whole pair as (lq, hr), each (1, 3, h, w) float32 in [0, 1], to evaluate on."""
        return to_float(image_to_tensor(self.lq[index])), to_float(image_to_tensor(self.hr[index]))


def make_pairs(images: ImageSet, scale: int, degradation: SecondOrder | None = None) -> Pairs:
    """Crop each image to multiples of the scale (from the top-left) and pair it with its low-quality version.

    Low-quality versions that came with the set are used as they are, if they are of this scale. Otherwise the whole
    image is shrunk by MATLAB's bicubic before any patch is cut (METHODS 8), and rounded to 8 bit. The
    high-quality side shares the memory of the image set. With a degradation, each image is degraded by a seed that
    follows from its pixels, so that it is always the same one; low-quality versions that are no mere bicubic ones, such
    as those of a camera, are used as they are all the same.

    Raises ValueError for a scale outside 1..8 and for an image smaller than the scale.
    """
    check_scale(scale)
    for name, (height, width) in zip(images.names, images.images.shapes, strict=True):
        if min(height, width) < scale:
            raise ValueError(f"image {name!r} is {width} x {height} px, less than one pixel after shrinking by {scale}")
    hr = CroppedImages(images.images, scale)
    low = images.low if images.low is not None and images.low.scale == scale else None
    if low is not None and (degradation is None or not low.exact):
        return Pairs(images.names, hr, _FittedImages(low.images, hr.shapes, scale), scale)
    if degradation is not None:
        degraded = [_degraded(name, image, scale, degradation) for name, image in zip(images.names, hr, strict=True)]
        return Pairs(images.names, hr, LoadedImages(degraded), scale)
    return Pairs(images.names, hr, LoadedImages([shrink(image, scale) for image in hr]), scale)


def _degraded(name: str, image: np.ndarray, scale: int, degradation: SecondOrder) -> np.ndarray:
    try:
        return degrade(image, scale, degradation, seed=int(pixel_digest(image)[:15], 16))
    except ValueError as error:
        raise ValueError(f"image {name!r}: {error}; remove it") from error


def image_to_tensor(image: np.ndarray) -> Tensor:
    """Copy an (H, W, 3) uint8 image into a (1, 3, H, W) uint8 tensor, contiguous."""
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())


class _FittedImages(Sequence[np.ndarray]):
    """Given low-quality images without the row or column that stands for less than a whole HR pixel group."""

    def __init__(self, images: Images, hr_shapes: Sequence[tuple[int, int]], scale: int) -> None:
        self._images = images
        self.shapes = tuple((height // scale, width // scale) for height, width in hr_shapes)

    @property
    def digests(self) -> tuple[str, ...]:
        return self._images.digests

    @property
    def crop_digests(self) -> tuple[str, ...]:
        return self._images.crop_digests

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        height, width = self.shapes[index]
        return self._images[index][:height, :width]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))
