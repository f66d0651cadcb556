"""What is measured, where it is looked at closely, and that the crops show the same place."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from study.config import replace
from study.config.recipes import get_recipe
from study.data import ImageSet, Pairs, bicubic_upsample, make_pairs
from study.data.degradations import Noise
from study.data.layouts import find_layout
from study.data.sources import folder
from study.metrics import lr_psnr, null_energy, psnr_y, ssim_y, swd
from study.metrics.evaluator import study_evaluator
from study.models import Autoencoder
from study.training import evaluation
from study.training.evaluation import (
    evaluate,
    evaluate_autoencoder,
    evaluate_bicubic,
    evaluate_generator,
    evaluation_spacing,
    mean_over_images,
    sample_window,
    save_references,
    spacing_note,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pairs(held_out_images: ImageSet) -> Pairs:
    return make_pairs(held_out_images, 4)


class Enlarger(nn.Module):
    """Nearest neighbour times a weight; notes the mode it ran in and whether a graph was wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.9))
        self.calls: list[tuple[bool, bool]] = []

    def forward(self, lq: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_grad_enabled()))
        return lq.repeat_interleave(4, 2).repeat_interleave(4, 3) * self.weight


def brute_force_window(image: np.ndarray, side: int) -> tuple[int, int, int]:
    """Every window on the grid, with its own differences summed one by one."""
    gray = image.astype(float).mean(axis=2)
    best: tuple[float, int, int] = (-1.0, 0, 0)
    for top in range(0, gray.shape[0] - side + 1, 12):
        for left in range(0, gray.shape[1] - side + 1, 12):
            total = 0.0
            for y, x in itertools.product(range(top, top + side), range(left, left + side)):
                total += abs(gray[y, x] - gray[y - 1, x]) if y else 0.0
                total += abs(gray[y, x] - gray[y, x - 1]) if x else 0.0
            if total > best[0] + 1e-9:
                best = (total, top, left)
    return best[1], best[2], side


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sample_window_is_the_most_detailed_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SAMPLE_SIDE", 24)
    generator = np.random.default_rng(seed)
    contrast = generator.integers(1, 120, (6, 7)).repeat(12, axis=0).repeat(12, axis=1)[:67, :80, None]
    image = (generator.random((67, 80, 3)) * contrast).astype(np.uint8)
    window = sample_window(image)
    assert window == brute_force_window(image, 24)
    assert window != (0, 0, 24)


