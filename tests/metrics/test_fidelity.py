"""PSNR-Y and SSIM-Y against closed forms and scikit-image."""

import math

import numpy as np
import pytest
import skimage
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from study.metrics import METRICS, psnr_y, quantise, ssim_y


def photograph_pair() -> tuple[Tensor, Tensor]:
    """Return two crops of a photograph, each with a noisy copy that exceeds [0, 1]: (2, 3, 60, 48)."""
    levels = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1) / 255
    hr = torch.stack([levels[:, 100:160, 180:228], levels[:, 300:360, 10:58]])
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    return hr + torch.tensor([0.02, 0.2])[:, None, None, None] * noise, hr


def luma_by_hand(image: Tensor, crop: int) -> np.ndarray:
    """Quantise, crop, then convert to luma; one image (3, H, W), values 16 to 235."""
    levels = np.clip(np.round(image.numpy() * 255), 0, 255).astype(np.float64) / 255
    red, green, blue = levels[:, crop : image.shape[1] - crop, crop : image.shape[2] - crop]
    return np.asarray(65.481 * red + 128.553 * green + 24.966 * blue + 16)


def test_one_level_of_difference_gives_49_45_db() -> None:
    hr = torch.full((1, 3, 32, 32), 100 / 255)

    found = psnr_y(hr + 1 / 255, hr)

    mean_square = (219 / 255**2) ** 2
    assert found.item() == pytest.approx(10 * math.log10(1 / (mean_square + 1e-8)), abs=1e-9)
    assert 10 * math.log10(1 / mean_square) == pytest.approx(49.45, abs=0.005)
    assert found.item() == pytest.approx(49.45, abs=0.01)


def test_identical_images_give_80_db_and_1() -> None:
    hr = photograph_pair()[1]

    assert psnr_y(hr, hr).tolist() == pytest.approx([80, 80])
    assert ssim_y(hr, hr).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("crop", [0, 4])
def test_psnr_equals_scikit_image(crop: int) -> None:
    sr, hr = photograph_pair()
    expected = [
        peak_signal_noise_ratio(luma_by_hand(y, crop), luma_by_hand(x, crop), data_range=255)
        for x, y in zip(sr, hr, strict=True)
    ]

    found = psnr_y(sr, hr, crop=crop)

    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, abs=1e-3)  # the epsilon of 1e-8


@pytest.mark.parametrize("crop", [0, 4])
def test_ssim_equals_scikit_image(crop: int) -> None:
    sr, hr = photograph_pair()
    expected = [
        structural_similarity(
            luma_by_hand(x, crop),
            luma_by_hand(y, crop),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )  # its mean leaves out the 5 pixels where the window leaves the image
        for x, y in zip(sr, hr, strict=True)
    ]

    assert ssim_y(sr, hr, crop=crop).tolist() == pytest.approx(expected, abs=1e-9)


def test_differences_in_the_border_do_not_count() -> None:
    hr = photograph_pair()[1]
    sr = hr.clone()
    sr[..., :4, :] = sr[..., -4:] = 0

    assert psnr_y(sr, hr).tolist() == pytest.approx([80, 80])
    assert psnr_y(sr, hr, crop=0).max() < 30


def test_quantise_rounds_clamps_and_keeps_nan() -> None:
    images = torch.tensor([-0.3, 0.4 / 255, 0.6 / 255, 1.7, math.nan])

    found = quantise(images)

    assert found[:4].tolist() == pytest.approx([0, 0, 1 / 255, 1])
    assert found[4].isnan()
    assert quantise(images.half()).dtype == torch.float32


def test_a_difference_below_half_a_level_is_none() -> None:
    hr = quantise(photograph_pair()[1])

    assert psnr_y(hr + 0.4 / 255, hr).tolist() == pytest.approx([80, 80])


def test_a_diverged_network_shows_as_nan() -> None:
    hr = photograph_pair()[1]

    assert psnr_y(hr * math.nan, hr).isnan().all()
    assert ssim_y(hr * math.nan, hr).isnan().all()


@pytest.mark.parametrize(
    ("sr", "hr", "message"),
    [
        (torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 31), "same shape"),
        (torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32), "RGB"),
        (torch.zeros(3, 32, 32), torch.zeros(3, 32, 32), "RGB"),
        (torch.zeros(1, 3, 18, 32), torch.zeros(1, 3, 18, 32), "at least 19 pixels"),
        (torch.zeros(1, 3, 32, 32).byte(), torch.zeros(1, 3, 32, 32).byte(), "float"),
        (torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 255.0), "divide 8-bit values by 255"),
    ],
)
def test_invalid_pairs_are_refused(sr: Tensor, hr: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ssim_y(sr, hr)


def test_a_negative_crop_is_refused() -> None:
    with pytest.raises(ValueError, match="crop must be 0 or more"):
        psnr_y(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32), crop=-1)


def test_directions_in_the_table_are_those_of_the_functions() -> None:
    sr, hr = photograph_pair()
    for name, metric in {"psnr_y": psnr_y, "ssim_y": ssim_y}.items():
        slight, strong = metric(sr, hr).tolist()
        assert slight > strong
        assert METRICS[name].direction == "maximize"
    assert {METRICS[name].direction for name in ("lpips_alex", "swd")} == {"minimize"}
