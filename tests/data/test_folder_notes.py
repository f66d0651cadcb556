"""A folder as people have it: each entry is read, or named as ignored, or refused with the others in one report."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from study.data.folder_notes import folder_notes
from study.data.image_files import list_images
from study.data.layouts import find_layout
from study.data.packing import plan_pack
from study.data.sources import SourceError, folder

READ = (
    *("rgb.png", "grey.png", "palette.png", "clear.png", "opaque.png", "photo.jpg", "UPPER.JPEG", "old.jfif"),
    *("cmyk.jpg", "one.bmp", "deep.tif", "deep_grey.tif", "lossless.webp", "new.avif", "portable.ppm", "grey.pgm"),
)
OTHER_MODES = {"grey.png": "L", "palette.png": "P", "cmyk.jpg": "CMYK", "grey.pgm": "L"}
FORMATS = {".jfif": "JPEG", ".pgm": "PPM"}
IGNORED = (
    *("moving.gif", "scan.jp2", "game.tga", "raw.dng", "notes.txt", "faces.csv", "archive.zip", "clip.mp4"),
    *("Thumbs.db", "README", "photo.jpg.part", ".DS_Store", "dangling.png", "a\x1b[31mred.xmp", "sub/", "LRx9/"),
)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Write sixteen kinds of images and sixteen of other entries."""
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
    if name.startswith("deep"):
        deep = pixels.astype(np.uint16) * 257
        tifffile.imwrite(path, deep if name == "deep.tif" else deep[..., 0])
        return
    image = Image.fromarray(pixels).convert(OTHER_MODES.get(name, "RGB"))
    if name in ("clear.png", "opaque.png"):
        image.putalpha(128 if name == "clear.png" else 255)
    image.save(path, format=FORMATS.get(path.suffix))


def test_every_entry_of_a_mixed_folder_is_accounted_for(mixed: Path) -> None:
    images = folder(find_layout([mixed], scale=4), scale=4)
    assert len(images) == len(READ)
    counts, transparent = images.notes
    assert counts.startswith(f"{mixed}: {len(READ)} images; ignored: ")
    assert transparent == f"{mixed}: transparent pixels show white, in 03_clear.png."
    assert sum(int(count) for count in re.findall(r"(\d+) [^(,;]+\(", counts)) == len(IGNORED)
    for name in IGNORED:
        assert ascii(name)[1:-1].rstrip("/") in counts
    assert "1 dangling link (dangling.png)" in counts
    assert "2 sub-folders (LRx9, sub)" in counts
    assert "\x1b" not in counts
    assert plan_pack([mixed], scale=4).notes == images.notes


def test_damaged_images_of_a_mixed_folder_come_in_one_report(mixed: Path) -> None:
    (mixed / "empty.png").touch()
    (mixed / "page.jpg").write_text("<html>")
    (mixed / "float.tif").write_bytes(b"")
    Image.fromarray(np.ones((60, 72), np.float32)).save(mixed / "float.tif")
    with pytest.raises(SourceError) as raised:
        folder(find_layout([mixed], scale=4), scale=4)
    text = str(raised.value)
    for name, problem in {"empty.png": "empty", "page.jpg": "not an image", "float.tif": "32-bit"}.items():
        assert re.search(rf"{name}: .*{problem}", text)
    assert "rgb.png" not in text


def test_folders_in_use_and_plain_folders_are_not_noted(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "LRx4"):
        place.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(place / "a.png")
    assert folder_notes([tmp_path, tmp_path / "LRx4"]) == []
    assert folder_notes([tmp_path]) == [f"{tmp_path}: 1 image; ignored: 1 sub-folder (LRx4)."]


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