@pytest.mark.parametrize(("height", "width", "side"), [(300, 200, 96), (100, 59, 48), (48, 96, 48)])
def test_sample_window_is_as_large_as_fits_on_the_grid_of_all_scales(height: int, width: int, side: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[-20:, -20:] = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
    top, left, found = sample_window(image)
    assert found == side
    assert (top % 12, left % 12) == (0, 0)
    assert (top + side + 12 > height, left + side + 12 > width) == (True, True)  # in the corner where the detail is
    assert (top + side <= height, left + side <= width) == (True, True)


def test_metrics_are_those_of_each_image_and_their_mean(pairs: Pairs) -> None:
    found = evaluate_bicubic(pairs, study_evaluator(None, CPU), CPU)
    assert list(found.images) == list(pairs.names)
    for index, name in enumerate(pairs.names):
        lq, hr = pairs.tensors(index)
        sr = bicubic_upsample(lq, 4)
        expected = {"psnr_y": psnr_y(sr, hr).item(), "ssim_y": ssim_y(sr, hr).item(), "swd": swd(sr, hr).item()}
        expected |= {"lr_psnr": lr_psnr(sr, hr, 4).item(), "null_energy": null_energy(sr, 4).item()}
        assert found.images[name] == expected
    for name in ("psnr_y", "ssim_y", "swd"):
        assert found.metrics[name] == pytest.approx(sum(image[name] for image in found.images.values()) / 2, rel=1e-14)


def test_what_only_bicubic_shrinking_gives_a_meaning_is_left_out_elsewhere(held_out_images: ImageSet) -> None:
    noisy = make_pairs(held_out_images, 1, Noise(sigma=25))
    found = evaluate_bicubic(noisy, study_evaluator(None, CPU), CPU)
    assert found.metrics.keys() == {"psnr_y", "ssim_y", "swd"}
    luma = sum((weight / 255) ** 2 for weight in (65.481, 128.553, 24.966))  # how much of the colours' variance it has
    assert found.metrics["psnr_y"] == pytest.approx(20 * math.log10(255 / 25) - 10 * math.log10(luma), abs=0.2)


def test_mean_is_over_images_not_over_pixels() -> None:
    images = {"one": {"psnr_y": 20.0, "swd": 1.0}, "two": {"psnr_y": 40.0, "swd": 4.0}}
    assert mean_over_images(images) == {"psnr_y": 30.0, "swd": 2.5}


def test_generator_is_evaluated_in_eval_mode_without_graph(pairs: Pairs) -> None:
    generator = Enlarger().train()
    found = evaluate_generator(generator, pairs, study_evaluator(None, CPU))
    assert generator.calls == [(False, False)] * 2
    lq, hr = pairs.tensors(1)
    expected = psnr_y(lq.repeat_interleave(4, 2).repeat_interleave(4, 3) * 0.9, hr).item()
    assert found.images[pairs.names[1]]["psnr_y"] == pytest.approx(expected, rel=1e-6)


def test_autoencoder_is_evaluated_on_the_high_quality_images(pairs: Pairs) -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder(3, 4, features=16, blocks=1, growth=4, decoder="msrresnet", bicubic_skip=True).eval()
    found = evaluate_autoencoder(autoencoder, pairs, study_evaluator(None, CPU))
    for index, name in enumerate(pairs.names):
        hr = pairs.tensors(index)[1]
        with torch.no_grad():
            assert found.images[name]["psnr_y"] == psnr_y(autoencoder(hr), hr).item()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_output_that_is_not_finite_is_refused_by_name(value: float, pairs: Pairs, tmp_path: Path) -> None:
    def upscale(lq: Tensor) -> Tensor:
        sr = bicubic_upsample(lq, 4)
        sr[..., -1, -1] = value
        return sr

    with pytest.raises(ValueError, match="the output for image test0 is not finite"):
        evaluate(upscale, pairs, study_evaluator(None, CPU), CPU, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_samples_show_the_window_of_the_output(pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "SAMPLE_SIDE", 24)
    evaluate(lambda lq: bicubic_upsample(lq, 4) * 1.2 - 0.1, pairs, study_evaluator(None, CPU), CPU, tmp_path)
    for index, name in enumerate(pairs.names):
        lq, _ = pairs.tensors(index)
        top, left, side = sample_window(pairs.hr[index])
        sr = (bicubic_upsample(lq, 4) * 1.2 - 0.1)[0, :, top : top + side, left : left + side].clamp(0, 1)
        shown = np.asarray(Image.open(tmp_path / f"{name}.png"))
        assert shown.shape == (24, 24, 3)
        expected = np.floor(sr.double().permute(1, 2, 0).numpy() * 255 + 0.5)
        assert np.array_equal(shown, expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_references_show_the_same_place_at_both_resolutions(
    scale: int, held_out_images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SAMPLE_SIDE", 24)
    pairs = make_pairs(held_out_images, scale)
    save_references(tmp_path, pairs)
    for index, name in enumerate(pairs.names):
        hr = np.asarray(Image.open(tmp_path / "hr" / f"{name}.png"))
        lq = np.asarray(Image.open(tmp_path / "lq" / f"{name}.png"))
        top, left, side = sample_window(pairs.hr[index])
        assert np.array_equal(hr, pairs.hr[index][top : top + side, left : left + side])
        assert lq.shape == (side // scale, side // scale, 3)
        # Averaging blocks of the one is close to the other, and only where both show the same place.
        blocks = hr.reshape(side // scale, scale, side // scale, scale, 3).mean(axis=(1, 3))
        aligned = np.abs(blocks - lq).mean()
        assert aligned < 0.5 * min(np.abs(np.roll(blocks, 1, axis) - lq).mean() for axis in (0, 1))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Set5", (5, 28.397, 0.8115, 0.3440)), ("Set14", (14, 26.088, 0.7050, 0.4419))],
)
def test_bicubic_on_the_standard_sets_has_the_known_figures(
    shared_data: Path, name: str, expected: tuple[float, ...]
) -> None:
    """From files to means, by the very functions that a study uses: x4, sides cropped to multiples of 12, 8 bit."""
    pytest.importorskip("lpips")
    test = make_pairs(folder(find_layout([shared_data / name], scale=4, lq=None), scale=4, least=48).cropped(12), 4)
    evaluator = study_evaluator(shared_data / "weights" / "alexnet_features.pth", CPU)
    metrics = evaluate_bicubic(test, evaluator, CPU).metrics
    figures = round(metrics["psnr_y"], 3), round(metrics["ssim_y"], 4), round(metrics["lpips_alex"], 4)
    assert (len(test), *figures) == expected


@pytest.mark.parametrize(
    ("share", "iterations", "expected"),
    [
        (1.0, 160, 80),  # 4 x 32 x 32 x 160 pixels are trained on: 6.6 times the held-out ones
        (0.2, 160, 160),  # one evaluation is allowed, the last
        (0.16, 160, 160),
        (0.001, 160, 160),
        (1.0, 800, 80),
        (0.1, 800, 320),  # three are allowed of the ten asked for: every fourth
    ],
)
def test_points_lie_so_far_apart_that_evaluation_costs_a_bounded_share(
    share: float, iterations: int, expected: int
) -> None:
    images = [np.zeros((240, 200, 3), np.uint8), np.zeros((240, 216, 3), np.uint8)]
    held_out = ImageSet.loaded("held-out", ["a", "b"], images)
    config = replace(
        get_recipe("aesop", "tiny"),
        {
            "budget": {"iterations": iterations, "batch": 4, "patch": 32},
            "eval_schedule": {"evaluate_every": 80, "evaluate_share": share},
        },
    )

    spacing = evaluation_spacing(config, held_out)

    assert spacing == expected
    evaluated = -(-iterations // spacing) * (240 * 416)
    assert evaluated <= max(share * iterations * 4 * 32**2, 240 * 416)
    note = spacing_note(config, held_out)
    assert bool(note) == (expected != 80)
    assert not note or f"Points are {expected} iterations apart, not 80: the 2 held-out images" in note[0]
