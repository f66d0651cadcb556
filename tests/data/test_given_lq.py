"""Low-quality images beside a source's HR images, or named, are trained on, said, and part of the set's fingerprint."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from study.config import DataConfig, LargestPatch
from study.config.recipes import aesop
from study.data import Batches, ImageSet, SourceError, load_source, make_pairs
from study.data.degradations import Noise, degradation_of
from study.data.packing import pack, plan_pack
from study.training.stages.graph import artifact_key

SIDE = 24
"""Of a low-quality image."""


def write_pair(hr: Path, lq: Path, seed: int, scale: int = 4) -> None:
    """Write an image whose blocks are the pixels of its low-quality version, so that a shifted patch shows."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for path, image in ((hr, pixels.repeat(scale, 0).repeat(scale, 1)), (lq, pixels)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def pairs_in(root: Path, lq: str = "LRx4", scale: int = 4) -> Path:
    for seed in range(4):
        write_pair(root / "HR" / f"{seed}.png", root / lq / f"{seed}x{scale}.png", seed, scale)
    return root


def load(train: Path, **changes: object) -> ImageSet:
    data = DataConfig.model_validate({"train": str(train), "val": "photographs", **changes})
    return load_source(data, LargestPatch(32, "budget.patch"))[0]


def are_aligned(images: ImageSet) -> bool:
    batches = Batches(make_pairs(images, 4), patch=32, batch=4, seed=0)
    patches = [batches.at(step) for step in range(6)]
    return all(torch.equal(lq.repeat_interleave(4, 2).repeat_interleave(4, 3), hr) for lq, hr in patches)


@pytest.mark.parametrize("lq", ["LRx4", "LR_bicubic/X4", "LR"])
@pytest.mark.parametrize("inside", ["", "HR"])
def test_images_beside_hr_are_trained_on_and_said(tmp_path: Path, lq: str, inside: str) -> None:
    images = load(pairs_in(tmp_path, lq) / inside)
    assert are_aligned(images)
    assert not are_aligned(load(tmp_path / inside, train_lq="made"))
    assert images.notes == (
        f"{tmp_path / inside}: the low-quality images are those in {tmp_path / lq}; --lq made makes them of the HR "
        "images instead.",
    )


def test_given_images_name_other_artifacts_than_bicubic_ones(tmp_path: Path) -> None:
    given, config = load(pairs_in(tmp_path)), aesop("tiny")
    made = load(tmp_path, train_lq="made")
    (tmp_path / "LRx4").rename(tmp_path / "elsewhere")
    assert load(tmp_path).fingerprint == made.fingerprint
    assert load(tmp_path, train_lq=str(tmp_path / "elsewhere")).fingerprint == given.fingerprint
    assert artifact_key(config, "fidelity", given) != artifact_key(config, "fidelity", made)
    changed = np.zeros((SIDE, SIDE, 3), np.uint8)
    Image.fromarray(changed).save(tmp_path / "elsewhere" / "0x4.png")
    assert load(tmp_path, train_lq=str(tmp_path / "elsewhere")).fingerprint != given.fingerprint


def test_a_store_has_the_given_images_of_its_folder(tmp_path: Path) -> None:
    store = tmp_path / "set.arrow"
    pack(plan_pack([pairs_in(tmp_path)], scale=4), store, jobs=1)
    images = load(store)
    assert are_aligned(images)
    assert images.fingerprint == load(tmp_path).fingerprint
    assert images.notes[0].startswith(f"{store}: the low-quality images are the stored ones (given); --lq made")
    assert load(store, train_lq="made").fingerprint == load(tmp_path, train_lq="made").fingerprint
    with pytest.raises(SourceError, match=r"--lq names .*LRx4, but .*set\.arrow is no folder of HR images; leave --lq"):
        load(store, train_lq=str(tmp_path / "LRx4"))


