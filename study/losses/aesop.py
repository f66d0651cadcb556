"""The AESOP loss (Lee et al., CVPR 2025): a pixel loss between auto-encoded images; docs/methods/aesop.md."""

import torch
from torch import Tensor, nn

from study.losses.pixel import PixelCriterion, pixel_loss


def aesop_loss(autoencoder: nn.Module, sr: Tensor, hr: Tensor, *, criterion: PixelCriterion = "l1") -> Tensor:
    """Compute criterion(A(sr), A(hr)) for an auto-encoder A.

    The gradient passes through A into `sr`. The caller freezes A once (`requires_grad_(False)`) and keeps it out of
    every optimiser and out of DDP; toggling that at each call would race with other users of A.

    Args:
        autoencoder: image to image, any output size; without layers that depend on train() or eval().
        sr, hr: RGB images, shape (N, 3, H, W). `sr` is not clamped: values outside [0, 1] get a gradient.

    Returns:
        Shape (N,), at least float32; 0 for equal images.

    Raises:
        ValueError: if the shapes of A's outputs differ, or for another criterion.
    """
    with torch.no_grad():
        target = autoencoder(hr)
    return pixel_loss(autoencoder(sr), target, criterion=criterion)
