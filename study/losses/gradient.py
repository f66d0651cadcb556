"""SPSR's losses on gradient maps (Ma et al., CVPR 2020); docs/methods/spsr.md."""

from torch import Tensor

from study.losses.pixel import check_same_shape, pixel_loss
from study.models.layers import at_least_float32
from study.models.spsr import gradient_map

LOSS_PADDING = 2
"""Padding of the maps in SPSR's loss and second discriminator, which are one pixel larger on each side."""


def gradient_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Average the squared difference of the gradient maps over each image.

    Args:
        sr, hr: RGB images, shape (N, 3, H, W); `sr` is not clamped.

    Returns:
        Shape (N,), at least float32; 0 for equal images, its gradient finite there and on flat ones.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same_shape(sr, hr)
    return pixel_loss(discriminated_map(sr), discriminated_map(hr), criterion="l2")


def branch_loss(branch: Tensor, hr: Tensor) -> Tensor:
    """Average the absolute difference between the branch's gradient map and that of the HR image.

    Args:
        branch: output of the gradient branch, shape (N, 3, H, W).
        hr: RGB images of the same shape.

    Returns:
        Shape (N,), at least float32.

    Raises:
        ValueError: if the shapes differ.
    """
    return pixel_loss(branch, gradient_map(at_least_float32(hr)))


def discriminated_map(images: Tensor) -> Tensor:
    """Compute the gradient map for loss and discriminator: (N, 3, H, W) to (N, 3, H + 2, W + 2)."""
    return gradient_map(at_least_float32(images), padding=LOSS_PADDING)
