"""Colours of another profile than sRGB are converted once, for every reader; sRGB's own are never touched."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from study.data import read_image
from study.data.folder_notes import folder_notes, image_notes
from study.data.layouts import find_layout
from study.data.packing import pack, plan_pack
from study.data.sources import folder
from tests.data.profiles import adobe_to_srgb, profile

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def srgb(name: str = "") -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if not name else profile(name)


def save(path: Path, content: bytes | None, pixels: np.ndarray = PIXELS, **how: object) -> Path:
    Image.fromarray(pixels).save(path, icc_profile=content, **how)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_adobe_rgb_is_converted_by_its_matrix_and_curve(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", profile("Adobe RGB (1998)"), lossless=True)
    found = read_image(path).astype(float)
    assert np.abs(found - adobe_to_srgb(PIXELS)).max() <= 1.5
    assert np.abs(found - PIXELS).max() > 20


def test_transparent_and_16_bit_pixels_are_converted_too(tmp_path: Path) -> None:
    adobe = profile("Adobe RGB (1998)")
    clear = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255, np.uint8)])
    clear[0, 0] = 0
    found = read_image(save(tmp_path / "clear.png", adobe, clear)).astype(float)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.abs(found - adobe_to_srgb(PIXELS))[1:].max() <= 1.5
    grey = PIXELS[..., 0].astype(np.uint16) * 257
    found = read_image(save(tmp_path / "deep.png", profile("A gamma", space=b"GRAY"), grey)).astype(float)
    expected = adobe_to_srgb(PIXELS[..., :1].repeat(3, axis=2))
    assert np.abs(found - expected).max() <= 1.5


@pytest.mark.parametrize("content", [None, srgb(), srgb("sRGB IEC61966-2.1")])
def test_srgb_pixels_stay_as_they_are(tmp_path: Path, content: bytes | None) -> None:
    assert np.array_equal(read_image(save(tmp_path / "a.png", content)), PIXELS)
    assert folder_notes([tmp_path]) == []


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"no profile", "a profile that cannot be read"),
        (profile("Dot Gain", space=b"GRAY"), "Dot Gain"),
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes(), "XYZ identity built-in"),  # type: ignore[arg-type]
    ],
)
def test_profiles_that_cannot_be_applied_are_named_and_taken_as_srgb(
    tmp_path: Path, content: bytes, named: str
) -> None:
    assert np.array_equal(read_image(save(tmp_path / "a.png", content)), PIXELS)
    rule = "taken as sRGB, because their colour profile cannot be applied"
    assert folder_notes([tmp_path]) == [f"{tmp_path}: {rule}: a.png ({named})."]


def test_conversions_are_counted_by_profile_in_every_reader(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / f"{index}.png", profile("Adobe RGB (1998)"), PIXELS[:, index:])
    save(tmp_path / "linear.png", profile("linear sRGB"))
    images = folder(find_layout([tmp_path], scale=4), scale=4)
    note = "converted to sRGB: 3 from Adobe RGB (1998) (0.png, 1.png, 2.png), 1 from linear sRGB (linear.png)."
    assert images.notes == (f"{tmp_path}: {note}",)
    plan = plan_pack([tmp_path], scale=4)
    assert plan.notes == images.notes
    assert pack(plan, tmp_path / "a.arrow", jobs=1).store.image_set().fingerprint == images.fingerprint
    assert image_notes(tmp_path, [tmp_path / "0.png"])[0].endswith("1 from Adobe RGB (1998) (0.png).")


def test_a_photograph_in_cmyk_is_converted_by_its_profile_only_if_it_has_one(tmp_path: Path) -> None:
    plain = Image.fromarray(PIXELS).convert("CMYK")
    content = io.BytesIO()
    plain.save(content, "TIFF", icc_profile=profile("Adobe RGB (1998)"))  # of RGB: it does not describe these pixels
    (tmp_path / "a.tif").write_bytes(content.getvalue())
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.asarray(plain.convert("RGB")))
    assert "cannot be applied: a.tif (Adobe RGB (1998))" in folder_notes([tmp_path])[0]
