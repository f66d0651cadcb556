"""Small folders of images that resemble photographs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def smooth_image(seed: int, height: int, width: int) -> np.ndarray:
    """Return a random image with structure at several sizes, like a photograph."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3)).astype(np.float64)
    image = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width] + rng.normal(0, 12, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


Write = Callable[..., Path]


@pytest.fixture
def write_images(tmp_path: Path) -> Write:
    """Write images into a folder: `write_images("HR", {"a": (60, 72)})`; returns the folder."""

    def write(folder: str, sizes: dict[str, tuple[int, int]], *, suffix: str = ".png", seed: int = 0) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for number, (stem, (height, width)) in enumerate(sizes.items()):
            Image.fromarray(smooth_image(seed + number, height, width)).save(place / f"{stem}{suffix}")
        return place

    return write
