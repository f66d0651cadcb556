"""A folder as people have it: each entry is read, or named as ignored, or refused with the others in one report."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from study.config import DataConfig, LargestPatch
from study.data.folder_notes import folder_notes
from study.data.image_files import list_images
from study.data.layouts import find_layout
from study.data.packing import PackError, pack, plan_pack
from study.data.sources import SourceError, folder, load_source
from tests.data.profiles import profile
from tests.data.test_images import GREY_ALPHA, RGB, png_bytes

READ = (
    *("rgb.png", "grey.png", "palette.png", "clear.png", "opaque.png", "photo.jpg", "UPPER.JPEG", "old.jfif"),
    *("cmyk.jpg", "one.bmp", "deep.tif", "deep_grey.tif", "lossless.webp", "new.avif", "portable.ppm", "grey.pgm"),
    *("deep.png", "deep_clear.png", "adobe.png", "turned.jpg", "small.png", f"{'n' * 223}.png"),
)
OTHER_MODES = {"grey.png": "L", "palette.png": "P", "cmyk.jpg": "CMYK", "grey.pgm": "L"}
FORMATS = {".jfif": "JPEG", ".pgm": "PPM"}
REFUSED = {
    "cut.png": "truncated or corrupt",
    "empty.png": "the file is empty",
    "page.png": "this is not an image",
    "float.tif": "32-bit samples",
    "huge.png": r"the image is 8200 x 8200 px, more than the allowed \d+ pixels; pack it, which cuts it: python",
    "caf\udce9.png": "the name is not UTF-8",
}
IGNORED = (
    *(
        "still.gif",
        "moving.gif",
        "scan.jp2",
        "game.tga",
        "raw.dng",
        "notes.txt",
        "faces.csv",
        "archive.zip",
        "clip.mp4",
    ),
    *("Thumbs.db", "README", "photo.jpg.part", ".DS_Store", "dangling.png", "a\x1b[31mred.xmp", "sub/", "LRx9/"),
)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Write 22 kinds of images and 17 of other entries."""
    place = tmp_path / "mixed"
    place.mkdir()
    for seed, name in enumerate(READ):
        write_image(place / f"{seed:02}_{name}", seed)
    for name in IGNORED:
        if name.endswith("/"):
            (place / name).mkdir()
        elif name == "dangling.png":
            (place / name).symlink_to(tmp_path / "gone.png")
        else:
            (place / name).write_bytes(b"something")
    return place


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 72, 3), np.uint8)
    name = path.name.partition("_")[2]
    deep = pixels.astype(np.uint16) * 257
    if name in ("deep.png", "deep_clear.png"):
        path.write_bytes(png_bytes(deep, RGB) if name == "deep.png" else png_bytes(deep[..., :2], GREY_ALPHA))
        return
    if name.startswith("deep"):
        tifffile.imwrite(path, deep if name == "deep.tif" else deep[..., 0])
        return
    image = Image.fromarray(pixels).convert(OTHER_MODES.get(name, "RGB"))
    if name in ("clear.png", "opaque.png"):
        image.putalpha(128 if name == "clear.png" else 255)
    if name == "small.png":
        image = image.crop((0, 0, 24, 48))
    exif = image.getexif()
    exif[0x0112] = 6 if name == "turned.jpg" else 1
    more = {"icc_profile": profile("Adobe RGB (1998)")} if name == "adobe.png" else {}
    image.save(path, format=FORMATS.get(path.suffix), exif=exif, **more)


