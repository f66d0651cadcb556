"""LPIPS against the numbers that its authors publish for their example images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from study.metrics import LpipsMetric
from study.models.lpips_distance import LpipsNetwork

FILES = {"alex": "alexnet_features.pth", "squeeze": "squeezenet1_1_features.pth"}


def load_image(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize(("network", "expected"), [("alex", [0.7219, 0.1376]), ("squeeze", [0.7110, 0.1479])])
def test_published_examples(shared_data: Path, network: LpipsNetwork, expected: list[float]) -> None:
    pytest.importorskip("lpips")
    metric = LpipsMetric(shared_data / "weights" / FILES[network], network=network)
    reference, first, second = (
        load_image(shared_data / "lpips_check" / f"ex_{name}.png") for name in ("ref", "p0", "p1")
    )

    found = metric(torch.cat([first, second]), reference.repeat(2, 1, 1, 1))

    assert found.dtype == torch.float64
    assert [round(value, 4) for value in found.tolist()] == expected
    assert metric(reference, reference).item() == 0


def test_images_are_quantised(shared_data: Path) -> None:
    pytest.importorskip("lpips")
    metric = LpipsMetric(shared_data / "weights" / FILES["squeeze"], network="squeeze")
    hr = load_image(shared_data / "lpips_check" / "ex_ref.png")

    assert metric(hr + 0.4 / 255, hr).item() == 0
    assert metric(hr + 0.6 / 255, hr).item() > 0


def test_images_in_8_bit_units_are_refused(shared_data: Path) -> None:
    pytest.importorskip("lpips")
    metric = LpipsMetric(shared_data / "weights" / FILES["squeeze"], network="squeeze")

    with pytest.raises(ValueError, match="divide 8-bit values by 255"):
        metric(torch.rand(1, 3, 64, 64), 255 * torch.rand(1, 3, 64, 64))
