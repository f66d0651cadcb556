"""The area under the curve against counting pairs; critics whose scores are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from study.config import DataConfig, replace
from study.config.recipes import for_task, mdf
from study.data.degradations import Noise, degrade
from study.models import Critics
from study.training.stages.critics import TRAINING, area_under_curve, distorted_image, evaluate_critics


def test_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    clean, distorted = rng.integers(0, 6, 20), rng.integers(0, 5, 30)
    pairs = [(a > b) + 0.5 * (a == b) for a in clean for b in distorted]
    assert area_under_curve(clean, distorted) == pytest.approx(np.mean(pairs))
    assert area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert area_under_curve(np.ones(3), np.ones(4)) == 0.5


class Smoothness(nn.Module):
    """Scores smooth windows high."""

    def forward(self, images: Tensor) -> Tensor:
        return -images.unfold(2, 11, 1).unfold(3, 11, 1).std(dim=(1, 4, 5)).unsqueeze(1)


def test_a_critic_that_knows_noise_tells_it(open_context, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = replace(
        for_task(mdf("tiny"), "denoise", 50), {"critics": {"levels": 3, "used_levels": 2, "smallest_side": 20}}
    )
    critics = Critics(levels=3, features=2)
    critics.levels[0], critics.levels[1] = Smoothness(), nn.Sequential(Smoothness(), Negative())
    found = evaluate_critics(critics, config, open_context(tmp_path))
    assert found.images.keys() == {TRAINING, "test0", "test1"}
    for areas in (found.metrics, *found.images.values()):
        assert areas.keys() == {"auc", "auc_0", "auc_1"}
        assert areas["auc_0"] > 0.9
        assert areas["auc_0"] + areas["auc_1"] == pytest.approx(1)
        assert areas["auc"] == pytest.approx(0.5)
    assert found.metrics["auc_0"] == pytest.approx(
        (found.images["test0"]["auc_0"] + found.images["test1"]["auc_0"]) / 2
    )


class Negative(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return -scores


def test_what_a_task_starts_from_has_the_images_size() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
    blurred = distorted_image(image, DataConfig(scale=4))
    assert blurred.shape == image.shape
    assert blurred.std() < 0.5 * image.std()
    noisy = distorted_image(image, DataConfig(task="denoise", scale=1, sigma=25))
    differences = [np.abs(noisy.astype(int) - degrade(image, 1, Noise(sigma=25), seed=seed)).max() for seed in range(2)]
    assert min(differences) > 0  # another seed: the picture's own
    assert np.array_equal(noisy, distorted_image(image, DataConfig(task="denoise", scale=1, sigma=25)))
    assert torch.is_tensor(torch.from_numpy(noisy))
