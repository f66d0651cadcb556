"""Metrics of large images in tiles: the values of the whole image, in bounded memory."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from study.metrics import DistsMetric, LpipsMetric
from study.metrics.evaluator import _NETWORK_TILES, Evaluator
from study.metrics.tiled import Tiled
from study.models.backbones import BackboneName
from study.models.lpips_distance import LpipsNetwork
from study.models.tiling import Tally

CPU = torch.device("cpu")
EXACT = ["psnr_y", "ssim_y", "psnr_rgb", "lr_psnr"]


def noisy_pair(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return an image with fine and coarse structure, and a copy whose noise grows to the bottom right."""
    numbers = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 5, generator=numbers)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    hr = (0.8 * smooth + 0.2 * torch.rand(1, 3, height, width, generator=numbers)).clamp(0, 1)
    slope = torch.linspace(0, 0.2, height)[:, None] * torch.linspace(0, 1, width)
    return hr + slope * torch.randn(1, 3, height, width, generator=numbers), hr


@pytest.mark.parametrize(("height", "width", "scale"), [(252, 156, 2), (252, 156, 3), (96, 300, 4), (60, 24, 4)])
def test_tiles_have_the_values_of_the_whole_image(height: int, width: int, scale: int) -> None:
    sr, hr = noisy_pair(height, width)
    whole = Evaluator(EXACT, CPU)(sr, hr, shrunk_by=scale)
    tiled = Evaluator(EXACT, CPU, memory=1)(sr, hr, shrunk_by=scale)
    assert tiled == pytest.approx(whole, abs=1e-9)


def in_tiles(metric: LpipsMetric | DistsMetric, margin: int, side: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the metric in tiles of a side."""
    tiled = Tiled(1, margin, metric.sums, metric.finish)
    return lambda sr, hr: tiled(sr, hr, (side + 2 * margin) ** 2)


@pytest.mark.parametrize("network", ["alex", "squeeze"])
def test_the_margin_covers_the_receptive_field_of_lpips(shared_data: Path, network: LpipsNetwork) -> None:
    file = {"alex": "alexnet_features.pth", "squeeze": "squeezenet1_1_features.pth"}[network]
    metric = LpipsMetric(shared_data / "weights" / file, network=network).double()
    _, margin = _NETWORK_TILES[f"lpips_{network}"]
    sr, hr = (image.double() for image in noisy_pair(336, 48))
    with torch.no_grad():
        assert in_tiles(metric, margin, 144)(sr, hr).item() == pytest.approx(metric(sr, hr).item(), rel=1e-12)


def test_the_margin_covers_the_receptive_field_of_dists_and_of_lpips_vgg(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    file = tmp_path / "vgg16_features.pth"
    torch.save(torchvision.models.vgg16(weights=None).state_dict(), file)
    sr, hr = noisy_pair(336, 32)
    for name, metric in (("dists", DistsMetric(file)), ("lpips_vgg", LpipsMetric(file, network="vgg"))):
        with torch.no_grad():
            tiled = in_tiles(metric, _NETWORK_TILES[name][1], 144)(sr, hr).item()
        assert tiled == pytest.approx(metric(sr, hr).item(), rel=1e-5)  # in float32: float64 takes a minute


def test_images_that_fit_are_computed_as_a_whole_to_the_last_bit() -> None:
    sr, hr = noisy_pair(96, 72)
    needed = 200 * 96 * 72
    assert Evaluator(EXACT, CPU, memory=needed)(sr, hr, shrunk_by=4) == Evaluator(EXACT, CPU)(sr, hr, shrunk_by=4)


def test_a_diverged_network_shows_as_nan_in_tiles() -> None:
    sr, hr = noisy_pair(96, 72)
    sr[..., 90, 60] = torch.nan
    assert all(math.isnan(value) for value in Evaluator(EXACT, CPU, memory=1)(sr, hr, shrunk_by=4).values())


def test_tensors_beside_the_images_stay_within_the_bound(shared_data: Path) -> None:
    """The peak of live tensors, the images apart, is about the bound; of whole images it would be up to 100 MB."""
    bound = 12 << 20
    sr, hr = noisy_pair(720, 720)
    backbones: dict[BackboneName, Path] = {"alexnet": shared_data / "weights" / "alexnet_features.pth"}
    for name in [*EXACT, "lpips_alex"]:
        evaluator = Evaluator([name], CPU, backbones=backbones, memory=bound)
        evaluator(sr[..., :96, :96], hr[..., :96, :96], shrunk_by=4)  # fills caches of matrices
        with Tally() as tally:
            evaluator(sr, hr, shrunk_by=4)
        assert tally.peak - sr.nbytes - hr.nbytes < 1.25 * bound, name
