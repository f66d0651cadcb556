"""Nearest-neighbour enlarging and the 3x3 convolution after it, as one convolution of the small image.

After doubling, a 3x3 window covers 2x2 different pixels at most, so each of the four phases of the output is a 2x2
convolution of the small image whose weights are sums of the 3x3 ones: 4 multiplications in place of 9, and no enlarged
copy of the features (the sub-pixel view of resize-convolution, Shi et al. 2016, arXiv 1609.07009).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# By the phase of an output row: the rows of a 3x3 kernel that fall on the upper and on the lower of two input rows.
_SHARED_ROWS = ([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def enlarge_and_convolve(features: Tensor, conv: nn.Conv2d, factor: int) -> Tensor:
    """Compute `conv(interpolate(features, scale_factor=factor, mode="nearest"))`, up to rounding.

    Args:
        features: shape (N, C, H, W).
        conv: 3x3, stride 1, padding 1, with bias.
        factor: 1 and above; only 2 is computed as one convolution.

    Returns:
        Shape (N, C', factor * H, factor * W).
    """
    if factor != 2:
        return conv(F.interpolate(features, scale_factor=factor, mode="nearest"))
    assert conv.bias is not None
    weight, bias = _phase_weights(conv.weight), conv.bias.repeat(4)
    interleaved: Tensor = _Interleave.apply(F.conv2d(features, weight, bias, padding=1))
    return interleaved


def _phase_weights(weight: Tensor) -> Tensor:
    """Convert 3x3 kernels (O, I, 3, 3) to the 2x2 ones of the four phases, row by row: (4 * O, I, 2, 2)."""
    shared = torch.tensor(_SHARED_ROWS, dtype=weight.dtype, device=weight.device)
    phases = torch.einsum("auk,bvl,oikl->aboiuv", shared, shared, weight)
    return phases.flatten(0, 2).contiguous(memory_format=torch.channels_last)


class _Interleave(torch.autograd.Function):
    """Interleave four phases (N, 4 * C, H + 1, W + 1) into (N, C, 2 * H, 2 * W), channels last.

    Phases of even rows are the padded 2x2 convolution without its last row, the others without its first; likewise for
    columns.
    """

    @staticmethod
    def forward(context: Any, phases: Tensor) -> Tensor:
        context.shape = phases.shape
        count, channels, height, width = phases.shape
        pixels = _empty(phases, (count, channels // 4, 2 * height - 2, 2 * width - 2))
        for place, phase in zip(_places(pixels), _phases(phases), strict=True):
            place.copy_(phase)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(context: Any, slope: Tensor) -> Tensor:
        phases = _empty(slope, context.shape).zero_()
        for place, phase in zip(_places(slope), _phases(phases), strict=True):
            phase.copy_(place)
        return phases


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _places(pixels: Tensor) -> list[Tensor]:
    """Return views of the pixels of each phase, in the order of the phases."""
    return [pixels[:, :, down::2, right::2] for down in (0, 1) for right in (0, 1)]


def _phases(phases: Tensor) -> list[Tensor]:
    """Return each phase of the padded convolution's output, without the row and column of the others."""
    height, width = phases.shape[2] - 1, phases.shape[3] - 1
    corners = [(down, right) for down in (0, 1) for right in (0, 1)]
    return [
        phase[:, :, down : down + height, right : right + width]
        for phase, (down, right) in zip(phases.chunk(4, dim=1), corners, strict=True)
    ]
