"""Losses of structural similarity: 1 - SSIM, and MS-SSIM with L1 (Wang et al. 2003, 2004; Zhao et al. 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from study.losses.pixel import check_same_shape, pixel_loss
from study.models.layers import at_least_float32

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
LEVEL_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_SHARE = 0.84
SMALLEST_MS_SIDE = 33
# Lower bound of a level's similarity: powers of numbers near and below zero have no usable gradient.
FLOOR = 1e-4


def ssim_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Compute 1 - SSIM of each colour of RGB images, with an 11 x 11 Gaussian window of sigma 1.5.

    Args:
        sr, hr: shape (N, 3, H, W), `hr` in [0, 1], sides of at least 11; `sr` is not clamped.

    Returns:
        Shape (N,), at least float32; 0 for equal images.

    Raises:
        ValueError: shapes that differ or are too small.
    """
    _check(sr, hr, WINDOW)
    luminance, structure = _similarities(at_least_float32(sr), at_least_float32(hr), WINDOW)
    return 1 - (luminance * structure).mean(dim=(1, 2, 3))


def ms_ssim_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Compute 0.84 (1 - MS-SSIM) + 0.16 L1 of RGB images (Zhao et al. 2017).

    MS-SSIM has five levels, each half as large as the one before. Its window is 11 x 11, and smaller for images below
    176 px, so that it fits into the coarsest level.

    Args:
        sr, hr: shape (N, 3, H, W), `hr` in [0, 1], sides of at least 33; `sr` is not clamped.

    Returns:
        Shape (N,), at least float32; 0 for equal images.

    Raises:
        ValueError: shapes that differ or are too small.
    """
    _check(sr, hr, SMALLEST_MS_SIDE)
    coarsest = min(sr.shape[-2:]) // 2 ** (len(LEVEL_WEIGHTS) - 1)
    window = min(WINDOW, coarsest - 1 + coarsest % 2)
    x, y = at_least_float32(sr), at_least_float32(hr)
    product = x.new_ones(x.shape[:2])
    for level, weight in enumerate(LEVEL_WEIGHTS, start=1):
        luminance, structure = _similarities(x, y, window)
        last = level == len(LEVEL_WEIGHTS)
        similarity = (luminance * structure if last else structure).mean(dim=(2, 3))
        product = product * similarity.clamp(min=FLOOR) ** weight
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return MS_SSIM_SHARE * (1 - product.mean(dim=1)) + (1 - MS_SSIM_SHARE) * pixel_loss(sr, hr)


def _check(sr: Tensor, hr: Tensor, smallest: int) -> None:
    check_same_shape(sr, hr)
    if min(sr.shape[-2:]) < smallest:
        raise ValueError(f"sr and hr must have sides of at least {smallest} px, but got {tuple(sr.shape)}")


def _similarities(x: Tensor, y: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return SSIM's luminance factor and its contrast and structure factor, for windows inside the images."""
    mean_x, mean_y = _blur(x, window), _blur(y, window)
    variance_x = _blur(x * x, window) - mean_x**2
    variance_y = _blur(y * y, window) - mean_y**2
    covariance = _blur(x * y, window) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance, (2 * covariance + C2) / (variance_x + variance_y + C2)


def _blur(images: Tensor, window: int) -> Tensor:
    offsets = torch.arange(window, dtype=images.dtype, device=images.device) - window // 2
    taps = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    taps = (taps / taps.sum()).expand(images.shape[1], 1, 1, window)
    blurred = F.conv2d(images, taps, groups=images.shape[1])
    return F.conv2d(blurred, taps.transpose(2, 3), groups=images.shape[1])
