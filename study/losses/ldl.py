"""LDL's loss and map (Liang et al., CVPR 2022): weigh pixels by the residual's variance; docs/methods/ldl.md.

R is the residual of the current image, R_e that of the EMA generator's image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from study.losses.pixel import check_same_shape
from study.models.layers import at_least_float32

WINDOW = 7
# Keeps the slope of v**(1/5) finite at v = 0, the variance of a residual that is flat.
EPSILON = 1e-12


def ldl_map(sr: Tensor, hr: Tensor, ema_sr: Tensor) -> Tensor:
    """Compute each pixel's weight: Var(R)^(1/5) times the local variance of R.

    The map is 0 where R < R_e: where the current image is closer to `hr` than the EMA image. It has a gradient for `sr`
    through both variances; only the mask is constant.

    Args:
        sr, hr, ema_sr: RGB images of one shape (N, 3, H, W), sides of at least 4; `ema_sr` gets no gradient.

    Returns:
        Shape (N, 1, H, W), at least float32, never negative.

    Raises:
        ValueError: if the shapes differ or a side is shorter than 4 pixels.
    """
    _check_images(sr, hr, ema_sr)
    residual = _residual(sr, hr)
    with torch.no_grad():
        improved = residual < _residual(ema_sr, hr)
    overall = residual.var(dim=(2, 3), keepdim=True).add(EPSILON).pow(1 / 5)
    return (overall * _local_variance(residual)).masked_fill(improved, 0.0)


def ldl_loss(sr: Tensor, hr: Tensor, ema_sr: Tensor, *, detach_map: bool = False) -> Tensor:
    """Average |W sr - W hr| over each image, with W the map.

    Args:
        sr, hr, ema_sr: as for `ldl_map`.
        detach_map: treat W as a constant, unlike the released code.

    Returns:
        Shape (N,), at least float32; 0 for equal images, its gradient finite there.

    Raises:
        ValueError: as `ldl_map`.
    """
    weight = ldl_map(sr, hr, ema_sr)
    if detach_map:
        weight = weight.detach()
    difference = at_least_float32(sr) - at_least_float32(hr)
    return (weight * difference).abs().mean(dim=(1, 2, 3))


def _check_images(sr: Tensor, hr: Tensor, ema_sr: Tensor) -> None:
    check_same_shape(sr, hr)
    check_same_shape(ema_sr, hr)
    if min(hr.shape[-2:]) <= WINDOW // 2:
        raise ValueError(
            f"images must be at least {WINDOW // 2 + 1} pixels high and wide for the {WINDOW}x{WINDOW} "
            f"window, but got {tuple(hr.shape)}; use larger patches"
        )


def _residual(image: Tensor, hr: Tensor) -> Tensor:
    return (at_least_float32(hr) - at_least_float32(image)).abs().sum(dim=1, keepdim=True)


def _local_variance(residual: Tensor) -> Tensor:
    """Compute the unbiased variance in the window around each pixel, mirrored at the border; shape kept."""
    count = WINDOW**2
    # E[x^2] - E[x]^2 cancels most digits: float64 has enough, and avoids a 49-fold copy of the images.
    padded = F.pad(residual.double(), (WINDOW // 2,) * 4, mode="reflect")
    mean = F.avg_pool2d(padded, WINDOW, stride=1)
    mean_square = F.avg_pool2d(padded.square(), WINDOW, stride=1)
    variance = (mean_square - mean.square()).clamp(min=0.0)
    return (variance * (count / (count - 1))).to(residual.dtype)
