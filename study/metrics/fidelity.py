"""Fidelity to the reference image: PSNR and SSIM on luma, PSNR on RGB, MS-SSIM; docs/methods/metrics.md.

Each metric is a pair of functions, so that one preparation of an HR image serves many SR images: one prepares an image,
one compares an SR image with the result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from study.metrics.quantise import check_pair, to_levels
from study.metrics.tiled import ALIGNMENT, Tile, Tiled, mean, sum_and_count

CROP = 4
"""HR pixels to leave out along each side at every scale, as in AESOP's tables."""

# ITU-R BT.601 luma of RGB in [0, 1], in 8-bit units: 16 (black) to 235 (white).
_LUMA_WEIGHTS = (65.481, 128.553, 24.966)
_LUMA_OFFSET = 16.0
_WINDOW, _SIGMA = 11, 1.5
SSIM_BORDER = _WINDOW // 2
"""Pixels along each side that are the centre of no window."""
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM, from fine to coarse
_BAND = 48  # rows that one matrix product blurs: for all rows, the window's matrix would be nearly empty

MS_SSIM_SIDE = 161
"""Of images: below it, the coarsest of MS-SSIM's five scales would be smaller than its window."""


@dataclass(frozen=True)
class Blurred:
    """An image and its local moments for SSIM: (N, 1, H, W) and twice (N, 1, H - 10, W - 10), float64."""

    image: Tensor
    mean: Tensor
    mean_square: Tensor


def psnr_y(sr: Tensor, hr: Tensor, crop: int = CROP) -> Tensor:
    """Compute the peak signal-to-noise ratio of luma, in dB: 10 log10(1 / (MSE + 1e-8)).

    Higher is better; identical images give 80 dB, the maximum.

    Args:
        sr, hr: RGB images in [0, 1], shape (N, 3, H, W); quantised to 8 bits here. `sr` is clamped.
        crop: pixels to leave out along each side.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: for shapes that differ, images not larger than the crop, or `hr` outside [0, 1].
    """
    _check(sr, hr, crop=crop, smallest_side=1)
    return psnr(cropped_luma(sr, crop), cropped_luma(hr, crop))


def ssim_y(sr: Tensor, hr: Tensor, crop: int = CROP) -> Tensor:
    """Compute the structural similarity of luma (Wang et al., 2004).

    Higher is better; identical images give 1, the maximum. The window is an 11x11 Gaussian of sigma 1.5 inside the
    image; there is no down-sampling.

    Args:
        sr, hr, crop: as for `psnr_y`; the cropped image needs sides of at least 11.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: as `psnr_y`.
    """
    _check(sr, hr, crop=crop, smallest_side=_WINDOW)
    return ssim(cropped_luma(sr, crop), blurred(cropped_luma(hr, crop)))


def psnr_rgb(sr: Tensor, hr: Tensor, crop: int = CROP) -> Tensor:
    """Compute the peak signal-to-noise ratio over all three channels, in dB; otherwise as `psnr_y`."""
    _check(sr, hr, crop=crop, smallest_side=1)
    return psnr(cropped_levels(sr, crop), cropped_levels(hr, crop))


def ms_ssim(sr: Tensor, hr: Tensor, crop: int = CROP) -> Tensor:
    """Compute the multi-scale structural similarity of luma (Wang et al., 2003) on five scales.

    Higher is better; identical images give 1, the maximum. Structure below zero counts as zero. Scales are means of
    2 x 2 pixels; an odd side is padded with zeros in front, as in the pytorch-msssim package.

    Args:
        sr, hr, crop: as for `psnr_y`; the cropped image needs sides of at least 161.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: as `psnr_y`.
    """
    _check(sr, hr, crop=crop, smallest_side=MS_SSIM_SIDE)
    return multi_scale_ssim(cropped_luma(sr, crop), blurred_scales(cropped_luma(hr, crop)))


def cropped_luma(images: Tensor, crop: int = CROP) -> Tensor:
    """Return cropped luma of quantised images, in 8-bit units, not rounded: (N, 1, H - 2 crop, W - 2 crop), float64."""
    return luma_of_levels(cropped_levels(images, crop))


def cropped_levels(images: Tensor, crop: int = CROP) -> Tensor:
    """Return cropped, quantised images in levels of 255: (N, 3, H - 2 crop, W - 2 crop), float64."""
    height, width = images.shape[-2:]
    # Round in the images' precision, as when they are written to files; convert to float64 afterwards.
    return to_levels(images[..., crop : height - crop, crop : width - crop]).double()


