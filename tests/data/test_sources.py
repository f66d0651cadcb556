"""The built-in photographs, folders with every problem at once, and the split into training and validation."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.config import DataConfig, LargestPatch
from study.data import ImageSet, SourceError, load_source, make_pairs, photographs, sources
from study.data.degradations import Noise
from study.data.layouts import find_layout
from study.data.packing import pack, plan_pack
from study.data.sources import folder
from study.data.store import StoredImages


def load(train: str, val: str | None, *, scale: int = 4, patch: int = 32, **changes: Any) -> tuple[ImageSet, ImageSet]:
    data = DataConfig.model_construct(
        **{**DataConfig().model_dump(), "train": train, "val": val, "scale": scale, **changes}
    )
    return load_source(data, LargestPatch(patch, "budget.patch"))


def random_image(seed: int, height: int = 60, width: int = 72) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_images(place: Path, seeds: range, *, prefix: str = "image") -> None:
    place.mkdir(exist_ok=True)
    for seed in seeds:
        Image.fromarray(random_image(seed)).save(place / f"{prefix}{seed:02}.png")


def pixels(images: ImageSet) -> set[bytes]:
    return {image.tobytes() for image in images.images}


def test_photographs_are_the_documented_ones() -> None:
    training, held_out = photographs()
    assert training.names == (
        "china",
        "motorcycle_left",
        "motorcycle_right",
        "rocket",
        "ihc",
        "retina",
        "hubble_deep_field",
    )
    assert held_out.names == ("astronaut", "chelsea", "coffee", "flower")
    assert [image.shape for image in held_out.images] == [
        (512, 512, 3),
        (300, 451, 3),
        (400, 600, 3),
        (427, 640, 3),
    ]
    assert all(image.std() > 5 for images in (training, held_out) for image in images.images)


def test_photographs_are_found_without_importing_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("skimage", "sklearn"):  # another test may have imported them
        monkeypatch.delitem(sys.modules, package, raising=False)
    photographs()
    assert not {"skimage", "sklearn"} & sys.modules.keys()


def test_a_changed_photograph_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources._HELD_OUT_PHOTOGRAPHS, ("skimage", "data/coffee.png"), "0" * 64)
    with pytest.raises(SourceError, match=r"coffee\.png of the installed scikit-image has changed.*lock file"):
        photographs()


def test_a_missing_photograph_or_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sources._TRAINING_PHOTOGRAPHS, ("sklearn", "datasets/images/gone.jpg"), "0" * 64)
        with pytest.raises(SourceError, match=r"gone\.jpg is missing from the installed scikit-learn"):
            photographs()
    monkeypatch.setattr(sources, "find_spec", lambda package: None)
    with pytest.raises(SourceError, match="scikit-learn, which is not installed"):
        photographs()


def test_fingerprint_depends_on_names_sizes_pixels_and_order() -> None:
    first, second = random_image(1), random_image(2)
    base = ImageSet.loaded("set", ("a", "b"), (first, second))
    changed_pixel = first.copy()
    changed_pixel[-1, -1, -1] ^= 1
    others = [
        ImageSet.loaded("set", ("a", "c"), (first, second)),
        ImageSet.loaded("set", ("a", "b"), (second, first)),
        ImageSet.loaded("set", ("a", "b"), (changed_pixel, second)),
        ImageSet.loaded("set", ("a", "b"), (first.reshape(72, 60, 3), second)),
        ImageSet.loaded("set", ("a",), (first,)),
    ]
    assert len({images.fingerprint for images in [base, *others]}) == 6
    same = ImageSet.loaded("renamed", ("a", "b"), (first.copy(), np.asfortranarray(second)))
    assert same.fingerprint == base.fingerprint
    assert len(base.fingerprint) == 64


def read(place: Path, least: int = 1) -> ImageSet:
    return folder(find_layout([place], scale=4), scale=4, least=least)


def test_folder_reports_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    write_images(tmp_path, range(3))
    whole = (tmp_path / "image00.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "nothing.jpg").touch()
    (tmp_path / "text.png").write_text("hello")
    Image.fromarray(random_image(9, 20, 90)).save(tmp_path / "small.png")
    Image.fromarray(random_image(8)).save(tmp_path / "image01.bmp")
    with pytest.raises(SourceError) as caught:
        read(tmp_path, least=48)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: these images cannot be used:"
    problems = dict(line.strip().removeprefix(f"{tmp_path}/").split(": ", 1) for line in lines[1:])
    assert problems.keys() == {"cut.png", "nothing.jpg", "text.png", "small.png", "image01.png"}
    assert "truncated or corrupt" in problems["cut.png"]
    assert "0 bytes" in problems["nothing.jpg"]
    assert "not an image" in problems["text.png"]
    assert problems["small.png"] == "90 x 20 px, but both sides must have at least 48 px; remove it"
    assert "the same image name as" in problems["image01.png"]


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    for number in range(55):
        (tmp_path / f"{number:02}.png").touch()
    with pytest.raises(SourceError, match=r"49\.png: .*\n  \.\.\. and 5 more$"):
        read(tmp_path)


def test_an_empty_or_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no image in this folder"):
        load(str(tmp_path), None, scale=4)
    with pytest.raises(SourceError, match="no such folder"):
        load(str(tmp_path / "absent"), None, scale=4)


def test_load_photographs() -> None:
    training, held_out = load("photographs", None, scale=4, patch=128)
    assert (len(training), len(held_out)) == (7, 4)
    assert [image.shape[:2] for image in held_out.images] == [(504, 504), (300, 444), (396, 600), (420, 636)]
    smaller, _ = load("photographs", None, scale=4, patch=428)
    assert "china" not in smaller.names
    converted, left_out = smaller.notes
    assert "china (640 x 427 px)" in left_out
    assert converted.endswith("converted to sRGB: 1 from Adobe RGB (1998) (rocket.jpg).")


def test_a_folder_validated_on_the_photographs(tmp_path: Path) -> None:
    write_images(tmp_path, range(1))
    training, held_out = load(str(tmp_path), "photographs", scale=4, patch=60)
    assert training.names == ("image00",)
    assert held_out.names == ("astronaut", "chelsea", "coffee", "flower")


@pytest.mark.parametrize(("count", "held"), [(2, 1), (19, 1), (20, 2), (210, 20)])
def test_a_tenth_of_a_folder_is_held_out(tmp_path: Path, count: int, held: int) -> None:
    write_images(tmp_path, range(count))
    training, held_out = load(str(tmp_path), None, scale=4, patch=48)
    assert (len(training), len(held_out)) == (count - held, held)
    assert not set(training.names) & set(held_out.names)


def test_the_split_depends_on_content_alone(tmp_path: Path) -> None:
    write_images(tmp_path / "a", range(20))
    (tmp_path / "b").mkdir()
    for number, path in enumerate(sorted((tmp_path / "a").iterdir(), reverse=True)):
        (tmp_path / "b" / f"renamed{number:02}.png").write_bytes(path.read_bytes())
    first = load(str(tmp_path / "a"), None, scale=4, patch=48)
    second = load(str(tmp_path / "b"), None, scale=4, patch=48)
    assert [pixels(part) for part in first] == [pixels(part) for part in second]


def test_only_large_enough_images_are_held_out(tmp_path: Path) -> None:
    for seed in range(5):
        Image.fromarray(random_image(seed, 40, 40)).save(tmp_path / f"small{seed}.png")
    with pytest.raises(SourceError, match=r"one of them with 48 px a side, but it has 5\. Add images"):
        load(str(tmp_path), None, scale=4)
    Image.fromarray(random_image(9, 50, 61)).save(tmp_path / "large.png")
    _, held_out = load(str(tmp_path), None, scale=4)
    assert held_out.names == ("large",)
    assert held_out.images[0].shape == (48, 60, 3)


def test_one_image_cannot_be_split(tmp_path: Path) -> None:
    write_images(tmp_path, range(1))
    with pytest.raises(SourceError, match=r"needs at least two.* but it has 1"):
        load(str(tmp_path), None, scale=4)


@pytest.mark.parametrize("pack_it", [False, True])
def test_images_smaller_than_the_patch_are_left_out_by_name(tmp_path: Path, pack_it: bool) -> None:
    write_images(tmp_path / "train", range(3))
    Image.fromarray(random_image(9, 40, 90)).save(tmp_path / "train" / "strip.png")
    Image.fromarray(random_image(9, 3, 3)).save(tmp_path / "train" / "dot.png")
    if pack_it:
        (tmp_path / "train" / "dot.png").unlink()  # smaller than the scale: not packed
    source = str(packed(tmp_path / "train", tmp_path / "train.arrow") if pack_it else tmp_path / "train")
    training, _ = load(source, "photographs", patch=48)
    assert training.names == ("image00", "image01", "image02")
    small = "" if pack_it else "dot (3 x 3 px), "
    assert training.notes == (
        f"train: {1 if pack_it else 2} of {4 if pack_it else 5} images are left out, smaller than the largest patch, "
        f"48 px (budget.patch): {small}strip (90 x 40 px).",
    )
    (tmp_path / "train" / "strip.png").unlink()
    (tmp_path / "train" / "dot.png").unlink(missing_ok=True)
    assert training.fingerprint == load(str(tmp_path / "train"), "photographs", patch=48)[0].fingerprint


def test_no_image_as_large_as_the_patch_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path, range(2))
    with pytest.raises(SourceError, match=r"all .* 64 px \(budget\.patch\): image00 \(72 x 60 px\), .*budget\.patch=N"):
        load(str(tmp_path), None, patch=64)
    Image.fromarray(random_image(9, 90, 90)).save(tmp_path / "large.png")
    with pytest.raises(
        SourceError, match=r"needs at least two, .* it has 1\. .*: 2 of 3 images are left out, .*image01"
    ):
        load(str(tmp_path), None, patch=64)


def test_validation_images_are_cropped_and_tiny_ones_left_out(tmp_path: Path) -> None:
    write_images(tmp_path / "train", range(2))
    write_images(tmp_path / "val", range(5, 6))
    Image.fromarray(random_image(9, 83, 50)).save(tmp_path / "val" / "odd.png")
    train, val = str(tmp_path / "train"), str(tmp_path / "val")
    _, held_out = load(train, val, scale=4, patch=48)
    assert [image.shape for image in held_out.images] == [(60, 72, 3), (72, 48, 3)]
    _, held_out = load(train, val, scale=5, patch=50)  # multiples of 60
    assert held_out.names == ("image05",)
    Image.fromarray(random_image(9, 83, 47)).save(tmp_path / "val" / "odd.png")
    _, held_out = load(train, val, scale=4, patch=48)
    assert held_out.notes == (
        "val: 1 of 2 images are left out, smaller than 48 px, the least in validation: odd (47 x 83 px).",
    )
    (tmp_path / "val" / "image05.png").unlink()
    with pytest.raises(SourceError, match=r"val: all images are smaller than 48 px, .*: odd \(47 x 83 px\); add"):
        load(train, val, scale=4, patch=48)


def test_training_on_a_validation_image_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "train", range(4))
    write_images(tmp_path / "val", range(3, 6), prefix="val")
    Image.fromarray(random_image(5)).save(tmp_path / "train" / "copy.bmp")
    with pytest.raises(SourceError) as caught:
        load(str(tmp_path / "train"), str(tmp_path / "val"), scale=4, patch=48)
    assert "val03: the same picture as image03 of train" in str(caught.value)
    assert "val05: the same picture as copy of train" in str(caught.value)
    assert "val04" not in str(caught.value)


def test_a_crop_to_multiples_does_not_hide_a_shared_image(tmp_path: Path) -> None:
    write_images(tmp_path / "train", range(1))
    (tmp_path / "val").mkdir()
    padded = np.pad(random_image(0), ((0, 5), (0, 3), (0, 0)))  # the same after the crop to multiples of 12
    Image.fromarray(padded).save(tmp_path / "val" / "padded.png")
    with pytest.raises(SourceError, match="padded: the same picture as image00"):
        load(str(tmp_path / "train"), str(tmp_path / "val"), scale=4, patch=48)


# --- stores --------------------------------------------------------------------------------------------------------


def packed(place: Path, out: Path, **options: Any) -> Path:
    pack(plan_pack([place], **({"scale": 4} | options)), out, jobs=1)
    return out


def equal(one: ImageSet, other: ImageSet) -> bool:
    pixels = zip(one.images, other.images, strict=True)
    return one.names == other.names and all(np.array_equal(mine, theirs) for mine, theirs in pixels)


def test_a_store_is_the_folder_that_it_was_packed_from(tmp_path: Path) -> None:
    write_images(tmp_path / "train", range(12))
    write_images(tmp_path / "val", range(50, 53))
    train, val = (
        packed(tmp_path / "train", tmp_path / "train.arrow"),
        packed(tmp_path / "val", tmp_path / "val.arrow"),
    )
    for val_folder in (None, str(tmp_path / "val")):
        from_folder = load(str(tmp_path / "train"), val_folder, scale=4)
        val_store = val_folder and str(val)
        from_store = load(str(train), val_store, scale=4)
        for mine, theirs in zip(from_store, from_folder, strict=True):
            assert equal(mine, theirs)
            assert mine.fingerprint == theirs.fingerprint
            for scale in (2, 4):
                stored_pairs, made_pairs = make_pairs(mine, scale), make_pairs(theirs, scale)
                assert all(np.array_equal(*both) for both in zip(stored_pairs.lq, made_pairs.lq, strict=True))


def test_a_store_by_uri_is_copied_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AESOP_STUDY_CACHE", str(tmp_path / "cache"))
    write_images(tmp_path / "train", range(12))
    store = packed(tmp_path / "train", tmp_path / "train.arrow")
    training, _ = load(store.as_uri(), None, scale=4)
    assert training.fingerprint == load(str(store), None, scale=4)[0].fingerprint
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1


def test_stored_pictures_in_both_parts_are_found_without_reading_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "train", range(4))
    write_images(tmp_path / "val", range(3, 5), prefix="other")
    stores = [packed(tmp_path / part, tmp_path / f"{part}.arrow") for part in ("train", "val")]
    monkeypatch.setattr(StoredImages, "__getitem__", lambda *_: pytest.fail("pixels were read"))
    with pytest.raises(SourceError, match="other03: the same picture as image03 of train"):
        load(str(stores[0]), str(stores[1]), scale=4)


def test_low_quality_of_another_scale_and_degradation_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "train", range(4))
    noisy = packed(tmp_path / "train", tmp_path / "noisy.arrow", degradation=Noise(sigma=10))
    with pytest.raises(SourceError, match=r"of scale 4, but data\.scale is 2; set data\.scale=4, or pack"):
        load(str(noisy), None, scale=2, patch=32)
    training, _ = load(str(noisy), None, scale=4)
    plain, _ = load(str(tmp_path / "train"), None, scale=4)
    assert training.fingerprint != plain.fingerprint


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.arrow").write_bytes(b"something else")
    with pytest.raises(SourceError, match=r"set\.arrow: this is no image store"):
        load(str(tmp_path / "set.arrow"), None, scale=4)
