"""The second-order degradation: a function of each image's seed, with the documented parts and probabilities."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from study.data import second_order as module
from study.data.second_order import AESOP_FIRST, AESOP_SECOND, Round, SecondOrder, second_order, usm_sharpen

DEGRADATION = SecondOrder()


def images(count: int, height: int = 96, width: int = 128) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [torch.sin(rows / (3 + item)) * torch.cos(columns / (5 + item)) for item in range(count)]
    return torch.stack([torch.stack([wave, -wave, wave**2]) for wave in waves]) * 0.4 + 0.5


def test_shapes_range_and_levels() -> None:
    lq = second_order(images(3), DEGRADATION, 4, seeds=[1, 2, 3])
    assert lq.shape == (3, 3, 24, 32)
    assert lq.dtype == torch.float32
    assert torch.equal((lq * 255).round() / 255, lq)
    assert 0 <= lq.min() <= lq.max() <= 1


def test_each_image_depends_on_its_own_seed_alone() -> None:
    hr = images(3)
    together = second_order(hr, DEGRADATION, 4, seeds=[5, 2**64 - 1, 7])
    alone = [
        second_order(hr[index : index + 1], DEGRADATION, 4, seeds=[seed])
        for index, seed in ((0, 5), (1, 2**64 - 1), (2, 7))
    ]
    assert torch.equal(together, torch.cat(alone))
    turned = second_order(hr.flip(0), DEGRADATION, 4, seeds=[7, 2**64 - 1, 5])
    assert torch.equal(turned.flip(0), together)
    assert not torch.equal(second_order(hr[:1], DEGRADATION, 4, seeds=[6]), together[:1])


def test_the_global_generator_is_not_used() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = second_order(images(1), DEGRADATION, 4, seeds=[3])
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(second_order(images(1), DEGRADATION, 4, seeds=[3]), first)


def test_brightness_and_place_are_kept() -> None:
    """Blur and resize are local and leave constants alone; noise and JPEG have no mean to speak of."""
    ramp = torch.linspace(0.3, 0.7, 128).expand(1, 3, 128, 128)
    lq = torch.cat([second_order(ramp, DEGRADATION, 4, seeds=[seed]) for seed in range(60)])
    expected = torch.nn.functional.interpolate(ramp, scale_factor=0.25, mode="area")[0, 0, 0]
    columns = lq.mean(dim=(0, 1, 2))
    assert float((columns - expected).abs().max()) < 0.02


def test_neighbouring_seeds_differ() -> None:
    results = [second_order(images(1, 64, 64), DEGRADATION, 4, seeds=[seed]) for seed in (0, 1, 2, 3, 2**32, 2**63)]
    assert len({result.numpy().tobytes() for result in results}) == len(results) - 1  # 2**32 folds onto 1


def test_the_stock_degradation_is_stronger() -> None:
    hr = images(4)
    smooth = torch.nn.functional.interpolate(hr, scale_factor=0.25, mode="area")

    def error(config: SecondOrder) -> float:
        lq = torch.cat([second_order(hr, config, 4, seeds=range(4 * n, 4 * n + 4)) for n in range(12)])
        return float((lq - smooth.repeat(12, 1, 1, 1)).square().mean().sqrt())

    ours, stock = error(DEGRADATION), error(SecondOrder.stock())
    assert 0.02 < ours < stock < 0.5


def test_documented_values() -> None:
    """The values of AESOP's real-world options, and those of Real-ESRGAN."""
    assert AESOP_FIRST.model_dump() == {
        "blur": 1.0, "kernels": (0.45, 0.25, 0.12, 0.03, 0.12, 0.03), "low_pass": 0.1, "sigma": (0.2, 3.0),
        "generalized": (0.5, 4.0), "plateau": (1.0, 2.0), "directions": (0.2, 0.7, 0.1), "resize": (0.2, 1.5),
        "gaussian": 0.5, "noise": (1.0, 30.0), "poisson": (0.05, 2.0), "gray": 0.4, "quality": (50.0, 95.0),
    }  # fmt: skip
    changed = {
        name: value for name, value in AESOP_SECOND.model_dump().items() if value != AESOP_FIRST.model_dump()[name]
    }
    assert changed == {
        "blur": 0.8, "sigma": (0.2, 1.5), "directions": (0.3, 0.4, 0.3), "resize": (0.3, 1.2), "noise": (1.0, 20.0),
    }  # fmt: skip
    stock = SecondOrder.stock()
    assert (stock.first.resize, stock.first.poisson, stock.first.quality) == ((0.15, 1.5), (0.05, 3.0), (30.0, 95.0))
    assert (stock.second.noise, stock.second.poisson, stock.second.quality) == ((1.0, 25.0), (0.05, 2.5), (30.0, 95.0))


