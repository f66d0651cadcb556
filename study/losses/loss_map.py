"""AESOP's ablation that uses the auto-encoded difference as the weights of a pixel loss (METHODS 1.6)."""

import torch
from torch import Tensor, nn
from study.models.layers import at_least_float32
from study.losses.pixel import check_same_shape

from study.losses.adversarial import Mean

# Keeps the quotient finite where both images are the same to the auto-encoder.
EPSILON = 1e-12


def loss_map_loss(autoencoder: nn.Module, sr: Tensor, hr: Tensor, *, mean: Mean = torch.mean) -> Tensor:
    """Average |sr - hr| over the batch, weighted by |A(sr) - A(hr)|; the weights carry a gradient too.

    Args:
        autoencoder: image to image of the same size; frozen by the caller.
        sr, hr: RGB images, shape (N, 3, H, W); `sr` is not clamped.
        mean: over the whole batch, where this process has a part of it.

    Returns:
        Shape (N,), at least float32: each image's share of the weighted sum times N, so that the mean is the loss,
        sum(weight * |sr - hr|) / sum(weight) over all of the batch. 0 for equal images, with a finite gradient.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same_shape(sr, hr)
    with torch.no_grad():
        target = at_least_float32(autoencoder(hr))
    weight = (at_least_float32(autoencoder(sr)) - target).abs()
    difference = (at_least_float32(sr) - at_least_float32(hr)).abs()
    shares = (weight * difference).sum(dim=(1, 2, 3))
    whole = len(sr) * mean(weight.sum(dim=(1, 2, 3)))
    return len(sr) * shares / (whole + EPSILON)
