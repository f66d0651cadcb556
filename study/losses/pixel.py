"""The pixel loss: how far two images are apart, colour value by colour value."""

from typing import Literal

from torch import Tensor
from study.models.layers import at_least_float32


PixelCriterion = Literal["l1", "l2"]


def pixel_loss(sr: Tensor, hr: Tensor, *, criterion: PixelCriterion = "l1") -> Tensor:
    """Average the absolute ("l1") or the squared ("l2") difference over each image.

    Args:
        sr, hr: images, shape (N, C, H, W); `sr` is used as it is, values outside [0, 1] included.

    Returns:
        Shape (N,), at least float32; 0 for equal images.

    Raises:
        ValueError: if the shapes differ, or for another criterion.
    """
    check_same_shape(sr, hr)
    difference = at_least_float32(sr) - at_least_float32(hr)
    match criterion:
        case "l1":
            return difference.abs().mean(dim=(1, 2, 3))
        case "l2":
            return difference.square().mean(dim=(1, 2, 3))
        case _:
            raise ValueError(f"criterion must be 'l1' or 'l2', but got {criterion!r}")
