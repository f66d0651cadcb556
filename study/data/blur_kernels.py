"""The blur kernels of Real-ESRGAN's degradation: bivariate Gaussians, their variants, and the circular low-pass filter.

Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", sections 3.2 and
3.3; the generalised and the plateau-shaped densities are those of Liu et al. 2020, "Estimating generalized Gaussian
blur kernels for out-of-focus image deblurring".
"""

import math
from typing import Literal

import torch
from torch import Tensor

Family = Literal["gaussian", "generalized", "plateau"]


def density_kernel(family: Family, size: int, sigma: tuple[float, float], rotation: float, beta: float = 1.0) -> Tensor:
    """Sample a bivariate density on a grid and normalise it.

    With d the squared Mahalanobis distance from the centre: exp(-d/2) is the Gaussian, exp(-d^beta/2) the generalised
    one, 1/(1 + d^beta) the plateau.

    Args:
        family: the density.
        size: odd, in pixels a side.
        sigma: standard deviations along the two main axes, in pixels.
        rotation: of the first axis against the rows, in radians.
        beta: the shape exponent; the Gaussian ignores it.

    Returns:
        (size, size) float64, positive, summing to 1.
    """
    cosine, sine = math.cos(rotation), math.sin(rotation)
    x, y = _grid(size)
    along, across = (x * cosine + y * sine) / sigma[0], (y * cosine - x * sine) / sigma[1]
    distance = along.square() + across.square()
    match family:
        case "gaussian":
            density = torch.exp(-distance / 2)
        case "generalized":
            density = torch.exp(-distance.pow(beta) / 2)
        case "plateau":
            density = 1 / (1 + distance.pow(beta))
    return density / density.sum()


def low_pass_kernel(size: int, cutoff: float) -> Tensor:
    """Return the ideal circular low-pass filter, cut to a square and normalised; it causes ringing.

    Its values are cutoff * J1(cutoff * r) / (2 pi r) at distance r, the inverse transform of a disc.

    Args:
        size: odd, in pixels a side.
        cutoff: in radians a pixel, in (0, pi].

    Returns:
        (size, size) float64, summing to 1.
    """
    x, y = _grid(size)
    radius = torch.sqrt(x.square() + y.square())
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)  # the limit at 0
    return kernel / kernel.sum()


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """Return columns and rows counted from the centre, each (size, size)."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the size of a kernel must be odd, but got {size}")
    steps = torch.arange(size, dtype=torch.float64) - size // 2
    return steps.expand(size, size), steps[:, None].expand(size, size)
