"""Sets are found by name and by folder, and every mismatched image is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from study.data import bicubic_downsample, to_float, to_uint8
from study.data.pairs import image_to_tensor
from study.evaluation.sets import SetError, find_sets, open_set


def save(path: Path, height: int = 60, width: int = 50, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, file in (("Set5", "baby"), ("Set14", "zebra"), ("mine", "cat")):
        save(tmp_path / name / "HR" / f"{file}.png")
    return tmp_path


def test_sets_are_taken_by_name_from_one_folder(root: Path) -> None:
    places = find_sets([root], [], ["Set14", "mine"], 4)

    assert [(place.name, place.hr.relative_to(root.resolve()), place.lq) for place in places] == [
        ("Set14", Path("Set14/HR"), None),
        ("mine", Path("mine/HR"), None),
    ]


def test_without_names_the_known_sets_are_taken(root: Path) -> None:
    assert [place.name for place in find_sets([root], [], [], 4)] == ["Set14", "Set5"]


def test_folders_are_sets_by_their_own_names_or_given_ones(root: Path) -> None:
    folders = [root / "Set5", root / "mine" / "HR"]

    assert [place.name for place in find_sets(folders, [], [], 4)] == ["Set5", "mine"]
    assert [place.name for place in find_sets(folders, [], ["a", "b"], 4)] == ["a", "b"]


def test_low_quality_images_beside_hr_are_found(root: Path) -> None:
    save(root / "Set5" / "LRbicx4" / "babyx4.png", 15, 12)

    assert find_sets([root / "Set5"], [], [], 4)[0].lq == (root / "Set5" / "LRbicx4").resolve()
    assert find_sets([root / "Set5"], [], [], 2)[0].lq is None


def test_all_mismatches_are_reported_at_once(root: Path) -> None:
    with pytest.raises(SetError) as raised:
        find_sets([root / "nothing", root / "Set5"], [root], ["a", "b", "c"], 4)

    text = str(raised.value)
    assert "--lq must name one folder for each of --hr, but got 1 for 2" in text
    assert "or one set for each of --hr, but got a, b, c" in text
    with pytest.raises(SetError, match=r"or one set for each of --hr, but below .* there is no Set15, Urban100"):
        find_sets([root], [], ["Set5", "Set15", "Urban100"], 4)
    with pytest.raises(SetError, match="there is no such folder"):
        find_sets([root / "nothing", root / "Set5"], [], [], 4)
    with pytest.raises(SetError, match="two sets are called Set5; name them with --name"):
        find_sets([root / "Set5", root / "Set5" / "HR"], [], [], 4)


def test_hr_is_cropped_to_12_and_lr_made_by_bicubic(root: Path) -> None:
    test = open_set(find_sets([root / "Set5"], [], [], 4)[0], 4)

    whole = np.asarray(Image.open(root / "Set5" / "HR" / "baby.png"))
    assert (test.pairs.hr[0] == whole[:60, :48]).all()
    expected = to_uint8(bicubic_downsample(to_float(image_to_tensor(whole[:60, :48])), 4))
    assert (test.pairs.tensors(0)[0] * 255).round().byte().equal(expected)
    assert test.uncropped == ((60, 50),)
    assert test.lq == "made by MATLAB's bicubic"


def test_low_quality_images_for_a_store_are_refused(root: Path) -> None:
    (root / "set.arrow").touch()
    with pytest.raises(SetError, match=r"--lq .*lq: .*set\.arrow is a store, which has its own low-quality images"):
        find_sets([root / "set.arrow"], [root / "lq"], [], 4)


def test_given_low_quality_images_are_used_unchanged(root: Path) -> None:
    lq = save(root / "lq" / "baby_x4.png", 15, 13, seed=5)  # of the whole image, rounded up
    place = find_sets([root / "Set5"], [root / "lq"], [], 4)[0]

    test = open_set(place, 4)

    assert (test.pairs.lq[0] == lq[:, :12]).all()
    assert test.lq == f"given ({root.name}/lq)"


def test_at_scale_1_low_quality_images_are_given_or_refused(root: Path) -> None:
    with pytest.raises(SetError, match=r"Set5: at scale 1 the low-quality images must be given; name them with --lq"):
        open_set(find_sets([root / "Set5"], [], [], 1)[0], 1)
    noisy = save(root / "noisy" / "baby.png", seed=5)

    test = open_set(find_sets([root / "Set5"], [root / "noisy"], [], 1)[0], 1)

    assert (test.pairs.lq[0] == noisy[:60, :48]).all()


def test_every_low_quality_image_that_does_not_fit_is_named(root: Path) -> None:
    save(root / "Set5" / "HR" / "bird.png", seed=1)
    save(root / "lq" / "baby.png", 20, 20)
    save(root / "lq" / "dog.png", 15, 12)

    with pytest.raises(SetError) as raised:
        open_set(find_sets([root / "Set5"], [root / "lq"], [], 4)[0], 4)

    text = str(raised.value)
    assert "bird.png: no low-quality image of that name; add it" in text
    assert "dog.png: no HR image of that name; add it" in text
    assert "baby.png: 20 x 20 px is not baby.png (50 x 60 px) at scale 4" in text


def test_hr_images_that_are_too_small_are_named(root: Path) -> None:
    save(root / "mine" / "HR" / "dot.png", 30, 80)

    with pytest.raises(SetError, match=r"dot\.png: 80 x 30 px, but both sides must have at least 36 px"):
        open_set(find_sets([root / "mine"], [], [], 4)[0], 4)
