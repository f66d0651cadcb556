"""LR-PSNR and the null-space energy against their definitions by matrices, and closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor

from study.data.bicubic import downsampling_matrix
from study.metrics import lr_psnr, null_energy


def photograph(seed: int = 0, height: int = 48, width: int = 36) -> Tensor:
    levels = np.random.default_rng(seed).integers(0, 256, (1, 3, height, width))
    return torch.from_numpy(levels).float() / 255


def projection(side: int, scale: int) -> np.ndarray:
    matrix = downsampling_matrix(side, scale)
    return matrix.T @ np.linalg.solve(matrix @ matrix.T, matrix)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_psnr_is_the_psnr_of_shrunk_luma(scale: int) -> None:
    sr, hr = photograph(0), photograph(1)
    rows, columns = downsampling_matrix(48, scale), downsampling_matrix(36, scale)
    weights = np.array([65.481, 128.553, 24.966])[:, None, None]
    lumas = []
    for image in (sr, hr):
        shrunk = rows @ image[0].double().numpy() @ columns.T
        lumas.append((shrunk * weights).sum(axis=0)[1:-1, 1:-1] / 255)
    expected = -10 * np.log10(np.mean((lumas[0] - lumas[1]) ** 2) + 1e-8)
    assert lr_psnr(sr, hr, scale).item() == pytest.approx(expected, abs=1e-5)
    assert lr_psnr(hr, hr, scale).item() == pytest.approx(80, abs=1e-9)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_null_energy_is_what_the_projection_leaves(scale: int) -> None:
    image = photograph()
    levels = (image[0].double() * 255).round().numpy()
    seen = projection(48, scale) @ levels @ projection(36, scale).T
    assert null_energy(image, scale).item() == pytest.approx(np.mean((levels - seen) ** 2), rel=1e-9)


def test_null_energy_of_flat_images_and_of_noise() -> None:
    flat = torch.full((1, 3, 48, 48), 128 / 255)
    assert null_energy(flat, 4).item() < 1e-18
    noise = photograph(3, 48, 48)
    variance = (noise.double() * 255).var(correction=0).item()
    assert null_energy(noise, 4).item() == pytest.approx(variance * (1 - 1 / 16), rel=0.1)  # rank 1/r**2


def test_too_small_images_are_refused() -> None:
    small = photograph(0, 8, 12)
    with pytest.raises(ValueError, match="12"):
        lr_psnr(small, small, 4)
