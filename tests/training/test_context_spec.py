"""The context spec: plain text for workers, and what is wrong with its images is found on opening."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from study.config import DataConfig, LargestPatch
from study.data import ImageError, ImageSet, SourceError
from study.training.context_spec import ContextSpec


@pytest.fixture
def image_folders(training_images: ImageSet, held_out_images: ImageSet, tmp_path: Path) -> tuple[Path, Path]:
    for images in (training_images, held_out_images):
        (tmp_path / images.name).mkdir()
        for name, pixels in zip(images.names, images.images, strict=True):
            Image.fromarray(pixels).save(tmp_path / images.name / f"{name}.png")
    return tmp_path / "train", tmp_path / "test"


def spec_of(train: Path, val: Path | None, patch: int = 32) -> ContextSpec:
    data = DataConfig(train=str(train), val=None if val is None else str(val))
    return ContextSpec(data, LargestPatch(patch, "budget.patch"), "artifacts", {}, None)


@pytest.mark.parametrize("lpips_weights", [None, Path("weights/alexnet.pth")])
def test_spec_comes_back_through_json(lpips_weights: Path | None) -> None:
    original = ContextSpec(
        data=DataConfig(train="some folder", val="photographs", scale=3),
        largest_patch=LargestPatch(96, "budget.patch"),
        artifacts="runs/artifacts",
        backbones={"squeezenet": Path("weights/squeezenet.pth"), "alexnet": Path("weights/alexnet.pth")},
        lpips_weights=lpips_weights,
        custom_losses={"sha256:3f2a": "def loss(sr, hr, lq): ..."},
    )
    assert ContextSpec.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_open_reads_the_images_and_builds_the_evaluator(
    image_folders: tuple[Path, Path], training_images: ImageSet, held_out_images: ImageSet
) -> None:
    context = spec_of(*image_folders).open()
    assert context.train.fingerprint == training_images.fingerprint
    assert context.val.fingerprint == held_out_images.fingerprint
    assert context.evaluator.perceptual == "swd"
    assert (str(context.artifacts), context.backbones) == ("artifacts", {})


def test_images_smaller_than_the_largest_patch_are_named(image_folders: tuple[Path, Path]) -> None:
    with pytest.raises(SourceError, match=r"96 px \(budget\.patch\): train0 \(72 x 64 px\), train1 \(64 x 80 px\)"):
        spec_of(*image_folders, patch=96).open()


def test_an_empty_folder_and_a_truncated_image_are_refused(image_folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises((SourceError, ImageError), match="empty"):
        spec_of(tmp_path / "empty", None).open()
    broken = image_folders[0] / "train1.png"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SourceError, match=r"train1\.png: .*(truncated|corrupt)"):
        spec_of(*image_folders).open()


def test_the_same_picture_on_both_sides_is_refused(image_folders: tuple[Path, Path]) -> None:
    (image_folders[1] / "copy.png").write_bytes((image_folders[0] / "train0.png").read_bytes())
    (image_folders[0] / "train0.png").rename(image_folders[0] / "whole.png")
    cropped = Image.open(image_folders[0] / "whole.png").crop((0, 0, 72, 60))  # as test images are
    cropped.save(image_folders[0] / "whole.png")
    with pytest.raises(SourceError, match="copy: the same picture as whole"):
        spec_of(*image_folders).open()


@pytest.mark.parametrize(
    ("change", "named"),
    [("train", "the training images"), ("test", "the validation images"), ("network", "squeezenet.pth")],
)
def test_other_files_than_the_drivers_are_refused(
    change: str, named: str, image_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    network = tmp_path / "squeezenet.pth"
    network.write_bytes(b"weights")
    spec = replace(spec_of(*image_folders), backbones={"squeezenet": network})
    pinned = spec.pinned(spec.open())
    sent = ContextSpec.from_dict(json.loads(json.dumps(pinned.to_dict())))
    sent.open()
    if change == "network":
        network.write_bytes(b"others!")
    else:  # the same name and size: one pixel differs
        file = tmp_path / change / f"{change}0.png"
        with Image.open(file) as image:
            image.putpixel((3, 3), (1, 2, 3))
            image.save(file)
    with pytest.raises(SourceError, match=f"{named} on .* not those with which the study was started.*--resume"):
        sent.open()
    spec.open()  # a new study may have them
