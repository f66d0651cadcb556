"""MATLAB-compatible bicubic resizing, and the conversions between 8-bit and floating-point images.

The resize follows MATLAB's imresize: Keys' cubic kernel (Keys 1981, "Cubic convolution interpolation for digital
image processing", a = -1/2), widened by the factor when shrinking (anti-aliasing), symmetric borders (the edge
pixel is repeated), output side ceil(scale * side). The resize is linear and separable, so each direction is
one banded matrix, built in float64, and autograd differentiates the matrix products.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

MAX_SCALE = 8

Direction = Literal["down", "up"]

_BAND = 48  # output rows: the matrices are sparse, and whole products would cost ten times as much on 2K images


def bicubic_downsample(images: Tensor, scale: int) -> Tensor:
    """Shrink images by an integer factor, with anti-aliasing, as MATLAB's imresize(images, 1/scale) does.

    images: shape (N, C, H, W), any floating-point dtype and value range. Returns (N, C, ceil(H/scale),
    ceil(W/scale)) in the same dtype and on the same device. Computed in float64 whatever the dtype (also
    under autocast); neither clipped nor rounded, so values may leave the input's range by the kernel's
    overshoot. Raises ValueError for another number of dimensions, an integer dtype, or a scale outside 1..8.
    """
    return _resize(images, scale, "down")


def bicubic_upsample(images: Tensor, scale: int) -> Tensor:
    """Enlarge images by an integer factor, as MATLAB's imresize(images, scale) does.

    images: shape (N, C, H, W), any floating-point dtype and value range. Returns (N, C, scale*H, scale*W);
    otherwise as `bicubic_downsample`.
    """
    return _resize(images, scale, "up")


def to_uint8(images: Tensor) -> Tensor:
    """Convert floating-point images in [0, 1], any shape, to 8 bit: clip, then round to the nearest level.

    Exact halves round away from zero, as in MATLAB's im2uint8. Raises ValueError for an integer dtype or a
    NaN.
    """
    if not images.is_floating_point():
        raise ValueError(f"to_uint8 needs floating-point images in [0, 1], but got {images.dtype}")
    return round_levels(images.detach().double() * 255)


def round_levels(levels: Tensor) -> Tensor:
    """Round floating-point values in 8-bit levels (0..255) to uint8, as `to_uint8` does."""
    if bool(torch.isnan(levels).any()):
        raise ValueError("images to be written as 8 bit must be numbers, but some values are NaN")
    # In float64: in float32, 0.49999997 plus a half rounds to 1.
    return (levels.double().clamp(0, 255) + 0.5).floor().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images, any shape, to float32 in [0, 1]; `to_uint8` inverts it exactly."""
    if images.dtype != torch.uint8:
        raise ValueError(f"to_float needs uint8 images, but got {images.dtype}")
    return images.to(torch.float32).div_(255)


def check_scale(scale: int) -> None:
    """Raise ValueError unless the scale is an integer that the resize supports, 1..8."""
    if isinstance(scale, bool) or not isinstance(scale, int) or not 1 <= scale <= MAX_SCALE:
        raise ValueError(f"scale must be an integer from 1 to {MAX_SCALE}, but got {scale!r}")


def _resize(images: Tensor, scale: int, direction: Direction) -> Tensor:
    _check(images, scale)
    height, width = images.shape[-2:]
    rows = _bands(height, scale, direction, images.device)
    columns = _bands(width, scale, direction, images.device)
    # Rows first, as MATLAB does with equal factors.
    rows_done = torch.cat([band @ images[..., first:last, :].double() for first, last, band in rows], dim=-2)
    parts = [(rows_done[..., first:last] @ band.T).to(images.dtype) for first, last, band in columns]
    return torch.cat(parts, dim=-1)


def _check(images: Tensor, scale: int) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must have shape (N, C, H, W), but got {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be floating point, but got {images.dtype}: convert with to_float first")
    check_scale(scale)
    if 0 in images.shape[-2:]:
        raise ValueError(f"images must have at least one pixel a side, but got {tuple(images.shape)}")


@lru_cache(maxsize=64)
def _bands(size: int, scale: int, direction: Direction, device: torch.device) -> list[tuple[int, int, Tensor]]:
    """Return the float64 matrix of one direction, with mirrored borders, as bands of output rows without their zeros.

    Each is (first input, last input + 1, (outputs, inputs) matrix). Rows sum to 1.
    """
    matrix = _weight_matrix(size, scale, direction)
    bands = []
    for start in range(0, len(matrix), _BAND):
        rows = matrix[start : start + _BAND]
        used = np.flatnonzero(rows.any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        bands.append((first, last, np.ascontiguousarray(rows[:, first:last])))
    with torch.inference_mode(False):  # autograd could not use cached tensors that were made under inference mode
        return [(first, last, torch.from_numpy(rows).to(device)) for first, last, rows in bands]


def downsampling_matrix(size: int, scale: int) -> np.ndarray:
    """Return the matrix of `bicubic_downsample` along one axis: float64, shape (ceil(size / scale), size)."""
    check_scale(scale)
    return _weight_matrix(size, scale, "down")


def _weight_matrix(size: int, scale: int, direction: Direction) -> np.ndarray:
    """Return the (outputs, inputs) matrix; i is an output index, u its centre, j an input index, both from 1."""
    step = float(scale) if direction == "down" else 1 / scale  # input pixels per output pixel
    squeeze = 1 / scale if direction == "down" else 1.0  # the kernel is widened only when shrinking
    out_size = -(-size // scale) if direction == "down" else size * scale

    i = np.arange(1, out_size + 1, dtype=np.float64)
    u = i * step + 0.5 * (1 - step)
    # Two taps more than the kernel's width, so that rounding of u loses none; the spare taps have weight 0.
    num_taps = int(4 / squeeze) + 2
    j = np.floor(u - 2 / squeeze)[:, None] + np.arange(num_taps)  # (out_size, taps)
    taps = _keys_kernel(squeeze * (u[:, None] - j))
    taps /= taps.sum(axis=1, keepdims=True)

    matrix = np.zeros((out_size, size))
    rows = np.broadcast_to(np.arange(out_size)[:, None], j.shape)
    np.add.at(matrix, (rows, _mirror(j.astype(np.int64) - 1, size)), taps)
    return matrix


def _keys_kernel(t: np.ndarray) -> np.ndarray:
    """Evaluate Keys' cubic convolution kernel with a = -1/2 (Keys 1981, equation 15)."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))


def _mirror(index: np.ndarray, size: int) -> np.ndarray:
    """Fold any 0-based index into 0..size-1: 1 0 | 0 1 ... size-1 | size-1 ..., repeated for small images."""
    folded = index % (2 * size)
    return np.where(folded < size, folded, 2 * size - 1 - folded)
