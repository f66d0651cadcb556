"""Kernels against their formulas, point by point, and against their frequency response."""

import math

import numpy as np
import pytest
import torch

from study.data.blur_kernels import density_kernel, low_pass_kernel


def by_hand(family: str, size: int, sigma: tuple[float, float], rotation: float, beta: float) -> np.ndarray:
    """With the inverse of the covariance matrix, one grid point at a time."""
    turn = np.array([[math.cos(rotation), -math.sin(rotation)], [math.sin(rotation), math.cos(rotation)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma[0] ** 2, sigma[1] ** 2]) @ turn.T)
    kernel = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            point = np.array([column - size // 2, row - size // 2])
            distance = float(point @ inverse @ point)
            match family:
                case "gaussian":
                    kernel[row, column] = math.exp(-0.5 * distance)
                case "generalized":
                    kernel[row, column] = math.exp(-0.5 * distance**beta)
                case "plateau":
                    kernel[row, column] = 1 / (distance**beta + 1)
    return kernel / kernel.sum()


@pytest.mark.parametrize("family", ["gaussian", "generalized", "plateau"])
@pytest.mark.parametrize(
    ("sigma", "rotation", "beta"), [((1.3, 1.3), 0.0, 1.0), ((0.4, 2.7), 1.1, 0.6), ((2.0, 0.7), -2.5, 3.2)]
)
def test_densities_point_by_point(family: str, sigma: tuple[float, float], rotation: float, beta: float) -> None:
    kernel = density_kernel(family, 13, sigma, rotation, beta)  # type: ignore[arg-type]
    np.testing.assert_allclose(kernel.numpy(), by_hand(family, 13, sigma, rotation, beta), rtol=1e-9, atol=1e-300)


def test_moments_of_a_gaussian() -> None:
    kernel = density_kernel("gaussian", 41, (3.0, 1.5), 0.0)
    steps = torch.arange(41, dtype=torch.float64) - 20
    assert float(kernel.sum()) == pytest.approx(1)
    assert float((kernel.sum(0) * steps**2).sum()) == pytest.approx(9.0, rel=1e-3)  # along the rows: the first axis
    assert float((kernel.sum(1) * steps**2).sum()) == pytest.approx(2.25, rel=1e-3)


def test_a_generalized_kernel_of_shape_one_is_the_gaussian() -> None:
    first, second = (density_kernel(family, 9, (1.2, 0.8), 0.3, 1.0) for family in ("gaussian", "generalized"))
    assert torch.equal(first, second)


@pytest.mark.parametrize("cutoff", [math.pi / 5, math.pi / 3, 2.0, math.pi])
def test_the_low_pass_filter_equals_bessels_integral(cutoff: float) -> None:
    angles = (np.arange(20_000) + 0.5) * math.pi / 20_000
    kernel = np.zeros((9, 9))
    for row in range(9):
        for column in range(9):
            radius = math.hypot(row - 4, column - 4)
            j1 = float(np.mean(np.cos(angles - cutoff * radius * np.sin(angles))))
            kernel[row, column] = cutoff * j1 / (2 * math.pi * radius) if radius else cutoff**2 / (4 * math.pi)
    np.testing.assert_allclose(low_pass_kernel(9, cutoff).numpy(), kernel / kernel.sum(), rtol=0, atol=2e-7)


def test_the_low_pass_filter_passes_low_frequencies_alone() -> None:
    cutoff = math.pi / 2
    response = torch.fft.fft2(low_pass_kernel(81, cutoff), s=(256, 256)).abs()
    along = response[0]
    inside, outside = int(0.8 * cutoff / math.pi * 128), int(1.2 * cutoff / math.pi * 128)
    assert float((along[:inside] - 1).abs().max()) < 0.12
    assert float(along[outside:129].max()) < 0.12


def test_even_sizes_have_no_centre() -> None:
    with pytest.raises(ValueError, match="must be odd, but got 8"):
        low_pass_kernel(8, 1.0)
