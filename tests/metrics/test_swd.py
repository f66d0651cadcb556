"""The sliced Wasserstein distance against a transcription of the paper in NumPy and SciPy."""

import numpy as np
import pytest
import skimage
import torch
from scipy import ndimage, stats
from torch import Tensor

from study.metrics import swd
from study.metrics.swd import _laplacian_pyramid


def photograph(height: int = 96, width: int = 80, *, top: int = 100, left: int = 180) -> Tensor:
    levels = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
    return levels[..., top : top + height, left : left + width]


def noisy(image: Tensor, deviation: float, seed: int = 0) -> Tensor:
    return image + deviation * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def blurred_plane(plane: np.ndarray) -> np.ndarray:
    taps = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    return np.asarray(ndimage.convolve(plane, taps, mode="mirror"))


def pyramid(planes: np.ndarray) -> list[np.ndarray]:
    """Compute the Laplacian pyramid of (3, H, W): blur, drop every second, subtract the expanded result."""
    levels = []
    while (min(planes.shape[1:]) + 1) // 2 >= 16:
        half = np.stack([blurred_plane(plane) for plane in planes])[:, ::2, ::2]
        spread = np.zeros_like(planes)
        spread[:, ::2, ::2] = half
        levels.append(planes - 4 * np.stack([blurred_plane(plane) for plane in spread]))
        planes = half
    return [*levels, planes]


def all_patches(level: np.ndarray) -> np.ndarray:
    """Return every 7x7x3 patch, (P, 3, 49), normalised by its channel's mean and deviation."""
    _, height, width = level.shape
    patches = np.stack(
        [level[:, i : i + 7, j : j + 7].reshape(3, 49) for i in range(height - 6) for j in range(width - 6)]
    )
    return np.asarray((patches - patches.mean((0, 2), keepdims=True)) / patches.std((0, 2), keepdims=True))


def transcribed_swd(sr: Tensor, hr: Tensor, directions: list[np.ndarray]) -> float:
    """Compute the distance of one pair by one scipy Wasserstein distance per direction."""
    of_sr, of_hr = (pyramid(np.clip(np.round(image[0].numpy() * 255), 0, 255).astype(np.float64)) for image in (sr, hr))
    distances = []
    for sr_level, hr_level, lines in zip(of_sr, of_hr, directions, strict=True):
        a, b = (all_patches(level).reshape(-1, 147) for level in (sr_level, hr_level))
        distances.append(np.mean([stats.wasserstein_distance(a @ line, b @ line) for line in lines]))
    return float(1e3 * np.mean(distances))


def test_equals_the_transcription_where_every_patch_is_taken() -> None:
    hr = photograph(33, 41)  # odd sides; two levels, 33x41 and 17x21
    sr = noisy(hr, 0.05)
    generator = np.random.Generator(np.random.Philox(5))
    directions = []
    for _ in range(2):
        drawn = generator.standard_normal((512, 147))
        directions.append(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    assert swd(sr, hr, seed=5).item() == pytest.approx(transcribed_swd(sr, hr, directions), rel=1e-6)


def test_identical_images_give_0() -> None:
    hr = photograph()

    assert swd(hr, hr).item() == 0
    assert swd(hr + 0.4 / 255, hr).item() == 0  # the same 8-bit file


def test_grows_with_noise_and_with_blur() -> None:
    hr = photograph()
    noise = [swd(noisy(hr, deviation), hr).item() for deviation in (0.01, 0.03, 0.1)]
    blur = [
        swd(torch.from_numpy(ndimage.gaussian_filter(hr.numpy(), (0, 0, s, s))), hr).item() for s in (0.5, 1.0, 2.0)
    ]

    assert noise == sorted(noise)
    assert blur == sorted(blur)
    assert min(noise + blur) > 1


def test_misplaced_texture_costs_less_than_missing_texture() -> None:
    """PSNR, in contrast, prefers the blurred texture to the same texture moved by one pixel."""
    texture = noisy(torch.full((1, 3, 192, 192), 0.5), 0.1).clamp(0, 1)
    moved = texture.roll(1, dims=3)
    flat = torch.from_numpy(ndimage.gaussian_filter(texture.numpy(), (0, 0, 2, 2)))

    assert swd(moved, texture) < 0.6 * swd(flat, texture)
    assert (moved - texture).square().mean() > (flat - texture).square().mean()


def test_same_seed_same_value_and_nothing_else_is_drawn_from() -> None:
    hr = photograph(160, 160, left=100)  # more than 4096 places, so they are drawn
    sr = noisy(hr, 0.03)
    state = torch.random.get_rng_state()

    first, again, other = swd(sr, hr, seed=1), swd(sr, hr, seed=1), swd(sr, hr, seed=2)

    assert torch.equal(first, again)
    assert first.item() != other.item()
    assert other.item() == pytest.approx(first.item(), rel=0.1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_pairs_value_does_not_depend_on_its_batch() -> None:
    hr = torch.cat([photograph(64, 64), photograph(64, 64, top=300, left=20)])
    sr = noisy(hr, 0.03)

    together = swd(sr, hr)

    assert together.shape == (2,)
    assert together.dtype == torch.float64
    assert together.tolist() == pytest.approx([swd(sr[i : i + 1], hr[i : i + 1]).item() for i in (0, 1)])


def test_flat_images_are_finite() -> None:
    grey = torch.full((1, 3, 40, 40), 0.3)

    assert swd(grey, torch.full_like(grey, 0.9)).item() == 0  # normalised, both are nothing
    assert swd(photograph(40, 40), grey).isfinite().all()


def test_a_diverged_network_shows_as_nan() -> None:
    hr = photograph(160, 160, left=100)
    sr = hr.clone()
    sr[0, 0, 80, 80] = torch.nan

    assert swd(sr, hr).isnan().all()


def test_levels_end_at_a_side_of_16() -> None:
    def sides(height: int, width: int) -> list[tuple[int, ...]]:
        levels = _laplacian_pyramid(torch.rand(1, 3, height, width))
        return [tuple(level.shape[2:]) for level in levels]

    assert sides(64, 70) == [(64, 70), (32, 35), (16, 18)]
    assert sides(31, 90) == [(31, 90), (16, 45)]
    assert sides(30, 90) == [(30, 90)]


def test_images_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 pixels"):
        swd(torch.rand(1, 3, 15, 40), torch.rand(1, 3, 15, 40))
