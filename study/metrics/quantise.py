"""The first steps of every metric: check the pair, and round it to 8 bits as image files do."""

from torch import Tensor

from study.models.layers import at_least_float32


def quantise(images: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to the nearest of the 256 values of an 8-bit file.

    Args:
        images: any shape, float, nominally in [0, 1].

    Returns:
        Same shape, at least float32; NaN stays NaN, so that a diverged network is noticed.
    """
    return to_levels(images) / 255


def to_levels(images: Tensor) -> Tensor:
    """Convert images in [0, 1] to whole numbers from 0 to 255; same shape, at least float32."""
    return at_least_float32(images).mul(255).round_().clamp_(0, 255)


def check_pair(sr: Tensor, hr: Tensor, *, smallest_side: int) -> None:
    """Refuse pairs whose metrics would be meaningless.

    Raises:
        ValueError: unless both are float RGB batches (N, 3, H, W) of one shape, with sides of at least
            `smallest_side`, and `hr` lies in [0, 1]. Values of `sr` may lie outside.
    """
    if sr.ndim != 4 or sr.shape[1] != 3 or sr.shape != hr.shape:
        raise ValueError(
            "sr and hr must be RGB batches (N, 3, H, W) of the same shape, "
            f"but got {tuple(sr.shape)} and {tuple(hr.shape)}; crop them to agree, repeat a grey channel"
        )
    if min(hr.shape[-2:]) < smallest_side:
        raise ValueError(
            f"images must be at least {smallest_side} pixels high and wide for this metric, "
            f"but got {tuple(hr.shape)}; use larger images or a smaller crop"
        )
    if not (sr.is_floating_point() and hr.is_floating_point()):
        raise ValueError(f"images must be float in [0, 1], but got {sr.dtype} and {hr.dtype}; divide by 255")
    if hr.numel() and not (hr.min() >= 0 and hr.max() <= 1):
        raise ValueError(
            f"hr must lie in [0, 1], but its values run from {hr.min():g} to {hr.max():g}; divide 8-bit values by 255"
        )
