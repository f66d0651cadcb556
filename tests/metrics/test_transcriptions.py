"""Every metric against a plain transcription to 1e-6, and against its library to 1e-4."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import pytorch_msssim
import skimage
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from study.data import bicubic_downsample, bicubic_upsample
from study.metrics import (
    METRICS,
    DistsMetric,
    LpipsMetric,
    ae_psnr,
    lr_psnr,
    lr_psnr_rgb,
    ms_ssim,
    psnr_rgb,
    psnr_y,
    ssim_y,
    swd,
)
from study.metrics.dists import _channel_weights
from study.metrics.evaluator import BACKBONE_OF, Evaluator, study_evaluator
from study.models import Autoencoder
from study.models.lpips_distance import LpipsNetwork
from tests.metrics import plain_metrics as plain

CPU = torch.device("cpu")


def pair(height: int = 96, width: int = 72, top: int = 120, left: int = 180) -> tuple[Tensor, Tensor]:
    """Return a photograph, shrunk and enlarged by bicubic x4, and the original: (1, 3, H, W) each."""
    levels = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
    hr = levels[..., top : top + height, left : left + width]
    return bicubic_upsample(bicubic_downsample(hr, 4), 4)[..., :height, :width], hr


@pytest.fixture(scope="module")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write VGG-16 with random weights, which test the arithmetic as well."""
    import torchvision

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vgg16_features.pth"
    features = torchvision.models.vgg16(weights=None).features
    torch.save({f"features.{name}": tensor for name, tensor in features.state_dict().items()}, path)
    return path


