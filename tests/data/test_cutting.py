"""Images that are too large for a row of a store are cut by packing, and refused with its command elsewhere."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from study import prepare
from study.config import DataConfig, LargestPatch
from study.data import SourceError, cutting, images, load_source, make_pairs, packing, read_image
from study.data.cutting import pieces_of
from study.data.images import MAX_PIXELS
from study.data.packing import PackError, pack, plan_pack
from study.evaluation.sets import SetError, find_sets, open_set

SIZES = {"a": (48, 60), "big": (403, 518), "c": (60, 60)}


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images of more than 65,536 pixels be large, and pieces have 128 px a side."""
    for module in (images, cutting):
        monkeypatch.setattr(module, "MAX_PIXELS", 2**16)
    monkeypatch.setattr(cutting, "_SIDE", 128)


def tiled(parts: dict[str, np.ndarray], columns: int) -> np.ndarray:
    named = [image for name, image in sorted(parts.items()) if name.startswith("big")]
    return np.vstack([np.hstack(named[start : start + columns]) for start in range(0, len(named), columns)])


@pytest.mark.usefixtures("small_bounds")
def test_the_pieces_of_a_large_image_are_the_whole(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("HR", SIZES)
    plan = plan_pack([hr], scale=4)
    assert plan.notes[-1] == f"{hr / 'big.png'}: cut into 20 images, big_s001 to big_s020."
    packed = pack(plan, tmp_path / "s.arrow", jobs=2)
    assert (packed.new, packed.kept) == (22, 0)
    store = packed.store.image_set()
    assert max(height * width for height, width in store.images.shapes) <= 2**16
    assert np.array_equal(tiled(dict(zip(store.names, store.images, strict=True)), 5), read_image_of(hr / "big.png"))
    assert len(make_pairs(store, 4)) == 22  # each piece has a low-quality image of its size
    again = pack(plan_pack([hr], scale=4), tmp_path / "s.arrow", jobs=1)
    assert (again.new, again.kept) == (0, 22)


def read_image_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("round_", [np.floor, np.ceil])
def test_given_low_quality_images_are_cut_alike(write_images: Any, tmp_path: Path, round_: Any) -> None:
    hr = write_images("HR", SIZES)
    sizes = {name: (int(round_(height / 4)), int(round_(width / 4))) for name, (height, width) in SIZES.items()}
    lq = write_images("LRx4", sizes, seed=9)
    store = pack(plan_pack([hr], scale=4), tmp_path / "s.arrow", jobs=2).store
    assert np.array_equal(tiled(dict(zip(store.names, store.lq, strict=True)), 5), read_image_of(lq / "big.png"))


@pytest.mark.usefixtures("small_bounds")
def test_the_remedy_for_a_large_image_works(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("my photos", SIZES)
    data = DataConfig.model_validate({"train": str(hr)})
    with pytest.raises(SourceError) as refused:
        load_source(data, LargestPatch(32, "budget.patch"))
    (place,) = find_sets([hr], [], [], 4)
    with pytest.raises(SetError, match="the image is 518 x 403 px, more than the allowed 65536 pixels; pack it"):
        open_set(place, 4)
    command = re.search(r"python study/prepare\.py (pack .*)", str(refused.value))
    assert command is not None
    arguments = shlex.split(command[1])
    assert prepare.main(arguments, Console(quiet=True)) == 0
    train, val = load_source(data.model_copy(update={"train": arguments[-1]}), LargestPatch(32, "budget.patch"))
    assert len(train) + len(val) == 22


@pytest.mark.usefixtures("small_bounds")
def test_a_name_between_the_pieces_is_refused(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("HR", {**SIZES, "big_s003": (48, 48)})
    with pytest.raises(PackError, match="big_s003 has the name of a part of a cut image; rename it"):
        pack(plan_pack([hr], scale=4), tmp_path / "s.arrow", jobs=1)


@pytest.mark.usefixtures("small_bounds")
def test_a_larger_image_than_packing_reads_is_refused(
    write_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr = write_images("HR", SIZES)
    monkeypatch.setattr(images, "LARGEST_PACKED", 2**17)
    with pytest.raises(PackError, match="518 x 403 px, more than the allowed 131072 pixels; cut it into smaller"):
        pack(plan_pack([hr], scale=4), tmp_path / "s.arrow", jobs=1)


@pytest.mark.usefixtures("small_bounds")
def test_a_large_image_is_in_memory_alone(write_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hr = write_images("HR", {f"{index}{name}": SIZES[name] for index, name in enumerate(3 * ["a", "big"])})
    reading: set[str] = set()
    original = packing.decode_image

    def decode(path: Path, content: bytes, **how: bool) -> np.ndarray:
        reading.add(path.stem)
        assert len(reading) == 1 or not any(name.endswith("big") for name in reading)
        image = original(path, content, **how)
        reading.remove(path.stem)
        return image

    monkeypatch.setattr(packing, "decode_image", decode)
    assert pack(plan_pack([hr], scale=4), tmp_path / "s.arrow", jobs=4).new == 63


@pytest.mark.parametrize("size", [(8660, 11552), (70001, 1003), (8193, 8192), (23170, 23170)])
def test_pieces_are_aligned_and_fit_into_a_row(size: tuple[int, int]) -> None:
    pieces = pieces_of("x", *size, 12)
    assert sum(piece.height * piece.width for piece in pieces) == size[0] * size[1]
    assert all(piece.height * piece.width <= MAX_PIXELS // 2 for piece in pieces)
    assert all(piece.top % 12 == piece.left % 12 == 0 for piece in pieces)
    assert [piece.key for piece in pieces] == sorted({piece.key for piece in pieces})
    assert pieces_of("x", 8192, 8192, 12)[0].key == "x"


KINDS = ("L", "LA", "P", "RGB", "RGBA", "CMYK", "1", "I;16")


@pytest.mark.parametrize("kind", KINDS)
def test_strips_give_the_pixels_of_the_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (67, 51, 4), dtype=np.uint8)
    image = (
        Image.fromarray(pixels[..., 0] * np.uint16(257)) if kind == "I;16" else Image.fromarray(pixels).convert(kind)
    )
    if kind == "P":
        image.info["transparency"] = 3
    path = tmp_path / ("a.tif" if kind == "CMYK" else "a.png")
    image.save(path)
    whole = read_image(path)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 300)
    assert np.array_equal(read_image(path), whole)
