"""AESOP's loss-map ablation: a pixel loss weighted by auto-encoded differences; docs/methods/aesop-ablations.md."""

import torch
from torch import Tensor, nn

from study.losses.adversarial import Mean
from study.losses.pixel import check_same_shape
from study.models.layers import at_least_float32

# Keeps the quotient finite where both auto-encoded images are equal.
EPSILON = 1e-12


def loss_map_loss(autoencoder: nn.Module, sr: Tensor, hr: Tensor, *, mean: Mean = torch.mean) -> Tensor:
    """Average |sr - hr| over the batch, weighted by |A(sr) - A(hr)|; the weights have a gradient too.

    Args:
        autoencoder: image to image of the same size; frozen by the caller.
        sr, hr: RGB images, shape (N, 3, H, W); `sr` is not clamped.
        mean: over the whole batch of all processes.

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
