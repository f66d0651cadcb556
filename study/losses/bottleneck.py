"""AESOP's bottleneck ablation: compares images before the decoder; docs/methods/aesop-ablations.md."""

import torch
from torch import Tensor

from study.losses.pixel import PixelCriterion, pixel_loss
from study.models.autoencoder import Autoencoder


def bottleneck_loss(autoencoder: Autoencoder, sr: Tensor, hr: Tensor, *, criterion: PixelCriterion = "l1") -> Tensor:
    """Compute criterion(Enc(sr), Enc(hr)).

    Args:
        autoencoder: frozen by the caller; only its encoder runs.
        sr, hr: RGB images, shape (N, 3, H, W), sides multiples of the factor; `sr` is not clamped.

    Returns:
        Shape (N,), at least float32; 0 for equal images.

    Raises:
        ValueError: if the shapes do not fit, or for another criterion.
    """
    with torch.no_grad():
        target = autoencoder.encode(hr)
    return pixel_loss(autoencoder.encode(sr), target, criterion=criterion)
