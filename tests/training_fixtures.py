"""Small photographs-to-be, and what the stages need around them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from study.config import RunConfig, replace
from study.config.recipes import aesop
from study.data import ImageSet
from study.metrics.evaluator import study_evaluator
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Waves of random direction with a little noise: smooth enough to be learned, detailed enough to be missed."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.full((height, width, 3), 0.5)
    for _ in range(6):
        frequency = generator.normal(scale=0.25, size=2)
        wave = np.sin(frequency[0] * rows + frequency[1] * columns + generator.uniform(0, 6))
        image += 0.1 * wave[..., None] * generator.uniform(-1, 1, size=3)
    image += generator.normal(scale=0.01, size=image.shape)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def image_set(name: str, sizes: list[tuple[int, int]], first_seed: int) -> ImageSet:
    images = tuple(picture(first_seed + index, *size) for index, size in enumerate(sizes))
    return ImageSet.loaded(name, tuple(f"{name}{index}" for index in range(len(sizes))), images)


@pytest.fixture(scope="session")
def training_images() -> ImageSet:
    return image_set("train", [(64, 72), (80, 64)], first_seed=1)


@pytest.fixture(scope="session")
def held_out_images() -> ImageSet:
    return image_set("test", [(48, 60), (60, 48)], first_seed=101)


@pytest.fixture
def open_context(training_images: ImageSet, held_out_images: ImageSet) -> Callable[[Path], RunContext]:
    """Open a context over the same images with the artifacts in a given folder; no published weights are at hand."""

    def open_it(artifacts: Path) -> RunContext:
        device = torch.device("cpu")
        return RunContext(
            training_images, held_out_images, ArtifactFolder(artifacts), study_evaluator(None, device), {}, device
        )

    return open_it


@pytest.fixture(scope="session")
def small_run() -> RunConfig:
    """AESOP with all its terms but the perceptual one, in a second."""
    body = {"features": 4, "blocks": 1}
    budget = {"iterations": 4, "batch": 2, "patch": 32}
    changes = {
        "generator": body,
        "discriminator.features": 2,
        "fidelity.budget": budget,
        "autoencoder": {**body, "growth": 4, "budget": budget},
        "loss.perceptual": 0,
        "budget": {**budget, "iterations": 6},
        "eval_schedule": {"evaluate_every": 3, "evaluate_share": 100, "checkpoint_every": 2},
    }
    return replace(aesop("tiny"), changes)
