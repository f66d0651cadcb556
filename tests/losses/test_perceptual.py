"""The perceptual term: VGG features against hooks on torchvision's network, LPIPS for the small ones."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from study.config import PerceptualLayers
from study.losses import PerceptualLoss, build_perceptual
from study.losses.perceptual import VGG19_INDEX, layers_by_index
from study.models.backbones import load_features

LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a features-only file of VGG-19 with random weights."""
    torch.manual_seed(0)
    with torch.device("meta"):
        features = torchvision.models.vgg19(weights=None).features
    features = features.to_empty(device="cpu")
    for parameter in features.parameters():
        nn.init.kaiming_normal_(parameter) if parameter.ndim == 4 else nn.init.normal_(parameter, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "vgg19_features.pth"
    torch.save(features.state_dict(), path)
    return path


def image_pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hr = torch.rand(2, 3, 32, 32, generator=generator)
    return hr + 0.2 * torch.randn(2, 3, 32, 32, generator=generator), hr


def hooked_distance(path: Path, sr: Tensor, hr: Tensor) -> Tensor:
    """Compute the five-layer loss by hooks that clone conv outputs before in-place ReLUs."""
    with torch.device("meta"):
        features = torchvision.models.vgg19(weights=None).features
    features.load_state_dict(torch.load(path, weights_only=True), assign=True)
    seen: dict[int, Tensor] = {}
    for index in LAYERS:
        features[index].register_forward_hook(lambda _m, _i, out, index=index: seen.update({index: out.clone()}))
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    features((sr - mean) / std)
    of_sr = dict(seen)
    features((hr - mean) / std)
    return sum(w * (of_sr[i] - seen[i]).abs().flatten(1).mean(1) for i, w in LAYERS.items())  # type: ignore[return-value]


def test_equals_hooks_on_torchvisions_network(vgg19_file: Path) -> None:
    sr, hr = image_pair()
    loss = build_perceptual("vgg19", vgg19_file)

    with torch.no_grad():
        assert torch.allclose(loss(sr, hr), hooked_distance(vgg19_file, sr, hr), rtol=1e-5)
        assert loss(hr, hr).tolist() == [0, 0]


def test_gradient_reaches_sr_alone_also_outside_the_range(vgg19_file: Path) -> None:
    loss = build_perceptual("vgg19", vgg19_file)
    sr, hr = (image.requires_grad_() for image in image_pair(1))

    loss(sr, hr).sum().backward()

    assert sr.grad is not None
    assert sr.grad[sr.detach() > 1].abs().max() > 0
    assert hr.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_chosen_layers_only(vgg19_file: Path) -> None:
    """ESRGAN's term: conv5_4 alone."""
    sr, hr = image_pair(2)
    features = load_features("vgg19", vgg19_file)
    deepest = PerceptualLoss(features, layers={34: 1.0})

    mean, std = deepest.get_buffer("mean"), deepest.get_buffer("std")
    expected = features[:35]((sr - mean) / std) - features[:35]((hr - mean) / std)

    assert torch.allclose(deepest(sr, hr), expected.abs().flatten(1).mean(1), rtol=1e-5)


@pytest.mark.parametrize("layers", [{}, {37: 1.0}, {-1: 1.0}])
def test_layers_that_do_not_exist_are_refused(vgg19_file: Path, layers: dict[int, float]) -> None:
    with pytest.raises(ValueError, match=r"37 layers \(0 to 36\)"):
        PerceptualLoss(load_features("vgg19", vgg19_file), layers=layers)


def test_shapes_that_would_broadcast_are_refused(vgg19_file: Path) -> None:
    loss = build_perceptual("vgg19", vgg19_file)

    with pytest.raises(ValueError, match="same shape"):
        loss(torch.rand(2, 3, 32, 32), torch.rand(1, 3, 32, 32))


def test_small_networks_give_lpips(shared_data: Path) -> None:
    """The published distance (1, 3, 64, 64 crops), with a gradient, from the user's file."""
    lpips = pytest.importorskip("lpips")
    sr, hr = image_pair(3)
    loss = build_perceptual("squeezenet", shared_data / "weights" / "squeezenet1_1_features.pth")
    with warnings.catch_warnings():  # of torchvision, about how the package calls it
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    package.net.load_state_dict(loss.get_submodule("backbone").state_dict())

    with torch.no_grad():
        expected = package(sr, hr, normalize=True).flatten()

    assert torch.allclose(loss(sr, hr), expected, rtol=1e-5)


def test_importing_losses_imports_neither_lpips_nor_engines() -> None:
    script = (
        "import sys, study.losses, study.metrics;"
        "print(sorted({'lpips', 'torchvision', 'ray', 'mlflow', 'optuna'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]

    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_layers_of_weight_zero_are_left_out() -> None:
    # The indices in torchvision's VGG-19.
    assert layers_by_index(PerceptualLayers()) == {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
    esrgan = PerceptualLayers(conv1_2=0, conv2_2=0, conv3_4=0, conv4_4=0, conv5_4=1)
    assert layers_by_index(esrgan) == {34: 1.0}


def test_the_layers_are_convolutions_before_a_relu() -> None:
    with torch.device("meta"):
        features = torchvision.models.vgg19(weights=None).features
    for index in VGG19_INDEX.values():
        assert isinstance(features[index], nn.Conv2d)
        assert isinstance(features[index + 1], nn.ReLU)


@pytest.fixture(scope="module")
def vgg16_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a features-only file of VGG-16 with random weights."""
    torch.manual_seed(0)
    features = torchvision.models.vgg16(weights=None).features
    path = tmp_path_factory.mktemp("weights") / "vgg16_features.pth"
    torch.save(features.state_dict(), path)
    return path


def test_mdfs_vgg_term_equals_hooks_on_torchvisions_network(vgg16_file: Path) -> None:
    """relu1_2, 2_2, 3_3, 4_3 of images resized to 224, one MSE per block, mean of four."""
    sr, hr = image_pair()
    loss = build_perceptual("vgg16", vgg16_file)
    features = torchvision.models.vgg16(weights=None).features
    features.load_state_dict(torch.load(vgg16_file, weights_only=True))
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    kept: list[list[Tensor]] = []
    for image in (sr, hr):
        x = (nn.functional.interpolate(image, size=(224, 224), mode="bilinear") - mean) / std
        found = []
        for index, layer in enumerate(features):
            x = layer(x.clone())
            if index in (3, 8, 15, 22):
                found.append(x.clone())
        kept.append(found)
    expected = sum((a - b).square().flatten(1).mean(1) for a, b in zip(*kept, strict=True)) / 4
    torch.testing.assert_close(loss(sr, hr), expected, rtol=1e-5, atol=0)
    assert torch.equal(loss(hr, hr), torch.zeros(2))
    assert not any(parameter.requires_grad for parameter in loss.parameters())