def test_psnr_and_ssim() -> None:
    sr, hr = pair()
    x, y = (plain.levels_of(image[0], 4) for image in (sr, hr))

    assert psnr_rgb(sr, hr).item() == pytest.approx(plain.psnr_of(x, y), abs=1e-6)
    assert psnr_y(sr, hr).item() == pytest.approx(plain.psnr_of(plain.luma_of(x), plain.luma_of(y)), abs=1e-6)
    assert ssim_y(sr, hr).item() == pytest.approx(plain.ssim_parts(plain.luma_of(x), plain.luma_of(y))[0], abs=1e-9)
    library = structural_similarity(
        plain.luma_of(x),
        plain.luma_of(y),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert ssim_y(sr, hr).item() == pytest.approx(library, abs=1e-4)
    assert psnr_rgb(sr, hr).item() == pytest.approx(peak_signal_noise_ratio(x, y, data_range=255), abs=1e-4)


@pytest.mark.parametrize("size", [(180, 170), (201, 181)])
def test_ms_ssim(size: tuple[int, int]) -> None:
    sr, hr = pair(*size)
    x, y = (plain.luma_of(plain.levels_of(image[0], 4)) for image in (sr, hr))

    assert ms_ssim(sr, hr).item() == pytest.approx(plain.ms_ssim_of(x, y), abs=1e-9)
    library = pytorch_msssim.ms_ssim(*(torch.from_numpy(luma)[None, None] for luma in (x, y)), data_range=255)
    assert ms_ssim(sr, hr).item() == pytest.approx(library.item(), abs=1e-6)
    assert ms_ssim(hr, hr).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 169 pixels"):
        ms_ssim(*pair(168, 200))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_both_forms_of_lr_psnr(scale: int) -> None:
    sr, hr = pair(48, 36)
    x, y = (plain.shrink(plain.levels_of(image[0], 0), scale, rounded=False) for image in (sr, hr))
    lumas = [plain.luma_of(image)[1:-1, 1:-1] for image in (x, y)]
    assert lr_psnr(sr, hr, scale).item() == pytest.approx(plain.psnr_of(*lumas), abs=1e-6)

    x, y = (plain.shrink(plain.levels_of(image[0], 0), scale, rounded=True) for image in (sr, hr))
    library = peak_signal_noise_ratio(x.astype(np.uint8), y.astype(np.uint8))
    assert lr_psnr_rgb(sr, hr, scale).item() == pytest.approx(library, abs=1e-6)
    assert lr_psnr_rgb(hr, hr, scale).item() == pytest.approx(80)


def test_ae_psnr_is_the_psnr_of_auto_encoded_images() -> None:
    sr, hr = pair()
    autoencoder = Autoencoder(features=16, blocks=1, growth=8, decoder="msrresnet", bicubic_skip=True).eval()
    with torch.no_grad():
        through = [
            autoencoder(torch.from_numpy(plain.levels_of(image[0], 0)[None] / 255).float())[0] for image in (sr, hr)
        ]
    # Neither clamped nor rounded behind the auto-encoder.
    x, y = (plain.luma_of(image.double().numpy()[:, 4:-4, 4:-4] * 255) for image in through)

    assert ae_psnr(sr, hr, autoencoder).item() == pytest.approx(plain.psnr_of(x, y), abs=1e-6)
    assert ae_psnr(hr, hr, autoencoder).item() == pytest.approx(80)
    with pytest.raises(ValueError, match="same shape"):
        ae_psnr(sr[..., 4:], hr, autoencoder)


@pytest.mark.parametrize(("network", "file"), [("alex", "alexnet"), ("squeeze", "squeezenet1_1")])
def test_lpips(shared_data: Path, network: LpipsNetwork, file: str) -> None:
    lpips = pytest.importorskip("lpips")
    sr, hr = pair()
    metric = LpipsMetric(shared_data / "weights" / f"{file}_features.pth", network=network)
    backbone = copy.deepcopy(metric.distance.backbone).double()
    slices = [part for name, part in backbone.named_children() if name.startswith("slice")]
    heads = [
        next(layer for layer in head.modules() if isinstance(layer, nn.Conv2d)).weight.detach().double().flatten()
        for head in metric.distance.heads
    ]

    found = metric(sr, hr).item()

    assert found == pytest.approx(plain.lpips_of(sr[0], hr[0], slices, heads), abs=1e-6)
    library = lpips.LPIPS(net=network, pnet_rand=True, verbose=False).eval()
    library.net.load_state_dict(metric.distance.backbone.state_dict())
    x, y = (torch.from_numpy(plain.levels_of(image[0], 0)[None] / 255).float() for image in (sr, hr))
    assert found == pytest.approx(library(x, y, normalize=True).item(), abs=1e-4)


def test_dists(vgg16_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision
    from torchmetrics.functional.image import dists as library

    sr, hr = pair(64, 48)
    vgg = torchvision.models.vgg16(weights=None)
    vgg.load_state_dict(torch.load(vgg16_file, weights_only=True), strict=False)
    for layer in vgg.features:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    alpha, beta = _channel_weights()
    whole = alpha.sum() + beta.sum()
    metric = DistsMetric(vgg16_file)

    found = metric(sr, hr).item()

    layers = copy.deepcopy(vgg.features).double()
    with torch.no_grad():
        expected = plain.dists_of(sr[0], hr[0], layers, alpha / whole, beta / whole)
    assert found == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(library, "vgg16", lambda weights: vgg)
    x, y = (torch.from_numpy(plain.levels_of(image[0], 0)[None] / 255).float() for image in (sr, hr))
    assert found == pytest.approx(library.DISTSNetwork()(x, y).item(), abs=1e-4)
    assert metric(hr, hr).item() == pytest.approx(0, abs=1e-9)
    assert metric(torch.cat([sr, hr]), torch.cat([hr, hr])).tolist() == pytest.approx([found, 0], abs=1e-6)


def test_the_evaluator_gives_the_functions_values(vgg16_file: Path) -> None:
    sr, hr = pair(180, 172)
    autoencoder = Autoencoder(features=16, blocks=1, growth=8, decoder="msrresnet", bicubic_skip=True).eval()
    names = ["psnr_y", "ssim_y", "psnr_rgb", "ms_ssim", "swd", "lr_psnr", "lr_psnr_rgb", "ae_psnr", "dists"]
    evaluator = Evaluator(names, CPU, backbones={"vgg16": vgg16_file}, autoencoder=autoencoder)
    expected = {
        "psnr_y": psnr_y(sr, hr),
        "ssim_y": ssim_y(sr, hr),
        "psnr_rgb": psnr_rgb(sr, hr),
        "ms_ssim": ms_ssim(sr, hr),
        "swd": swd(sr, hr),
        "lr_psnr": lr_psnr(sr, hr, 4),
        "lr_psnr_rgb": lr_psnr_rgb(sr, hr, 4),
        "ae_psnr": ae_psnr(sr, hr, autoencoder),
        "dists": DistsMetric(vgg16_file)(sr, hr),
    }

    alone = evaluator(sr, hr, shrunk_by=4)
    first, again = (evaluator(sr, hr, shrunk_by=4, key="astronaut") for _ in range(2))

    assert alone == {name: value.item() for name, value in expected.items()}
    assert list(alone) == names
    assert first == again == alone
    assert set(evaluator(sr, hr)) == set(names) - {"lr_psnr", "lr_psnr_rgb"}


def test_cached_values_are_used_for_their_image_alone() -> None:
    evaluator = study_evaluator(None, CPU)
    (sr, hr), (other_sr, other_hr) = pair(), pair(top=300, left=20)

    first = evaluator(sr, hr, key="first")
    other = evaluator(other_sr, other_hr, key="other")

    assert first != other
    assert evaluator(other_sr, other_hr, key="other") == evaluator(other_sr, other_hr) == other
    evaluator.forget("first")
    assert evaluator(other_sr, other_hr, key="first") == other


def test_an_evaluator_names_missing_parts() -> None:
    with pytest.raises(ValueError, match=r"dists needs the published weights of vgg16"):
        Evaluator(["dists"], CPU)
    with pytest.raises(ValueError, match=r"ae_psnr needs an auto-encoder"):
        Evaluator(["ae_psnr"], CPU)
    with pytest.raises(ValueError, match=r"metrics must be among psnr_y, .* but got fid"):
        Evaluator(["fid"], CPU)
    with pytest.raises(ValueError, match="at least 19 pixels"):
        Evaluator(["ssim_y"], CPU)(torch.zeros(1, 3, 18, 40), torch.zeros(1, 3, 18, 40))


def test_equal_images_give_the_better_end_of_every_range() -> None:
    hr = pair(180, 172)[1]
    evaluator = Evaluator([name for name in METRICS if name not in BACKBONE_OF and name != "ae_psnr"], CPU)
    for name, value in evaluator(hr, hr, shrunk_by=4).items():
        lowest, highest = METRICS[name].range
        if name != "null_energy":  # of the SR image alone
            assert value == pytest.approx(highest if METRICS[name].direction == "maximize" else lowest, abs=1e-6), name
        assert lowest <= value <= highest or math.isclose(value, highest), name
    assert all(info.source and info.crop in (0, 4) for info in METRICS.values())
