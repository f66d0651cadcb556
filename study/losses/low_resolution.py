"""AESOP's LR L1 ablation: compares images after a plain bicubic shrink; docs/methods/aesop-ablations.md."""

import torch.nn.functional as F
from torch import Tensor

from study.losses.pixel import PixelCriterion, check_same_shape, pixel_loss


def low_resolution_loss(sr: Tensor, hr: Tensor, scale: int, *, criterion: PixelCriterion = "l1") -> Tensor:
    """Compare both images shrunk by torch's bicubic resize without antialiasing.

    This is the released ablation. At scale 4 each LR pixel depends on 4 pixels an axis, at scale 3 on one: it is not
    the operator that made the LR images, which `consistency_loss` uses.

    Args:
        sr, hr: RGB images, shape (N, 3, H, W), sides multiples of the scale; `sr` is not clamped.
        scale: the SR factor.
        criterion: l1 or l2.

    Returns:
        Shape (N,), at least float32; 0 for equal images.

    Raises:
        ValueError: if the shapes differ, or for another criterion.
    """
    check_same_shape(sr, hr)
    return pixel_loss(_shrink(sr, scale), _shrink(hr, scale), criterion=criterion)


def _shrink(images: Tensor, scale: int) -> Tensor:
    return F.interpolate(images, scale_factor=1 / scale, mode="bicubic", antialias=False, align_corners=False)