def test_factors_are_drawn_with_their_probabilities() -> None:
    draws = module._Draws(0)
    factors = np.array([module._draw_factor(AESOP_FIRST, draws) for _ in range(4000)])
    for share, expected in (((factors > 1).mean(), 0.2), ((factors < 1).mean(), 0.7), ((factors == 1).mean(), 0.1)):
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)
    assert factors.min() >= 0.2
    assert factors.max() <= 1.5
    assert factors[factors < 1].mean() == pytest.approx(0.6, abs=0.02)  # uniform in [0.2, 1]


def test_kernels_are_drawn_with_their_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, int, bool, float]] = []

    def density(family: str, size: int, sigma: tuple[float, float], rotation: float, beta: float = 1.0) -> None:
        drawn.append((family, size, sigma[0] == sigma[1], beta))

    def low_pass(size: int, cutoff: float) -> None:
        drawn.append(("low-pass", size, True, cutoff))

    monkeypatch.setattr(module, "density_kernel", density)
    monkeypatch.setattr(module, "low_pass_kernel", low_pass)
    draws = module._Draws(1)
    for _ in range(4000):
        module._draw_kernel(AESOP_FIRST, draws)
    expected = {
        ("gaussian", True): 0.45, ("gaussian", False): 0.25, ("generalized", True): 0.12, ("generalized", False): 0.03,
        ("plateau", True): 0.12, ("plateau", False): 0.03,
    }  # fmt: skip
    for (family, round_), probability in expected.items():
        share = sum(kernel[0] == family and kernel[2] == round_ for kernel in drawn) / 4000
        assert abs(share - 0.9 * probability) < 4 * math.sqrt(probability / 4000)
    sizes = [kernel[1] for kernel in drawn]
    assert set(sizes) == {7, 9, 11, 13, 15, 17, 19, 21}
    for family, low, high in (("generalized", 0.5, 4.0), ("plateau", 1.0, 2.0)):
        betas = [kernel[3] for kernel in drawn if kernel[0] == family]
        assert low <= min(betas)
        assert max(betas) <= high
    small = [kernel[3] for kernel in drawn if kernel[0] == "low-pass" and kernel[1] < 13]
    large = [kernel[3] for kernel in drawn if kernel[0] == "low-pass" and kernel[1] >= 13]
    assert min(small) >= math.pi / 3
    assert math.pi / 5 <= min(large) < math.pi / 3


def test_poisson_noise_grows_with_brightness_and_has_no_mean() -> None:
    ramp = torch.linspace(0, 1, 256).expand(1, 3, 400, 256).contiguous()
    noise = module._poisson_noise(ramp, module._Draws(2))
    variance = noise.square().mean(dim=(0, 1, 2))
    # 256 levels, so 256 photons at full brightness: the variance is brightness / 256.
    expected = torch.linspace(0, 1, 256) / 256
    assert torch.allclose(variance, expected, rtol=0.2, atol=1e-5)
    assert abs(float(noise.mean())) < 1e-3


