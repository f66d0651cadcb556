"""MDF: the distance of two images in features of task-specific discriminators (Mustafa et al., WACV 2022)."""

from typing import Literal

import torch
from torch import Tensor

from study.losses.pixel import check_same_shape
from study.models.critics import RECEPTIVE_FIELD, Critics
from study.models.layers import at_least_float32

CriticsRange = Literal["unit", "signed"]


def mdf_loss(critics: Critics, sr: Tensor, hr: Tensor, *, used: int = 8, shown_range: CriticsRange = "unit") -> Tensor:
    """Sum the mean squared differences of three features of each critic; docs/methods/mdf.md.

    All critics get the images at full size; the features are those after the first block, after the last block, and
    the scores.

    Args:
        critics: frozen.
        sr, hr: RGB images, shape (N, 3, H, W), `hr` in [0, 1], sides of at least 11; `sr` is not clamped. The gradient
            goes to `sr` alone.
        used: number of critics, from the coarsest.
        shown_range: `unit` for images in [0, 1], as in the published example; `signed` in [-1, 1], as in the critics'
            training.

    Returns:
        Shape (N,), at least float32; 0 for equal images.

    Raises:
        ValueError: shapes that differ or are too small, or more critics than there are.
    """
    check_same_shape(sr, hr)
    if min(sr.shape[-2:]) < RECEPTIVE_FIELD:
        raise ValueError(f"sr and hr must have sides of at least {RECEPTIVE_FIELD} px, but got {tuple(sr.shape)}")
    if not 1 <= used <= len(critics.levels):
        raise ValueError(f"used must be 1 to {len(critics.levels)}, the number of critics, but got {used}")
    shown = (lambda images: 2 * images - 1) if shown_range == "signed" else (lambda images: images)
    with torch.no_grad():
        targets = critics.features(shown(hr), used)
    distances = [
        (at_least_float32(found) - at_least_float32(target)).square().mean(dim=(1, 2, 3))
        for found, target in zip(critics.features(shown(sr), used), targets, strict=True)
    ]
    return torch.stack(distances).sum(dim=0)
