"""The downsampled-space loss: compares the shrunk SR image with the LR image; docs/methods/consistency.md.

It has no gradient for the part of an image that shrinking removes, all but 1/scale**2 of it: without an adversarial
term artefacts grow there.
"""

import torch.nn.functional as F
from torch import Tensor

from study.config import Downsampling
from study.data.bicubic import bicubic_downsample
from study.losses.pixel import PixelCriterion, check_same_shape, pixel_loss

BORDER = 2
"""LR pixels to crop along each side: LR patches are cut from a shrunk whole image, so near the border they depend on
pixels outside the HR patch."""


def consistency_loss(
    sr: Tensor,
    lq: Tensor,
    scale: int,
    *,
    criterion: PixelCriterion = "l2",
    downsampling: Downsampling = "matlab",
    border: int = BORDER,
) -> Tensor:
    """Compare the shrunk SR images with the LR images from which they were generated.

    Args:
        sr: RGB images, shape (N, 3, scale * h, scale * w); not clamped.
        lq: LR images in [0, 1], shape (N, 3, h, w), h and w above 2 * border.
        scale: the SR factor.
        criterion: l1 or l2.
        downsampling: `matlab` is the operator that made the LR images; `torch` and `torch-antialias` are ablations.
        border: LR pixels to crop along each side; 0 for LR images that were not cut from larger ones.

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
