"""What every image loss asks of its inputs."""

import torch
from torch import Tensor


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


def at_least_float32(values: Tensor) -> Tensor:
    """Upcast half types, whose sums over an image lose too many digits; float64 stays as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
