"""Sets are recognised by the names they are distributed under, and images by their own names."""

from pathlib import Path

import pytest

from study.data.layouts import KNOWN_SETS, LayoutError, find_layout, lq_key, strip_key


def touch(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("stem", "key"),
    [
        ("0001", "0001"),
        ("0001x4", "0001"),
        ("000001x2", "000001"),
        ("baby_HR", "baby"),
        ("img_001_SRF_4_HR", "img_001"),
        ("img_001_SRF_2_LR", "img_001"),
        ("comic_x3", "comic"),
        ("0801x8_HR", "0801"),
        ("baby_hr", "baby"),
        ("x4", "x4"),
        ("_HR", "_HR"),
        ("linux2", "linux2"),
        ("box3", "box3"),
        ("0001_s001", "0001_s001"),
        ("0001x5", "0001x5"),
        ("0001_LRBI_x4", "0001"),
        ("baby_HR_x4", "baby"),
        ("0001_LR_x4", "0001"),
        ("Canon_001_LR4", "Canon_001"),
        ("0001x4m", "0001"),
        ("0001_gt", "0001"),
        ("0001_lq", "0001"),
    ],
)
def test_keys(stem: str, key: str) -> None:
    assert strip_key(stem) == key


def test_a_low_quality_key_drops_a_scale_behind_letters() -> None:
    assert lq_key("babyx4", {"baby"}) == "baby"
    assert lq_key("box3", {"box3", "bo"}) == "box3"
    assert lq_key("0001x4", {"0001"}) == "0001"
    assert lq_key("otherx4", {"baby"}) == "otherx4"


def test_the_sets_have_their_known_counts() -> None:
    counts = {known.name: (known.count, known.multiple) for known in KNOWN_SETS}
    assert counts == {
        "DIV2K": (800, 1),
        "DIV2K-valid": (100, 12),
        "Flickr2K": (2650, 1),
        "DF2K": (3450, 1),
        "LSDIR": (84991, 1),
        "LSDIR-valid": (250, 12),
        "Set5": (5, 12),
        "Set14": (14, 12),
        "BSD100": (100, 12),
        "Urban100": (100, 12),
        "General100": (100, 12),
        "Manga109": (109, 12),
    }


@pytest.mark.parametrize(
    ("files", "folder", "name", "hr", "lq"),
    [
        (["DIV2K/DIV2K_train_HR/0001.png", "DIV2K/DIV2K_train_LR_bicubic/X4/0001x4.png"], "DIV2K", "DIV2K",
         ["DIV2K/DIV2K_train_HR"], ["DIV2K/DIV2K_train_LR_bicubic/X4"]),
        (["d/DIV2K_train_HR/0001.png", "d/DIV2K_valid_HR/0801.png"], "d/DIV2K_valid_HR", "DIV2K-valid",
         ["d/DIV2K_valid_HR"], []),
        (["DIV2K/HR/0001.png", "DIV2K/LRx4/0001.png", "DIV2K/LRx2/0001.png"], "DIV2K", "DIV2K",
         ["DIV2K/HR"], ["DIV2K/LRx4"]),
        (["Flickr2K/Flickr2K_HR/000001.png", "Flickr2K/Flickr2K_LR_bicubic/X4/000001x4.png"], "Flickr2K", "Flickr2K",
         ["Flickr2K/Flickr2K_HR"], ["Flickr2K/Flickr2K_LR_bicubic/X4"]),
        (["DF2K/DIV2K/HR/0001.png", "DF2K/Flickr2K/HR/000001.png"], "DF2K", "DF2K",
         ["DF2K/DIV2K/HR", "DF2K/Flickr2K/HR"], []),
        (["LSDIR/train/0001000/0000001.png", "LSDIR/train/0002000/0001001.png"], "LSDIR/train", "LSDIR",
         ["LSDIR/train/0001000", "LSDIR/train/0002000"], []),
        (["Set14/GTmod12/a.png", "Set14/LRbicx4/a.png"], "Set14", "Set14", ["Set14/GTmod12"], ["Set14/LRbicx4"]),
        (["Set5/baby.png"], "Set5", "Set5", ["Set5"], []),
        (["set_5/HR/baby.png"], "set_5", "Set5", ["set_5/HR"], []),
        (["B100/101085.png"], "B100", "BSD100", ["B100"], []),
        (["urban100/img_001_SRF_4_HR.png"], "urban100", "Urban100", ["urban100"], []),
        (["General100/im_1.bmp"], "General100", "General100", ["General100"], []),
        (["Manga109/A.png"], "Manga109", "Manga109", ["Manga109"], []),
        (["mine/a.png"], "mine", "mine", ["mine"], []),
        (["mine/HR/a.png", "mine/LR/a.png"], "mine", "mine", ["mine/HR"], ["mine/LR"]),
        (["mine/hr/a.png", "mine/lr/x4/a.png"], "mine", "mine", ["mine/hr"], ["mine/lr/x4"]),
        (["mine/GT/a.png", "mine/LQ/a.png"], "mine", "mine", ["mine/GT"], ["mine/LQ"]),
        (["mine/HR/a.png", "mine/LR_x4/a_LRBI_x4.png"], "mine/HR", "mine", ["mine/HR"], ["mine/LR_x4"]),
        (["mine/train_HR/a.png", "mine/train_LR/a.png", "mine/LR/a.png"], "mine/train_HR", "train_HR",
         ["mine/train_HR"], ["mine/train_LR"]),
        (["Set5/HR/baby.png", "Set5/LR_bicubic/X4/babyx4.png"], "Set5", "Set5", ["Set5/HR"], ["Set5/LR_bicubic/X4"]),
        (["Set5/baby.png", "Set5/LRbicx4/baby.png"], "Set5", "Set5", ["Set5"], ["Set5/LRbicx4"]),
        (["d/photos/a.png", "d/photos_LRx4/a.png"], "d/photos", "photos", ["d/photos"], ["d/photos_LRx4"]),
        (["d/photos/a.png", "d/LRx4/a.png"], "d/photos", "photos", ["d/photos"], ["d/LRx4"]),
        (["d/photos/b.png", "d/LRx4/a.png"], "d/photos", "photos", ["d/photos"], []),
        (["k/trainsets/trainH/a.png", "k/trainsets/trainL/a.png"], "k/trainsets", "trainsets",
         ["k/trainsets/trainH"], ["k/trainsets/trainL"]),
        (["d/DIV2K_train_HR_sub/0001_s001.png", "d/DIV2K_train_LR_bicubic/X4_sub/0001_s001.png"],
         "d/DIV2K_train_HR_sub", "DIV2K_train_HR_sub", ["d/DIV2K_train_HR_sub"], ["d/DIV2K_train_LR_bicubic/X4_sub"]),
    ],
)  # fmt: skip
def test_layouts(tmp_path: Path, files: list[str], folder: str, name: str, hr: list[str], lq: list[str]) -> None:
    touch(tmp_path, *files)
    layout = find_layout([tmp_path / folder], scale=4)
    assert layout.name == name
    assert (layout.known is None) == (name in ("mine", "train_HR", "photos", "trainsets", "DIV2K_train_HR_sub"))
    assert layout.hr == tuple(tmp_path / place for place in hr)
    assert layout.lq == tuple(tmp_path / place for place in lq)


