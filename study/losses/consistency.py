"""The downsampled-space loss: only what becomes of the SR image when it is shrunk again is compared (METHODS 5).

It says nothing about the part of an image that shrinking removes, which is all but 1/scale**2 of it: alone it lets
artefacts grow there. It is meant to stand beside an adversarial term.
"""

import torch.nn.functional as F
from torch import Tensor
from study.losses.pixel import check_same_shape

from study.config import Downsampling
from study.data.bicubic import bicubic_downsample
from study.losses.pixel import PixelCriterion, pixel_loss

BORDER = 2
"""LR pixels along each side that are left out: the LR patch was cut out of a whole image that was shrunk, which there
depends on pixels outside the HR patch. The rest of it, an HR patch explains but for rounding."""


def consistency_loss(
    sr: Tensor,
    lq: Tensor,
    scale: int,
    *,
    criterion: PixelCriterion = "l2",
    downsampling: Downsampling = "matlab",
    border: int = BORDER,
) -> Tensor:
    """Compare the shrunk SR images with the LR images that they were made of.

    Args:
        sr: RGB images, shape (N, 3, scale * h, scale * w); not clamped.
        lq: LR images in [0, 1], shape (N, 3, h, w), h and w above 2 * border.
        scale: the SR factor.
        criterion: l1 or l2.
        downsampling: `matlab` is the operator that made the LR images (METHODS 7.5); `torch` and `torch-antialias` are
            ablations, bicubic resizes that differ from it.
        border: LR pixels along each side that are left out; 0 where LR images are whole, not cut out of larger ones.

    Returns:
        Shape (N,), at least float32. For an HR patch about 1 / (12 * 255**2) by l2, the rounding of LR images to 8 bit.

    Raises:
        ValueError: shapes that do not fit, or for another criterion.
    """
    if min(lq.shape[-2:]) <= 2 * border:
        raise ValueError(
            f"lq must have sides above {2 * border} px, as {border} px a side are left out, but got {tuple(lq.shape)}"
        )
    shrunk = _shrink(sr, scale, downsampling)
    check_same_shape(shrunk, lq)
    return pixel_loss(_inside(shrunk, border), _inside(lq, border), criterion=criterion)


def _shrink(images: Tensor, scale: int, downsampling: Downsampling) -> Tensor:
    if downsampling == "matlab":
        return bicubic_downsample(images, scale)
    antialias = downsampling == "torch-antialias"
    return F.interpolate(images, scale_factor=1 / scale, mode="bicubic", antialias=antialias, align_corners=False)


def _inside(images: Tensor, border: int) -> Tensor:
    height, width = images.shape[-2:]
    return images[..., border : height - border, border : width - border]
