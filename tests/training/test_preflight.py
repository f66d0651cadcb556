"""Checks before training: missing networks are found and named, and workers must share out every batch."""

from pathlib import Path

import pytest
import torch

from study.config import RunConfig, replace
from study.models import backbones
from study.training import preflight
from study.training.preflight import (
    MissingWeights,
    check_shares,
    find_networks,
    perceptual_metric_note,
    require_networks,
)


@pytest.fixture(autouse=True)
def empty_cache_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setattr(backbones, "_download_within", lambda *_: "there is no network in tests")


def test_networks_are_found_in_the_folder_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "alexnet_features.pth").touch()
    (folder / "vgg19-dcbb9e9d.pth").touch()
    found = find_networks(["squeezenet", "alexnet", "vgg19", "alexnet"], folder)
    assert found == {"alexnet": folder / "alexnet_features.pth", "vgg19": folder / "vgg19-dcbb9e9d.pth"}
    assert "no weights for squeezenet" in caplog.text
    assert find_networks([], folder) == {}


def test_networks_are_found_in_torchs_cache_and_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    fetch = preflight.fetch_backbone

    def spy(name: backbones.BackboneName, weights: Path | None, *, timeout_sec: float) -> Path | None:
        fetched.append(name)
        return fetch(name, weights, timeout_sec=timeout_sec)

    monkeypatch.setattr(preflight, "fetch_backbone", spy)
    cached = tmp_path / "cache" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert find_networks(["alexnet", "vgg19", "alexnet", "vgg19"], None) == {"alexnet": cached}
    assert fetched == ["alexnet", "vgg19"]


@pytest.mark.parametrize("kind", ["absent", "file"])
def test_weights_that_are_no_directory_are_refused(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "weights"
    if kind == "file":
        place.touch()
    with pytest.raises(MissingWeights, match=r"--weights must name a directory .*weights is none"):
        find_networks(["alexnet"], place)


def test_missing_network_is_named_with_every_way_out(small_run: RunConfig, tmp_path: Path) -> None:
    run = replace(small_run, {"loss.perceptual": 0.5, "loss.perceptual_network": "vgg19"})
    with pytest.raises(MissingWeights, match=r"loss\.perceptual_network is vgg19") as caught:
        require_networks(run, {"alexnet": tmp_path})
    for way_out in ("--weights DIR", "--set loss.perceptual_network=", "--set loss.perceptual=0"):
        assert way_out in str(caught.value)


def test_what_is_there_or_unused_is_not_missed(small_run: RunConfig, tmp_path: Path) -> None:
    run = replace(small_run, {"loss.perceptual": 0.5})
    assert require_networks(run, {"squeezenet": tmp_path}) is None
    assert require_networks(small_run, {}) is None
    with pytest.raises(MissingWeights):
        require_networks(run, {})


def test_the_perceptual_axis_is_called_by_its_name() -> None:
    without = perceptual_metric_note(None)
    assert "NOT LPIPS but SWD" in without
    assert "--weights" in without
    named = perceptual_metric_note(Path("somewhere/alexnet-owt-7be5be79.pth"))
    assert "LPIPS" in named
    assert "alexnet-owt-7be5be79.pth" in named
    assert "SWD" not in named


def test_workers_must_share_out_every_batch(small_run: RunConfig) -> None:
    run = replace(small_run, {"budget.batch": 6, "fidelity.budget.batch": 8, "autoencoder.budget.batch": 4})

    check_shares([run], lambda stage: 1)
    check_shares([run], lambda stage: 2)
    check_shares([run], lambda stage: {"adversarial": 3}.get(stage, 4))
    with pytest.raises(ValueError, match=r"--workers must divide budget\.batch, but that is 6 and they are 4"):
        check_shares([run], lambda stage: 4)
    with pytest.raises(ValueError, match=r"--pretrain-workers must divide autoencoder\.budget\.batch, but that is 4"):
        check_shares([run], lambda stage: {"adversarial": 1}.get(stage, 8))
    with pytest.raises(ValueError, match=r"--workers 6 leaves each .* batch norm of discriminator vgg"):
        check_shares([run], lambda stage: {"adversarial": 6}.get(stage, 1))
    check_shares([replace(run, {"discriminator.name": "unet"})], lambda stage: {"adversarial": 6}.get(stage, 1))