def test_gray_noise_is_the_same_in_all_colours() -> None:
    flat = torch.full((1, 3, 40, 40), 0.5)
    for gaussian in (0.0, 1.0):
        for gray in (0.0, 1.0):
            config = Round.model_validate(AESOP_FIRST.model_dump() | {"gaussian": gaussian, "gray": gray})
            noisy = module._add_noise(flat, config, module._Draws(4))
            same = torch.allclose(noisy[:, 0], noisy[:, 1], atol=1e-6) and torch.allclose(
                noisy[:, 0], noisy[:, 2], atol=1e-6
            )
            assert same == bool(gray)


def test_filtering_is_correlation_with_reflected_borders() -> None:
    image = images(1, 20, 24)
    kernel = torch.rand(7, 7, generator=torch.Generator().manual_seed(0)).double()
    filtered = module._filter(image, kernel)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    for y, x in ((0, 0), (10, 13), (19, 23)):
        expected = (padded[0, 1, y : y + 7, x : x + 7] * kernel.numpy()).sum()
        assert float(filtered[0, 1, y, x]) == pytest.approx(expected, rel=1e-5)


def test_unsharp_masking_by_hand() -> None:
    """Weight 0.5, a window of 51 with sigma 8, soft masking of details above 10 levels."""
    step = torch.zeros(1, 3, 64, 128)
    step[..., 64:] = 0.8
    step += 0.1
    sharp = usm_sharpen(step)
    window = np.exp(-((np.arange(51) - 25) ** 2) / (2 * 8.0**2))
    window /= window.sum()
    line = np.pad(step[0, 0, 0].numpy(), 25, mode="reflect")
    detail = step[0, 0, 0].numpy() - np.convolve(line, window, mode="valid")
    mask = np.convolve(np.pad((np.abs(detail) * 255 > 10).astype(float), 25, mode="reflect"), window, mode="valid")
    expected = mask * np.clip(step[0, 0, 0].numpy() + 0.5 * detail, 0, 1) + (1 - mask) * step[0, 0, 0].numpy()
    np.testing.assert_allclose(sharp[0, 0, 30].numpy(), expected, atol=1e-6)
    assert float(sharp.max()) > 0.9
    flat = torch.full((1, 3, 60, 60), 0.3)
    torch.testing.assert_close(usm_sharpen(flat), flat)


def test_degrading_starts_from_the_sharpened_image_by_default() -> None:
    hr = images(1)
    plain = SecondOrder(sharpen=False)
    assert torch.equal(second_order(hr, DEGRADATION, 4, seeds=[0]), second_order(usm_sharpen(hr), plain, 4, seeds=[0]))


def test_images_too_small_for_the_kernels_are_refused() -> None:
    assert DEGRADATION.smallest_side(4) == 55
    second_order(images(1, 56, 56), DEGRADATION, 4, seeds=[0])
    with pytest.raises(ValueError, match="needs HR images of at least 55 px a side, but got 128 x 52 px"):
        second_order(images(1, 52, 128), DEGRADATION, 4, seeds=[0])
    with pytest.raises(ValueError, match="multiples of the scale 4"):
        second_order(images(1, 98, 128), DEGRADATION, 4, seeds=[0])
    with pytest.raises(ValueError, match="2 images and 1 seeds"):
        second_order(images(2), DEGRADATION, 4, seeds=[0])


@pytest.mark.parametrize("seed", range(30))
def test_the_smallest_images_survive_every_draw(seed: int) -> None:
    lq = second_order(images(1, 56, 56), DEGRADATION, 4, seeds=[seed])
    assert torch.isfinite(lq).all()


@pytest.mark.parametrize(
    "fields",
    [{"directions": (0.5, 0.5, 0.5)}, {"kernels": (1, 1, 0, 0, 0, -1)}, {"resize": (1.2, 1.5)}, {"quality": (0, 50)}],
)
def test_impossible_rounds_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Round.model_validate(AESOP_FIRST.model_dump() | fields)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_draws_the_same() -> None:
    hr = images(2)
    on_gpu = second_order(hr.cuda(), DEGRADATION, 4, seeds=[1, 2]).cpu()
    assert float((on_gpu - second_order(hr, DEGRADATION, 4, seeds=[1, 2])).abs().mean()) < 0.01
