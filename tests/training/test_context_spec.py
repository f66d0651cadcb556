"""What a person gave: found wrong before any training, sent to workers as plain text, and named for what it is."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from study.config import DataConfig, RunConfig, replace
from study.data import ImageError, ImageSet, SourceError
from study.models import backbones
from study.training import context_spec
from study.training.context_spec import (
    ContextSpec,
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


@pytest.fixture
def image_folders(training_images: ImageSet, held_out_images: ImageSet, tmp_path: Path) -> tuple[Path, Path]:
    for images in (training_images, held_out_images):
        (tmp_path / images.name).mkdir()
        for name, pixels in zip(images.names, images.images, strict=True):
            Image.fromarray(pixels).save(tmp_path / images.name / f"{name}.png")
    return tmp_path / "train", tmp_path / "test"


def made(train: Path, test: Path | None, patch: int = 32) -> ContextSpec:
    data = DataConfig(train=str(train), val=None if test is None else str(test))
    return ContextSpec(data, patch, "artifacts", {}, None)


@pytest.mark.parametrize("lpips_weights", [None, Path("weights/alexnet.pth")])
def test_setting_comes_back_through_json(lpips_weights: Path | None) -> None:
    original = ContextSpec(
        data=DataConfig(train="some folder", val="photographs", scale=3),
        largest_patch=96,
        artifacts="runs/artifacts",
        backbones={"squeezenet": Path("weights/squeezenet.pth"), "alexnet": Path("weights/alexnet.pth")},
        lpips_weights=lpips_weights,
        custom_losses={"sha256:3f2a": "def loss(sr, hr, lq): ..."},
    )
    assert ContextSpec.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_open_reads_the_images_and_builds_the_judge(
    image_folders: tuple[Path, Path], training_images: ImageSet, held_out_images: ImageSet
) -> None:
    context = made(*image_folders).open()
    assert context.train.fingerprint == training_images.fingerprint
    assert context.val.fingerprint == held_out_images.fingerprint
    assert context.evaluator.perceptual == "swd"
    assert (str(context.artifacts), context.backbones) == ("artifacts", {})


def test_images_smaller_than_the_largest_patch_are_named(image_folders: tuple[Path, Path]) -> None:
    with pytest.raises(SourceError, match=r"train0\.png: 72 x 64 px, .* at least 96 px.*\n.*train1\.png: 64 x 80 px"):
        made(*image_folders, patch=96).open()


def test_an_empty_folder_and_a_truncated_image_are_refused(image_folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises((SourceError, ImageError), match="empty"):
        made(tmp_path / "empty", None).open()
    broken = image_folders[0] / "train1.png"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SourceError, match=r"train1\.png: .*(truncated|corrupt)"):
        made(*image_folders).open()


def test_the_same_picture_on_both_sides_is_refused(image_folders: tuple[Path, Path]) -> None:
    (image_folders[1] / "copy.png").write_bytes((image_folders[0] / "train0.png").read_bytes())
    (image_folders[0] / "train0.png").rename(image_folders[0] / "whole.png")
    cropped = Image.open(image_folders[0] / "whole.png").crop((0, 0, 72, 60))  # as test images are
    cropped.save(image_folders[0] / "whole.png")
    with pytest.raises(SourceError, match="copy: the same picture as whole"):
        made(*image_folders).open()


def test_networks_are_found_in_the_folder_given(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "alexnet_features.pth").touch()
    (folder / "vgg19-dcbb9e9d.pth").touch()
    found = find_networks(["squeezenet", "alexnet", "vgg19", "alexnet"], folder)
    assert found == {"alexnet": folder / "alexnet_features.pth", "vgg19": folder / "vgg19-dcbb9e9d.pth"}
    assert "no weights for squeezenet" in caplog.text
    assert find_networks([], folder) == {}


def test_networks_are_found_in_torchs_cache_and_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fetch = context_spec.fetch_backbone

    def spy(name: backbones.BackboneName, weights: Path | None, *, timeout_sec: float) -> Path | None:
        asked.append(name)
        return fetch(name, weights, timeout_sec=timeout_sec)

    monkeypatch.setattr(context_spec, "fetch_backbone", spy)
    cached = tmp_path / "cache" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert find_networks(["alexnet", "vgg19", "alexnet", "vgg19"], None) == {"alexnet": cached}
    assert asked == ["alexnet", "vgg19"]


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
