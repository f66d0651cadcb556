"""Fixtures of studies without Ray: runs, a source of trials without Optuna, a folder with a space and images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.config import RunConfig, replace
from study.config.recipes import aesop
from study.search.trials import Asked, UnusableTrial
from tests.cluster.small_studies import SPACE

PIXEL = {"loss.guidance": "pixel"}


@dataclass
class ListSource:
    """Trials from a list, in its order; None stands for a draw that is no valid run."""

    configs: Sequence[RunConfig | None]
    left: list[Asked] = field(default_factory=list)
    drawn: int = 0

    @property
    def count(self) -> int:
        return self.drawn

    def unfinished(self) -> list[Asked]:
        return self.left

    def ask(self) -> Asked:
        number, self.drawn = self.drawn, self.drawn + 1
        config = self.configs[number]
        if config is None:
            raise UnusableTrial(number, {"loss.fidelity": 1.0}, "the space raised")
        return Asked(number, {"number": number}, config)


@pytest.fixture(scope="session")
def tiny() -> RunConfig:
    """A run that needs a fidelity generator and, started from it, an auto-encoder."""
    return aesop("tiny")


@pytest.fixture(scope="session")
def variant(tiny: RunConfig) -> Callable[..., RunConfig]:
    """Make a run: `variant(12)` has another auto-encoder, `variant(pixel=True)` none, `seed` tells runs apart."""

    def make(channels: int = 3, *, pixel: bool = False, seed: int = 0, changes: Mapping[str, Any] | None = None) -> Any:
        guidance = PIXEL if pixel else {"autoencoder.bottleneck_channels": channels}
        return replace(tiny, {**guidance, "seed": seed, **(changes or {})})

    return make


@pytest.fixture(scope="session")
def source_of() -> Callable[..., ListSource]:
    """Make a source: `source_of([config, ...])`."""
    return ListSource


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space, images to train on and images to evaluate on."""
    folder = tmp_path_factory.mktemp("material")
    random = np.random.default_rng(0)
    for name, count, side in (("train", 4, 72), ("val", 2, 60)):
        (folder / name).mkdir()
        for index in range(count):
            waves = np.sin(np.linspace(0, 20 + 9 * index, side))
            image = 128 + 60 * waves[:, None, None] * waves[None, :, None] + random.normal(0, 9, (side, side, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    (folder / "space.py").write_text(SPACE)
    return folder