def luma_of_levels(levels: Tensor) -> Tensor:
    """Return luma in 8-bit units of RGB images in levels of 255, not rounded: shape (N, 1, H, W)."""
    weights = torch.tensor(_LUMA_WEIGHTS, dtype=levels.dtype, device=levels.device).view(1, 3, 1, 1)
    return (levels / 255 * weights).sum(dim=1, keepdim=True) + _LUMA_OFFSET


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Compute the PSNR in dB of images in levels of 255, shape (N, C, H, W), float64: at most 80."""
    return decibels(square_error(x, y).mean(dim=(1, 2, 3)))


def square_error(x: Tensor, y: Tensor) -> Tensor:
    """Return the square error of each value of images in levels of 255, in units of 255 squared; the same shape."""
    return (x / 255 - y / 255).square()


def decibels(mean_square: Tensor) -> Tensor:
    """Return the PSNR in dB of a mean of `square_error`."""
    return -10 * torch.log10(mean_square + 1e-8)


def blurred(image: Tensor) -> Blurred:
    """Prepare a luma image (N, 1, H, W), float64, for `ssim`."""
    mean, mean_square = _blur(torch.stack([image, image * image]))
    return Blurred(image, mean, mean_square)


def ssim(x: Tensor, y: Blurred) -> Tensor:
    """Compute the SSIM of luma images in 8-bit units, shape (N, 1, H, W), float64."""
    return _similarity(x, y)[0]


def psnr_in_tiles(convert: Callable[[Tensor], Tensor], *, step: int = 1, border: int = CROP) -> Tiled:
    """Return the PSNR of what `convert` makes of images: a value each `step` pixels, from `border` pixels inside."""

    def sums(sr: Tensor, hr: Tensor, tile: Tile) -> list[Tensor]:
        return [sum_and_count(tile.own(square_error(convert(sr), convert(hr)), step=step, border=border))]

    return Tiled(120, ALIGNMENT, sums, lambda totals: decibels(mean(totals[0])))


def _ssim_sums(sr: Tensor, hr: Tensor, tile: Tile) -> list[Tensor]:
    similarity = similarities(cropped_luma(sr), blurred(cropped_luma(hr)))[0]
    return [sum_and_count(tile.own(similarity, border=CROP + SSIM_BORDER))]


SSIM_IN_TILES = Tiled(200, ALIGNMENT, _ssim_sums, lambda totals: mean(totals[0]))
"""SSIM-Y of large images."""


def blurred_scales(image: Tensor) -> list[Blurred]:
    """Prepare a luma image (N, 1, H, W), float64, for `multi_scale_ssim`."""
    return [blurred(scale) for scale in _scales(image)]


def multi_scale_ssim(x: Tensor, y: list[Blurred]) -> Tensor:
    """Compute the MS-SSIM of luma images in 8-bit units, shape (N, 1, H, W), float64."""
    parts = [_similarity(*pair) for pair in zip(_scales(x), y, strict=True)]
    factors = [structure for _, structure in parts[:-1]] + [parts[-1][0]]
    weights = x.new_tensor(_SCALE_WEIGHTS)[:, None]
    return (torch.stack(factors).clamp(min=0) ** weights).prod(dim=0)


def _scales(image: Tensor) -> list[Tensor]:
    """Return an image (N, 1, H, W) and its successive halves, from fine to coarse."""
    scales = [image]
    for _ in _SCALE_WEIGHTS[1:]:
        odd = [side % 2 for side in scales[-1].shape[-2:]]
        scales.append(F.avg_pool2d(scales[-1], 2, padding=odd))
    return scales


def _similarity(x: Tensor, y: Blurred) -> tuple[Tensor, Tensor]:
    """Return the means of SSIM and of its contrast and structure factor, each of shape (N,)."""
    whole, structure = similarities(x, y)
    return whole.mean(dim=(1, 2, 3)), structure.mean(dim=(1, 2, 3))


def similarities(x: Tensor, y: Blurred) -> tuple[Tensor, Tensor]:
    """Return SSIM and its contrast and structure factor in each window: shape (N, 1, H - 10, W - 10)."""
    mean_x, mean_xx, mean_xy = _blur(torch.stack([x, x * x, x * y.image]))
    squares, product = mean_x**2 + y.mean**2, mean_x * y.mean
    structure = (2 * (mean_xy - product) + _C2) / (mean_xx + y.mean_square - squares + _C2)
    luminance = (2 * product + _C1) / (squares + _C1)
    return luminance * structure, structure


def _check(sr: Tensor, hr: Tensor, *, crop: int, smallest_side: int) -> None:
    if crop < 0:
        raise ValueError(f"crop must be 0 or more pixels, but got {crop}")
    check_pair(sr, hr, smallest_side=smallest_side + 2 * crop)


def _blur(images: Tensor) -> Tensor:
    """Compute the Gaussian-weighted mean of each 11x11 window inside the images (..., H, W)."""
    return _blur_rows(_blur_rows(images).transpose(-1, -2)).transpose(-1, -2)


def _blur_rows(images: Tensor) -> Tensor:
    """Weigh each row with its neighbours: (..., H - 10, W).

    Computed as matrix products of bands of rows: on the CPU, a float64 convolution is several times slower (measured).
    """
    rows = images.shape[-2] - _WINDOW + 1
    missing = -rows % _BAND
    bands = F.pad(images, (0, 0, 0, missing)).unfold(-2, _BAND + _WINDOW - 1, _BAND)  # (..., bands, W, rows)
    weighed = bands @ _window_matrix(images.dtype, images.device).T
    return weighed.transpose(-1, -2).flatten(-3, -2)[..., :rows, :]


@lru_cache(maxsize=8)
def _window_matrix(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the window's matrix for a band of rows: shape (_BAND, _BAND + 10)."""
    # Later calls, with graph, share the cached tensor.
    with torch.inference_mode(False):
        offsets = torch.arange(_WINDOW, dtype=dtype, device=device) - _WINDOW // 2
        taps = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
        matrix = torch.zeros(_BAND, _BAND + _WINDOW - 1, dtype=dtype, device=device)
        for row in range(_BAND):
            matrix[row, row : row + _WINDOW] = taps / taps.sum()
    return matrix
