"""Pairs of a photograph and its low-quality version, made by a degradation or given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.data.bicubic import check_scale, to_float
from study.data.degradations import Bicubic, Degradation, degrade
from study.data.image_set import CroppedImages, Images, ImageSet, LoadedImages, LowQuality
from study.data.images import pixel_digest
from study.data.second_order import SecondOrder

BICUBIC = Bicubic()


@dataclass(frozen=True, eq=False)
class Pairs:
    """Aligned images: hr[i] is (scale*h, scale*w, 3) and lq[i] is (h, w, 3), both uint8 RGB.

    exact: the low-quality images are MATLAB's bicubic of the others.
    """

    names: tuple[str, ...]
    hr: Images
    lq: Images
    scale: int
    exact: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def only(self, index: int) -> "Pairs":
        """Return one of the pairs."""
        hr, lq = LoadedImages([self.hr[index]]), LoadedImages([self.lq[index]])
        return Pairs((self.names[index],), hr, lq, self.scale, self.exact)

    def tensors(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the whole pair as (lq, hr), each (1, 3, h, w) float32 in [0, 1]."""
        return to_float(image_to_tensor(self.lq[index])), to_float(image_to_tensor(self.hr[index]))


def make_pairs(images: ImageSet, scale: int, degradation: Degradation = BICUBIC) -> Pairs:
    """Crop each image to multiples of the scale (from the top-left) and pair it with its low-quality version.

    Low-quality versions are made of whole images, before any patch is cut, and rounded to 8 bit. The random numbers of
    a degradation come from a seed that is derived from the image's pixels, so that they are always the same. The
    high-quality side shares the memory of the image set.

    Low-quality versions stored with the set are used if they have this scale and fit the degradation: any for bicubic,
    all but exact ones for second-order, and for noise or JPEG those that were given or made by the same degradation.

    Raises ValueError for a scale outside 1..8 and for an image smaller than the scale.
    """
    check_scale(scale)
    for name, (height, width) in zip(images.names, images.images.shapes, strict=True):
        if min(height, width) < scale:
            raise ValueError(f"image {name!r} is {width} x {height} px, less than one pixel after shrinking by {scale}")
    hr = CroppedImages(images.images, scale)
    if images.lq is not None and _fits_degradation(images.lq, scale, degradation):
        return Pairs(images.names, hr, _FittedImages(images.lq.images, hr.shapes, scale), scale, images.lq.exact)
    degraded = [_degraded(name, image, scale, degradation) for name, image in zip(images.names, hr, strict=True)]
    exact = isinstance(degradation, Bicubic) and scale > 1
    return Pairs(images.names, hr, LoadedImages(degraded), scale, exact)


def _fits_degradation(lq: LowQuality, scale: int, degradation: Degradation) -> bool:
    if lq.scale != scale:
        return False
    match degradation:
        case Bicubic():
            return True
        case SecondOrder():
            return not lq.exact
        case _:
            return not lq.made_by or lq.made_by == degradation.model_dump(mode="json")


def _degraded(name: str, image: np.ndarray, scale: int, degradation: Degradation) -> np.ndarray:
    try:
        return degrade(image, scale, degradation, seed=int(pixel_digest(image)[:15], 16))
    except ValueError as error:
        raise ValueError(f"image {name!r}: {error}; remove it") from error


def image_to_tensor(image: np.ndarray) -> Tensor:
    """Copy an (H, W, 3) uint8 image into a (1, 3, H, W) uint8 tensor, contiguous."""
    return torch.from_numpy(image.transpose(2, 0, 1)[None].copy())


class _FittedImages(Images):
    """Stored low-quality images without the last row or column where it covers less than `scale` HR pixels."""

    def __init__(self, images: Images, hr_shapes: Sequence[tuple[int, int]], scale: int) -> None:
        self._images = images
        self.shapes = tuple((height // scale, width // scale) for height, width in hr_shapes)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]  # no slices
        height, width = self.shapes[index]
        return self._images[index][:height, :width]