def write_refused(place: Path) -> None:
    (place / "empty.png").touch()
    (place / "page.png").write_text("<html>")
    Image.fromarray(np.ones((60, 72), np.float32)).save(place / "float.tif")
    Image.new("1", (8200, 8200)).save(place / "huge.png")
    shutil.copy(place / "00_rgb.png", place / "caf\udce9.png")
    content = (place / "00_rgb.png").read_bytes()
    (place / "cut.png").write_bytes(content[: len(content) // 2])


def test_every_entry_of_a_mixed_folder_is_accounted_for(mixed: Path) -> None:
    data = DataConfig.model_validate({"train": str(mixed), "val": "photographs"})
    images, _ = load_source(data, LargestPatch(32, "budget.patch"))
    assert len(images) == len(READ) - 1
    counts, transparent, converted, left_out = images.notes
    assert counts.startswith(f"{mixed}: {len(READ)} images; ignored: ")
    assert transparent == f"{mixed}: transparent pixels show white, in 03_clear.png, 17_deep_clear.png."
    assert converted == f"{mixed}: converted to sRGB: 1 from Adobe RGB (1998) (18_adobe.png)."
    assert "1 of 22 images are left out, smaller than" in left_out
    assert "20_small (24 x 48 px)" in left_out
    assert images.images.shapes[images.names.index("19_turned")] == (72, 60)
    assert sum(int(count) for count in re.findall(r"(\d+) [^(,;]+\(", counts)) == len(IGNORED)
    for name in IGNORED:
        assert ascii(name)[1:-1].rstrip("/") in counts
    assert "1 dangling link (dangling.png)" in counts
    assert "2 sub-folders (LRx9, sub)" in counts
    assert "\x1b" not in counts
    assert plan_pack([mixed], scale=4).notes == images.notes[:3]


def test_a_refused_folder_is_one_report_of_every_entry(mixed: Path) -> None:
    write_refused(mixed)
    with pytest.raises(SourceError) as refused:
        folder(find_layout([mixed], scale=4), scale=4)
    plan = plan_pack([mixed], scale=4)
    reports = {str(refused.value): REFUSED}
    others = tuple(item for item in plan.items if item.key != "huge")  # which would be cut, in a minute
    with pytest.raises(PackError) as of_packing:
        pack(replace(plan, items=others), mixed.with_name("mixed.arrow"), jobs=1)
    reports["\n".join((str(of_packing.value), *plan.notes))] = {**REFUSED, "huge.png": "cut into 9 images"}
    for report, expected in reports.items():
        for name, problem in expected.items():
            assert re.search(rf"{re.escape(ascii(name)[1:-1])}'?: .*{problem}", report)
        for name in IGNORED:
            assert ascii(name)[1:-1].rstrip("/") in report
        assert f"{len(READ) + len(REFUSED)} images; ignored: " in report
        assert "grey.png: " not in report


def test_folders_in_use_and_plain_folders_are_not_noted(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "LRx4"):
        place.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(place / "a.png")
    assert folder_notes([tmp_path, tmp_path / "LRx4"]) == []
    assert folder_notes([tmp_path]) == [f"{tmp_path}: 1 image; ignored: 1 sub-folder (LRx4)."]


def test_further_frames_and_links_to_the_same_image_are_named(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "animated.png", save_all=True, append_images=frames[1:2])
    frames[0].save(tmp_path / "animated.webp", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "preview.jpg", format="MPO", save_all=True, append_images=frames[1:])  # as of a camera
    write_image(tmp_path / "plain.png", seed=1)
    (tmp_path / "again.png").symlink_to(tmp_path / "plain.png")
    (tmp_path / "elsewhere").mkdir()
    write_image(tmp_path / "elsewhere" / "other.png", seed=2)
    (tmp_path / "linked.png").symlink_to("elsewhere/other.png")
    _, several, links = folder_notes([tmp_path])
    assert several.endswith("of animated.png (2), animated.webp (3), pages.tif (3).")
    assert links.endswith("which so count twice: again.png.")


def test_a_pipe_named_as_an_image_is_ignored_and_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]
    assert folder_notes([tmp_path]) == [f"{tmp_path}: 1 image; ignored: 1 special file (b.png)."]


def test_a_folder_that_would_not_fit_into_memory_is_refused_by_its_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (1024, 1024)).save(tmp_path / "large.png")
    monkeypatch.setattr("study.data.sources._MEMORY_SHARE", 0.0)
    with pytest.raises(SourceError, match=r"1 images of 0\.0 GiB once decoded.*pack them into a store"):
        folder(find_layout([tmp_path], scale=4), scale=4)
