"""The gradient map of an image, on which SPSR's second branch and second GAN work (METHODS 4.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Keeps the slope of the square root finite where an image is flat.
EPSILON = 1e-6


def gradient_map(images: Tensor, *, padding: int = 1) -> Tensor:
    """Measure how fast each colour changes: sqrt(v^2 + h^2 + 1e-6) of the central differences v and h.

    Args:
        images: shape (N, C, H, W); outside of them everything is 0.
        padding: 1 keeps the size, as inside the generator; 2 adds a pixel on each side, as in SPSR's losses.

    Returns:
        Shape (N, C, H + 2 * padding - 2, W + 2 * padding - 2), above 0.

    Raises:
        ValueError: if padding is below 1.
    """
    if padding < 1:
        raise ValueError(f"gradient_map's padding must be at least 1, but got {padding=}; use 1 to keep the size")
    padded = F.pad(images, (padding,) * 4)
    vertical = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    horizontal = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    return torch.sqrt(vertical.square() + horizontal.square() + EPSILON)
