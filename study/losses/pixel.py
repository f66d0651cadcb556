"""The pixel loss, and the check of image shapes that all losses share."""

from typing import Literal

from torch import Tensor

from study.models.layers import at_least_float32

PixelCriterion = Literal["l1", "l2"]


def check_same_shape(sr: Tensor, hr: Tensor) -> None:
    """Refuse a pair of image batches that torch would silently broadcast.

    Raises:
        ValueError: unless both are NCHW and of one shape.
    """
    if sr.ndim != 4 or sr.shape != hr.shape:
        raise ValueError(
            "sr and hr must be image batches (N, C, H, W) of the same shape, "
            f"but got {tuple(sr.shape)} and {tuple(hr.shape)}; crop or stack them to agree"
        )


def pixel_loss(sr: Tensor, hr: Tensor, *, criterion: PixelCriterion = "l1") -> Tensor:
    """Average the absolute ("l1") or the squared ("l2") difference over each image.

    Args:
        sr, hr: images, shape (N, C, H, W); `sr` is not clamped.

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
