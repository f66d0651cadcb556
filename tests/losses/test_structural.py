"""SSIM against scikit-image's, MS-SSIM against its definition written out, and their gradients on hard cases."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from study.losses import ms_ssim_loss, ssim_loss

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def pair(side: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(side)
    rows, columns = np.mgrid[:side, : side + 7]
    hr = 0.5 + 0.3 * np.sin(rows / 3)[None, None] * np.cos(columns / np.array([3, 4, 5])[:, None, None])[None]
    sr = hr + noise * rng.standard_normal(hr.shape)
    return torch.from_numpy(sr), torch.from_numpy(hr)


def test_ssim_is_scikit_images() -> None:
    sr, hr = pair(40)
    ours = ssim_loss(sr, hr)
    x, y = (image[0].permute(1, 2, 0).numpy() for image in (sr, hr))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    theirs = structural_similarity(x, y, channel_axis=2, **options)
    assert ours.item() == pytest.approx(1 - theirs, rel=1e-9)


def factors(x: Tensor, y: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Compute luminance, and contrast and structure, one window at a time."""
    offsets = torch.arange(window) - window // 2
    taps = torch.exp(-(offsets.double() ** 2) / 4.5)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    cut = lambda images: images.unfold(2, window, 1).unfold(3, window, 1)  # noqa: E731
    mean = lambda values: (values * kernel).sum(dim=(-2, -1))  # noqa: E731
    a, b = cut(x), cut(y)
    ma, mb = mean(a), mean(b)
    va, vb = mean((a - ma[..., None, None]) ** 2), mean((b - mb[..., None, None]) ** 2)
    both = mean((a - ma[..., None, None]) * (b - mb[..., None, None]))
    return (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4), (2 * both + 9e-4) / (va + vb + 9e-4)


@pytest.mark.parametrize(("side", "window"), [(180, 11), (100, 5), (64, 3)])
def test_ms_ssim_is_its_definition(side: int, window: int) -> None:
    sr, hr = pair(side)
    x, y, product = sr, hr, torch.ones(1, 3, dtype=torch.float64)
    for level, weight in enumerate(WEIGHTS):
        luminance, structure = factors(x, y, window)
        similarity = (structure * luminance if level == 4 else structure).mean(dim=(2, 3))
        product = product * similarity**weight
        x, y = (
            image[..., : image.shape[2] // 2 * 2, : image.shape[3] // 2 * 2]
            .unflatten(2, (-1, 2))
            .unflatten(4, (-1, 2))
            .mean(dim=(3, 5))
            for image in (x, y)
        )
    expected = 0.84 * (1 - product.mean()) + 0.16 * (sr - hr).abs().mean()
    assert ms_ssim_loss(sr, hr).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("loss", [ssim_loss, ms_ssim_loss])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_flat_and_opposite_images_have_finite_values_and_gradients(loss, dtype) -> None:  # type: ignore[no-untyped-def]
    _, hr = pair(64)
    hr = hr.to(dtype)
    flat = torch.full_like(hr, 0.5)
    for target, start in ((hr, hr), (flat, flat), (hr, 1 - hr), (flat, hr)):
        sr = start.clone().requires_grad_()
        value = loss(sr, target)
        (gradient,) = torch.autograd.grad(value.sum(), sr)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()
        if start is target:
            assert value.abs().max() < 1e-6


@pytest.mark.parametrize(("loss", "side"), [(ssim_loss, 10), (ms_ssim_loss, 32)])
def test_too_small_images_are_refused(loss, side: int) -> None:  # type: ignore[no-untyped-def]
    small = torch.rand(1, 3, side, 64)
    with pytest.raises(ValueError, match=f"at least {side + 1} px"):
        loss(small, small)
