"""AESOP's probabilistic ablation: a divergence of predicted Laplace distributions; docs/methods/aesop-ablations.md."""

from typing import Literal

import torch
from torch import Tensor

from study.losses.pixel import check_same_shape
from study.models.autoencoder import Autoencoder
from study.models.layers import at_least_float32

Direction = Literal["reverse", "forward"]
Form = Literal["released", "exact"]

SMALLEST_SCALE = 1e-6
SCALE_FACTOR = 2.0


def probabilistic_loss(
    autoencoder: Autoencoder,
    sr: Tensor,
    hr: Tensor,
    *,
    direction: Direction = "reverse",
    form: Form = "released",
) -> Tensor:
    """Compute the divergence between the auto-encoder's distributions of both images.

    Scales are clamped at 1e-6 and doubled, as in the released code.

    Args:
        autoencoder: with a scale head; frozen by the caller.
        sr, hr: RGB images, shape (N, 3, H, W); `sr` is not clamped.
        direction: reverse measures from SR (P) to HR (Q), forward from HR to SR.
        form: of `laplace_divergence`.

    Returns:
        Shape (N,), at least float32.

    Raises:
        ValueError: if the shapes differ or the auto-encoder has no scale head.
    """
    check_same_shape(sr, hr)
    with torch.no_grad():
        target = _distribution(autoencoder, hr)
    found = _distribution(autoencoder, sr)
    ends = (found, target) if direction == "reverse" else (target, found)
    return laplace_divergence(*ends, form=form).mean(dim=(1, 2, 3))


def laplace_divergence(p: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor], *, form: Form = "exact") -> Tensor:
    """Compute the divergence of Q from P for each value, with P and Q given by mean and scale b > 0.

    "exact" is the Kullback-Leibler divergence of Laplace distributions,
    ln(b_Q / b_P) + (b_P exp(-d / b_P) + d) / b_Q - 1 with d = |mu_P - mu_Q|; "released" lacks the exponential
    and is an upper bound; both are 0 for equal distributions.

    Returns:
        The shape of the means.
    """
    (p_mean, p_scale), (q_mean, q_scale) = p, q
    distance = (p_mean - q_mean).abs()
    spread = p_scale * torch.exp(-distance / p_scale) if form == "exact" else p_scale
    return torch.log(q_scale / p_scale) + (spread + distance) / q_scale - 1


def _distribution(autoencoder: Autoencoder, images: Tensor) -> tuple[Tensor, Tensor]:
    mean, scale = (at_least_float32(part) for part in autoencoder.distribution(images))
    return mean, scale.clamp(min=SMALLEST_SCALE) * SCALE_FACTOR