def test_the_split_keeps_the_given_images_with_their_hr(tmp_path: Path) -> None:
    data = DataConfig(train=str(pairs_in(tmp_path)))
    training, held_out = load_source(data, LargestPatch(32, "budget.patch"))
    assert (len(training), len(held_out)) == (3, 1)
    assert are_aligned(training)
    assert are_aligned(held_out)
    assert (len(training.notes), held_out.notes) == (1, ())


def test_a_split_store_keeps_how_its_images_were_made(tmp_path: Path) -> None:
    store = tmp_path / "noisy.arrow"
    pack(plan_pack([pairs_in(tmp_path) / "HR"], scale=1, degradation=Noise(sigma=25)), store, jobs=1)
    data = DataConfig(train=str(store), task="jpeg", quality=10, scale=1)
    training, _ = load_source(data, LargestPatch(32, "budget.patch"))
    compressed = make_pairs(training, 1, degradation_of(data))
    assert not np.array_equal(compressed.lq[0], training.lq.images[0])  # type: ignore[union-attr]


def test_images_of_another_scale_are_refused_by_name_with_a_remedy(tmp_path: Path) -> None:
    pairs_in(tmp_path, "LR", scale=2)
    with pytest.raises(SourceError) as caught:
        load(tmp_path)
    assert f"{tmp_path}/LR/0x2.png: 24 x 24 px is not 0.png (48 x 48 px) at scale 4: it would fit scale 2" in str(
        caught.value
    )
    assert str(caught.value).splitlines()[0].endswith("to have these made of the HR images, give --lq made:")
    assert load(tmp_path, train_lq="made").lq is None
    assert load(tmp_path, scale=2).lq is not None


def test_images_without_a_partner_are_refused_by_name(tmp_path: Path) -> None:
    pairs_in(tmp_path)
    (tmp_path / "LRx4" / "3x4.png").rename(tmp_path / "LRx4" / "5x4.png")
    with pytest.raises(SourceError, match=r"(?s)HR/3\.png: no low-quality image .*LRx4/5x4\.png: no HR image"):
        load(tmp_path)


def test_another_degradation_makes_its_own_images_and_says_so(tmp_path: Path) -> None:
    images = load(pairs_in(tmp_path), degradation="real-esrgan")
    assert images.fingerprint == load(tmp_path, train_lq="made").fingerprint
    assert images.notes == (
        f"{tmp_path}: data.degradation real-esrgan makes the low-quality images of training; those in "
        f"{tmp_path / 'LRx4'} are not used.",
    )
    with pytest.raises(
        ValueError, match=r"train_lq names lq, but data\.degradation real-esrgan makes .* leave one out"
    ):
        DataConfig(train_lq="lq", degradation="real-esrgan")


def test_folders_that_are_not_recognised_are_named(tmp_path: Path) -> None:
    pairs_in(tmp_path, "LR_mild")
    (tmp_path / "LR_bicubic" / "X3").mkdir(parents=True)
    images = load(tmp_path)
    assert images.notes == (
        f"{tmp_path}: LR_bicubic, LR_mild beside the HR images: no low-quality images of scale 4 were "
        "recognised there; --lq DIR names them, --lq made makes them without this note.",
    )
    assert load(tmp_path, train_lq="made").notes == ()
    assert are_aligned(load(tmp_path, train_lq=str(tmp_path / "LR_mild")))


def test_validation_images_may_be_given_too(tmp_path: Path) -> None:
    pairs_in(tmp_path / "val")
    data = {"val": str(tmp_path / "val" / "HR"), "val_lq": str(tmp_path / "val" / "LRx4")}
    _, held_out = load_source(DataConfig(**data), LargestPatch(32, ""))
    assert are_aligned(held_out)
    assert "--val-lq made" in held_out.notes[0]
    with pytest.raises(SourceError, match=r"val_lq names lq, but there is no data\.val; name it with --val"):
        load_source(DataConfig(val_lq="lq"), LargestPatch(32, ""))
