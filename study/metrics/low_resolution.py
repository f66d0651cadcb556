"""Consistency of an SR image with its LR image: LR-PSNR in two forms, null-space energy; docs/methods/metrics.md."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from study.data.bicubic import bicubic_downsample, downsampling_matrix
from study.metrics.fidelity import luma_of_levels, psnr
from study.metrics.quantise import check_pair, to_levels

LR_CROP = 1


def lr_psnr(sr: Tensor, hr: Tensor, scale: int, crop: int = LR_CROP) -> Tensor:
    """Compute the PSNR between the luma of both shrunk images, in dB.

    Higher is better; identical images give 80 dB. Both are quantised to 8 bits, then shrunk by MATLAB's bicubic in
    float64, and not rounded again.

    Args:
        sr, hr: RGB images in [0, 1], shape (N, 3, H, W); `sr` is clamped.
        scale: the SR factor.
        crop: LR pixels to leave out along each side.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: for shapes that differ, images too small, or `hr` outside [0, 1].
    """
    check_pair(sr, hr, smallest_side=scale * (1 + 2 * crop))
    return psnr(shrunk_luma(sr, scale, crop), shrunk_luma(hr, scale, crop))


def lr_psnr_rgb(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """Compute the PSNR between both images shrunk to 8 bits, in dB, as in the NTIRE 2021 challenge on the SR space.

    Higher is better. On RGB, nothing cropped; shrunk by MATLAB's bicubic, rounded to 8 bits after the rows and again
    after the columns. The challenge has no upper limit; here it is 80 dB.

    Args:
        sr, hr, scale: as for `lr_psnr`.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: as `lr_psnr`.
    """
    check_pair(sr, hr, smallest_side=scale)
    return shrunk_levels_psnr(shrunk_levels(sr, scale), shrunk_levels(hr, scale))


def null_energy(sr: Tensor, scale: int) -> Tensor:
    """Compute the energy of an image in the null space of shrinking: mean square of y - B+ B y, in levels of 255.

    B is MATLAB's bicubic, B+ its pseudo-inverse: a loss on shrunk images does not depend on this part. Neither more nor
    less is better: an image that is too smooth has less than its HR image, one full of artefacts more.

    Args:
        sr: RGB images, shape (N, 3, H, W), sides multiples of the scale; quantised to 8 bits here.
        scale: the SR factor.

    Returns:
        Shape (N,), float64.
    """
    return null_part(to_levels(sr), scale).square().mean(dim=(1, 2, 3))


def null_part(images: Tensor, scale: int) -> Tensor:
    """Return the null-space part of images: y - B+ B y, which MATLAB's bicubic B shrinks to 0.

    Args:
        images: shape (N, C, H, W), any values.
        scale: the SR factor.

    Returns:
        The same shape, float64; orthogonal to every B+ z.
    """
    values = images.double()
    rows, columns = (_row_space_projection(side, scale, images.device) for side in images.shape[-2:])
    return values - rows @ values @ columns.T


def shrunk_luma(images: Tensor, scale: int, crop: int = LR_CROP) -> Tensor:
    """Prepare images (N, 3, H, W) for `lr_psnr`: (N, 1, h - 2 crop, w - 2 crop), float64, in 8-bit units."""
    shrunk = bicubic_downsample(to_levels(images).double(), scale)
    height, width = shrunk.shape[-2:]
    return luma_of_levels(shrunk[..., crop : height - crop, crop : width - crop])


def shrunk_levels(images: Tensor, scale: int) -> Tensor:
    """Prepare images (N, 3, H, W) for `lr_psnr_rgb`: (N, 3, h, w), float64, whole numbers from 0 to 255."""
    levels = to_levels(images).double()
    rows, columns = (_shrinking_matrix(side, scale, images.device) for side in images.shape[-2:])
    rounded = (rows @ levels).clamp(0, 255).round()
    return (rounded @ columns.T).clamp(0, 255).round()


def shrunk_levels_psnr(x: Tensor, y: Tensor) -> Tensor:
    """Compute the PSNR in dB of whole levels, (N, 3, h, w), without an epsilon, but at most 80: shape (N,)."""
    mean_square = (x / 255 - y / 255).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(mean_square.clamp(min=1e-8))


@lru_cache(maxsize=32)
def _shrinking_matrix(side: int, scale: int, device: torch.device) -> Tensor:
    """Return the matrix of shrinking along one axis, shape (ceil(side / scale), side), float64."""
    # Later calls, with graph, share the cached tensor.
    with torch.inference_mode(False):
        return torch.from_numpy(downsampling_matrix(side, scale)).to(device)


@lru_cache(maxsize=32)
def _row_space_projection(side: int, scale: int, device: torch.device) -> Tensor:
    """Return the projection onto the row space of shrinking along one axis, B+ B, shape (side, side)."""
    matrix = downsampling_matrix(side, scale)
    with torch.inference_mode(False):
        return torch.from_numpy(np.linalg.pinv(matrix) @ matrix).to(device)
