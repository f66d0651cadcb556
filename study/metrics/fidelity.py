"""Fidelity to the reference image on luma: PSNR-Y and SSIM-Y, by the conventions of METHODS 7.1 and 7.2."""

import torch
import torch.nn.functional as F
from torch import Tensor

from study.metrics.quantise import check_pair, to_levels

# ITU-R BT.601 luma of RGB in [0, 1], in 8-bit units: 16 (black) to 235 (white).
_LUMA_WEIGHTS = (65.481, 128.553, 24.966)
_LUMA_OFFSET = 16.0
_WINDOW, _SIGMA = 11, 1.5


def psnr_y(sr: Tensor, hr: Tensor, crop: int = 4) -> Tensor:
    """Measure the peak signal-to-noise ratio of luma, in dB: 10 log10(1 / (MSE + 1e-8)).

    Higher is better; identical images give 80 dB, no pair gives more. Source: METHODS 7.1.

    Args:
        sr, hr: RGB images in [0, 1], shape (N, 3, H, W); quantised to 8 bits here. `sr` is clamped.
        crop: pixels left out along each side, by custom the scale.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: for shapes that differ, images not larger than the crop, or `hr` outside [0, 1].
    """
    return _psnr(*_cropped_luma(sr, hr, crop=crop, smallest_side=1))


def luma_psnr(sr_levels: Tensor, hr_levels: Tensor) -> Tensor:
    """The same of images that count 8-bit levels, shape (N, 3, H, W), float64: as they are, without a crop."""
    return _psnr(_luma_of_levels(sr_levels), _luma_of_levels(hr_levels))


def _psnr(sr_luma: Tensor, hr_luma: Tensor) -> Tensor:
    mean_square = (sr_luma / 255 - hr_luma / 255).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(mean_square + 1e-8)


def ssim_y(sr: Tensor, hr: Tensor, crop: int = 4) -> Tensor:
    """Measure the structural similarity of luma (Wang et al., 2004).

    Higher is better, at most 1, which identical images give. An 11x11 Gaussian window of sigma 1.5, only
    where it lies inside the image; no down-sampling. Source: METHODS 7.2.

    Args:
        sr, hr, crop: as for `psnr_y`; what remains after the crop needs sides of at least 11.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: as `psnr_y`.
    """
    x, y = _cropped_luma(sr, hr, crop=crop, smallest_side=_WINDOW)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (_blur(image) for image in (x, y, x * x, y * y, x * y))
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    covariance = mean_xy - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _cropped_luma(sr: Tensor, hr: Tensor, *, crop: int, smallest_side: int) -> tuple[Tensor, Tensor]:
    """Luma of both in 8-bit units, unrounded, borders off: (N, 1, H - 2 crop, W - 2 crop), float64."""
    if crop < 0:
        raise ValueError(f"crop must be 0 or more pixels, but got {crop}")
    check_pair(sr, hr, smallest_side=smallest_side + 2 * crop)
    height, width = hr.shape[-2:]
    rows, columns = slice(crop, height - crop), slice(crop, width - crop)
    return _luma(sr[..., rows, columns]), _luma(hr[..., rows, columns])


def _luma(images: Tensor) -> Tensor:
    # Round in the images' own precision, as whoever writes them to a file does; only then go to float64.
    return _luma_of_levels(to_levels(images).double())


def _luma_of_levels(levels: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA_WEIGHTS, dtype=torch.float64, device=levels.device).view(1, 3, 1, 1)
    return (levels / 255 * weights).sum(dim=1, keepdim=True) + _LUMA_OFFSET


def _blur(image: Tensor) -> Tensor:
    """Gaussian-weighted mean of each 11x11 window inside the image (N, 1, H, W)."""
    offsets = torch.arange(_WINDOW, dtype=image.dtype, device=image.device) - _WINDOW // 2
    taps = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    taps = taps / taps.sum()
    return F.conv2d(F.conv2d(image, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1))