def test_div2k_and_flickr2k_together_are_df2k(tmp_path: Path) -> None:
    touch(tmp_path, "DIV2K/HR/0001.png", "Flickr2K/HR/000001.png")
    layout = find_layout([tmp_path / "DIV2K", tmp_path / "Flickr2K"], scale=4)
    assert layout.name == "DF2K"
    assert len(layout.hr) == 2


def test_low_quality_folders_of_some_parts_alone_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "DIV2K/HR/0001.png", "DIV2K/LRx4/0001.png", "Flickr2K/HR/000001.png")
    parts = [tmp_path / "DIV2K", tmp_path / "Flickr2K"]
    with pytest.raises(LayoutError, match=r"in .*LRx4, but none beside .*Flickr2K/HR; add those, or have all of them"):
        find_layout(parts, scale=4)
    assert find_layout(parts, scale=4, lq=None).lq == ()
    assert find_layout([tmp_path / "DIV2K"], scale=3).lq == ()
    named = [tmp_path / "DIV2K" / "LRx4"]
    assert find_layout([tmp_path / "DIV2K" / "HR"], scale=4, lq=named).lq == tuple(named)


def test_names_of_custom_sets(tmp_path: Path) -> None:
    touch(tmp_path, "BSDS500/train/1.jpg", "BSDS500/val/2.jpg", "other/HR/3.png")
    parts = [tmp_path / "BSDS500" / part for part in ("train", "val")]
    assert find_layout(parts, scale=4).name == "BSDS500"
    assert find_layout([*parts, tmp_path / "other"], scale=4).name == "train+val+other"
    assert find_layout([tmp_path / "other" / "HR"], scale=4).name == "other"
    assert find_layout(parts, scale=4, name="all of it").name == "all of it"


def test_a_known_name_may_be_given_or_waived(tmp_path: Path) -> None:
    touch(tmp_path, "photos/1.png", "Set5/1.png")
    assert find_layout([tmp_path / "photos"], scale=4, name="set5").name == "Set5"
    waived = find_layout([tmp_path / "Set5"], scale=4, name="custom")
    assert (waived.known, waived.name) == (None, "Set5")


@pytest.mark.parametrize(
    ("files", "folder", "message"),
    [
        ([], "nowhere", "there is no such folder"),
        (["a.png"], "a.png", "a folder of images is needed"),
        (
            ["BSDS500/train/1.jpg", "BSDS500/val/2.jpg"],
            "BSDS500",
            r"sub-folders train, val; name those: .*train",
        ),
        (["notes/readme.txt"], "notes", r"no image in this folder \(looked for \.png"),
    ],
)
def test_folders_without_a_set_are_refused(tmp_path: Path, files: list[str], folder: str, message: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(LayoutError, match=message):
        find_layout([tmp_path / folder], scale=4)
