"""LPIPS from a local backbone file: gradients, modes and side effects."""

import builtins
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from study.models.lpips_distance import LpipsDistance


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write AlexNet's convolutions with random weights, for tests that do not depend on the value."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alexnet_features.pth"
    torch.save(alexnet(weights=None).features.state_dict(), path)
    return path


def dead_backbone(distance: LpipsDistance) -> None:
    """Set every ReLU output of the backbone to 0, as happens on some patches."""
    for parameter in distance.backbone.parameters():
        parameter.data.fill_(0 if parameter.ndim > 1 else -1)


def test_gradient_is_finite_where_features_are_all_zero(alexnet_file: Path) -> None:
    """The package's root has an infinite slope there, and gives NaN."""
    pytest.importorskip("lpips")
    distance = LpipsDistance(alexnet_file)
    dead_backbone(distance)
    sr = torch.rand(1, 3, 32, 32, requires_grad=True)

    value = distance(sr, torch.rand(1, 3, 32, 32))
    value.sum().backward()

    assert value.item() == 0
    assert sr.grad is not None
    assert sr.grad.isfinite().all()


def test_gradient_goes_to_sr_alone(alexnet_file: Path) -> None:
    pytest.importorskip("lpips")
    torch.manual_seed(1)
    distance = LpipsDistance(alexnet_file)
    sr, hr = (torch.rand(2, 3, 40, 32, requires_grad=True) for _ in range(2))

    distance(sr, hr).sum().backward()

    assert sr.grad is not None
    assert sr.grad.abs().max() > 0
    assert hr.grad is None
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_train_on_a_parent_keeps_dropout_off(alexnet_file: Path) -> None:
    pytest.importorskip("lpips")
    torch.manual_seed(2)
    distance = LpipsDistance(alexnet_file)
    sr, hr = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    before = distance(sr, hr)

    nn.ModuleList([distance]).train()

    assert not any(module.training for module in distance.modules())
    assert torch.equal(distance(sr, hr), before)


def test_building_is_silent_and_keeps_the_random_state(alexnet_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lpips")
    state = torch.random.get_rng_state()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LpipsDistance(alexnet_file)

    assert torch.equal(torch.random.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_named(alexnet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_lpips(
        name: str,
        globals_: Mapping[str, object] | None = None,
        locals_: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if name == "lpips":
            raise ImportError("No module named 'lpips'")
        return real_import(name, globals_, locals_, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", without_lpips)

    with pytest.raises(ImportError, match="LPIPS needs the `lpips` package"):
        LpipsDistance(alexnet_file)


def test_unknown_network_is_refused(alexnet_file: Path) -> None:
    with pytest.raises(ValueError, match=r"\['alex', 'squeeze', 'vgg'\], but got 'vgg19'"):
        LpipsDistance(alexnet_file, network="vgg19")  # type: ignore[arg-type]


def test_images_too_small_are_refused(alexnet_file: Path) -> None:
    pytest.importorskip("lpips")

    with pytest.raises(ValueError, match="at least 32 pixels"):
        LpipsDistance(alexnet_file)(torch.rand(1, 3, 31, 64), torch.rand(1, 3, 31, 64))
