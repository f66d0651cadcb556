"""Each degradation against what it is by definition: libjpeg's bytes, the statistics of noise, the exact bicubic."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from study.config import DataConfig, DegradationName
from study.config.run import SMALLEST_DEGRADED_HR, SMALLEST_DEGRADED_LR
from study.data.bicubic import bicubic_downsample
from study.data.degradations import (
    Bicubic,
    Given,
    Jpeg,
    Noise,
    degradation_of,
    degrade,
    degrade_patches,
    is_drawn_anew,
    normals,
    parse_degradation,
    shrink,
)
from study.data.second_order import SecondOrder


def gradient_image(height: int = 64, width: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 2, columns * 2, (rows + columns)], axis=2).astype(np.uint8) // 2 + 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bicubic", Bicubic()),
        ("noise:25", Noise(sigma=25)),
        ("noise:7.5", Noise(sigma=7.5)),
        ("jpeg:40", Jpeg(quality=40)),
        ("second-order", SecondOrder()),
    ],
)
def test_forms_of_the_command_line(text: str, expected: object) -> None:
    assert parse_degradation(text) == expected


@pytest.mark.parametrize(
    "text", ["", "blur", "noise", "noise:", "noise:x", "jpeg", "bicubic:4", "given", "second-order:1"]
)
def test_other_forms_are_refused_and_the_known_named(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"must be one of bicubic, noise:SIGMA .*, jpeg:QUALITY .*, second-order, but got"
    ):
        parse_degradation(text)


@pytest.mark.parametrize("text", ["noise:0", "noise:300", "jpeg:0", "jpeg:101", "jpeg:50.5"])
def test_values_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        parse_degradation(text)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_shrinking_is_the_exact_bicubic_rounded_to_the_nearest_level(scale: int) -> None:
    image = np.random.default_rng(scale).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    exact = bicubic_downsample(torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).double(), scale)[0].clamp(0, 255)
    shrunk = torch.from_numpy(shrink(image, scale).transpose(2, 0, 1).copy())
    assert shrunk.shape == (3, 48 // scale, 72 // scale)
    assert float((shrunk.double() - exact).abs().max()) <= 0.5


def test_scale_one_leaves_the_image_to_the_degradation() -> None:
    image = gradient_image()
    assert np.array_equal(degrade(image, 1, Bicubic(), seed=0), image)


@pytest.mark.parametrize("quality", [10, 40, 95])
def test_jpeg_is_what_libjpeg_writes(quality: int) -> None:
    image = gradient_image()
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0")
    assert np.array_equal(degrade(image, 1, Jpeg(quality=quality), seed=0), np.asarray(Image.open(buffer)))


def test_jpeg_improves_with_quality_and_follows_the_shrinking() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    errors = [
        float(np.square(degrade(image, 1, Jpeg(quality=quality), seed=0) - image.astype(float)).mean())
        for quality in (5, 20, 50, 80, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    both = degrade(image, 4, Jpeg(quality=30), seed=0)
    assert np.array_equal(both, degrade(shrink(image, 4), 1, Jpeg(quality=30), seed=0))


@pytest.mark.parametrize("sigma", [5, 25, 50])
def test_noise_has_its_mean_and_deviation(sigma: int) -> None:
    gray = np.full((200, 300, 3), 128, np.uint8)
    noise = degrade(gray, 1, Noise(sigma=sigma), seed=1).astype(np.float64) - 128
    count = noise.size
    assert abs(noise.mean()) < 4 * sigma / math.sqrt(count)
    # Rounding adds 1/12; clipping at 2.5 deviations and more takes a little away.
    clipped = np.clip(np.random.default_rng(0).normal(0, sigma, 10**6), -128, 127)
    assert noise.std() == pytest.approx(math.sqrt(clipped.var() + 1 / 12), rel=0.01)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02


def test_noise_is_a_function_of_the_seed() -> None:
    image = gradient_image()
    first, again, other = (degrade(image, 1, Noise(sigma=15), seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.9
    assert degrade(np.full((50, 50, 3), 250, np.uint8), 1, Noise(sigma=50), seed=0).max() == 255


def test_normal_numbers_follow_their_distribution() -> None:
    numbers = np.sort(normals(2**64 - 1, 100_001))
    assert len(numbers) == 100_001
    expected = np.array([0.5 * (1 + math.erf(number / math.sqrt(2))) for number in numbers[::100]])
    observed = np.arange(len(numbers))[::100] / len(numbers)
    assert np.abs(expected - observed).max() < 1.95 / math.sqrt(len(numbers))  # Kolmogorov and Smirnov at 0.1 %


def test_normal_numbers_are_box_and_muller_on_philox_words() -> None:
    words = [int(word) for word in np.random.Philox(key=5).random_raw(4)]
    radius = [math.sqrt(-2 * math.log(1 - (word >> 11) / 2**53)) for word in words[:2]]
    angle = [2 * math.pi * ((word >> 11) / 2**53) for word in words[2:]]
    expected = [radius[0] * math.cos(angle[0]), radius[1] * math.cos(angle[1]), radius[0] * math.sin(angle[0])]
    assert normals(5, 3) == pytest.approx(expected, rel=1e-12)


def test_given_images_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="cannot be made"):
        degrade(gradient_image(), 4, Given(), seed=0)


def test_the_second_order_degrades_whole_images_by_their_seed() -> None:
    image = gradient_image(96, 128)
    first, again, other = (degrade(image, 4, SecondOrder(), seed=seed) for seed in (1, 1, 2))
    assert first.shape == (24, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fields_are_checked() -> None:
    for build in (lambda: Noise(sigma=0), lambda: Jpeg(quality=0), lambda: Noise.model_validate({"sigma": 1, "mu": 2})):
        with pytest.raises(ValidationError):
            build()


def test_a_run_names_its_degradation() -> None:
    assert degradation_of(DataConfig()) == Bicubic()
    assert degradation_of(DataConfig(degradation="aesop-real")) == SecondOrder()
    assert degradation_of(DataConfig(degradation="real-esrgan")) == SecondOrder.stock()
    assert degradation_of(DataConfig(task="denoise", scale=1, sigma=25)) == Noise(sigma=25)
    assert degradation_of(DataConfig(task="jpeg", scale=1, quality=10)) == Jpeg(quality=10)


def test_noise_on_patches_is_the_noise_on_images() -> None:
    images = np.stack([gradient_image(), gradient_image()[::-1]])
    noisy = np.stack(
        [degrade(image, 1, Noise(sigma=50), seed=seed) for image, seed in zip(images, (4, 9), strict=True)]
    )
    patches = torch.from_numpy(images.copy()).permute(0, 3, 1, 2)
    assert is_drawn_anew(Noise(sigma=50))
    levels = torch.from_numpy(noisy).permute(0, 3, 1, 2)
    # Its normals are taken in another order, channels first, so images that lie that way are compared.
    planes = [degrade_plane(image, seed) for image, seed in zip(patches, (4, 9), strict=True)]
    made = degrade_patches(patches.float() / 255, 1, Noise(sigma=50), seeds=[4, 9]) * 255
    assert torch.equal(made.round(), torch.stack(planes))
    assert made.std() == pytest.approx(levels.float().std().item(), rel=0.02)
    assert made.min() == 0


def degrade_plane(image: torch.Tensor, seed: int) -> torch.Tensor:
    """The definition, plainly: rounded, clipped levels of an image (3, H, W)."""
    noise = torch.from_numpy(normals(seed, image.numel())).view(image.shape)
    return torch.floor(image + 50 * noise + 0.5).clamp(0, 255).float()


@pytest.mark.parametrize("name", SMALLEST_DEGRADED_HR)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_configuration_has_the_smallest_patch(name: DegradationName, scale: int) -> None:
    degradation = degradation_of(DataConfig(degradation=name))
    assert isinstance(degradation, SecondOrder)
    smallest = max(SMALLEST_DEGRADED_HR[name], SMALLEST_DEGRADED_LR * scale)
    assert degradation.smallest_side(scale) == smallest
