"""LMDBs as BasicSR writes them: the same set as their folder, and one sentence for each kind of damage."""

import builtins
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image

from study.config import DataConfig, LargestPatch
from study.data import ImageError, ImageSet, SourceError, load_source
from study.data.image_files import list_images
from study.data.images import read_image
from study.data.packing import pack, plan_pack
from study.evaluation.sets import find_sets, open_set

Write = Callable[..., Path]


def as_lmdb(folder: Path, place: Path) -> Path:
    """Write a folder of PNGs as BasicSR's create_lmdb.py does."""
    lines = []
    with lmdb.open(str(place), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for path in sorted(folder.glob("*.png")):
            transaction.put(path.stem.encode(), path.read_bytes())
            width, height = Image.open(path).size
            lines.append(f"{path.name} ({height},{width},3) 1\n")
    (place / "meta_info.txt").write_text("".join(lines))
    return place


@pytest.fixture
def folders(write_images: Write, tmp_path: Path) -> Path:
    """A folder with the folders `HR` and `LRx4`, and LMDBs of them in `lmdb`."""
    write_images("HR", {f"0{index}": (64 + 4 * index, 68) for index in range(5)})
    write_images("LRx4", {f"0{index}x4": (16 + index, 17) for index in range(5)}, seed=10)
    (tmp_path / "lmdb").mkdir()
    for name in ("HR", "LRx4"):
        as_lmdb(tmp_path / name, tmp_path / "lmdb" / f"{name}.lmdb")
    return tmp_path


def load(train: Path, **changes: object) -> tuple[ImageSet, ImageSet]:
    data = DataConfig.model_validate({"train": str(train), **changes})
    return load_source(data, LargestPatch(32, "budget.patch"))


def test_an_lmdb_is_the_same_set_as_its_folder(folders: Path) -> None:
    of_folder, of_lmdb = load(folders / "HR"), load(folders / "lmdb" / "HR.lmdb")
    for expected, found in zip(of_folder, of_lmdb, strict=True):
        assert found.fingerprint == expected.fingerprint
        assert found.names == expected.names
        assert found.lq is not None
    assert of_lmdb[0].name == of_folder[0].name
    lq = folders / "lmdb" / "LRx4.lmdb"
    assert any(f"the low-quality images are those in {lq}" in note for note in of_lmdb[0].notes)


def test_named_low_quality_lmdbs_are_used_in_training_and_validation(folders: Path) -> None:
    lq = shutil.move(folders / "lmdb" / "LRx4.lmdb", folders / "elsewhere.lmdb")
    (folders / "LRx4").rename(folders / "other")
    made, _ = load(folders / "lmdb" / "HR.lmdb", val="photographs")
    given, _ = load(folders / "lmdb" / "HR.lmdb", train_lq=str(lq), val="photographs")
    _, val = load(Path("photographs"), val=str(folders / "lmdb" / "HR.lmdb"), val_lq=str(lq))
    assert (made.lq, given.lq is None, val.lq is None) == (None, False, False)
    by_folder, _ = load(folders / "HR", train_lq=str(folders / "other"), val="photographs")
    assert given.fingerprint == by_folder.fingerprint != made.fingerprint


def test_an_lmdb_is_packed_to_the_store_of_its_folder(folders: Path) -> None:
    stores = []
    for place in (folders / "HR", folders / "lmdb" / "HR.lmdb"):
        plan = plan_pack([place], scale=4, name="set")
        stores.append(pack(plan, folders / f"{len(stores)}.arrow", jobs=2).store)
        assert not plan.notes
    assert stores[0].path.read_bytes() == stores[1].path.read_bytes()


def test_an_lmdb_is_a_test_set(folders: Path) -> None:
    (place,) = find_sets([folders / "lmdb" / "HR.lmdb"], [], [], 4)
    (of_folder,) = find_sets([folders / "HR"], [], [], 4)
    found, expected = open_set(place, 4), open_set(of_folder, 4)
    assert (found.pairs.names, found.pairs.hr.digests) == (expected.pairs.names, expected.pairs.hr.digests)
    assert found.pairs.lq.digests == expected.pairs.lq.digests


def cut_short(place: Path) -> None:
    content = (place / "data.mdb").read_bytes()
    (place / "data.mdb").write_bytes(content[: len(content) // 2])


def no_list(place: Path) -> None:
    (place / "meta_info.txt").unlink()


def no_data(place: Path) -> None:
    (place / "data.mdb").unlink()


def other_data(place: Path) -> None:
    (place / "data.mdb").write_bytes(b"something else" * 1000)


def listed(old: str, new: str) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        text = (place / "meta_info.txt").read_text()
        assert old in text
        (place / "meta_info.txt").write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            no_list,
            r"HR\.lmdb: an LMDB has a file meta_info\.txt that lists its images, which is missing; write",
        ),
        (no_data, r"HR\.lmdb: an LMDB has a file data\.mdb, which is missing; copy the whole folder"),
        (cut_short, r"data\.mdb: has \d+ of \d+ bytes: it was cut short; copy it again"),
        (other_data, r"data\.mdb: this is no LMDB, or it is damaged \(.*\); copy it again"),
        (
            listed("03.png", "05.png"),
            r"05\.png: meta_info\.txt lists it, but data\.mdb has no key '05'; write",
        ),
        (
            listed("(64,68", "(68,64"),
            r"00\.png: the image is 68 x 64 px, but meta_info\.txt says 64 x 68 px; one",
        ),
        (
            listed("(64,68,3)", "3"),
            r"meta_info\.txt: line 1, '00\.png 3 1', is not `NAME\.png \(HEIGHT,WIDTH",
        ),
        (listed("00.png", "000/0.png"), r"line 1, '000/0\.png .*', names a sub-folder, as lists of video frames do;"),
        (listed("01.png", "00.png"), r"line 2, '00\.png .*', names an image twice; list each image once"),
    ],
)
def test_a_damaged_lmdb_is_one_sentence(folders: Path, damage: Callable[[Path], None], message: str) -> None:
    place = folders / "lmdb" / "HR.lmdb"
    shutil.rmtree(folders / "lmdb" / "LRx4.lmdb")
    damage(place)
    with pytest.raises(SourceError, match=message):
        load(place)
    with pytest.raises(ValueError, match=message):
        pack(plan_pack([place], scale=4), folders / "a.arrow", jobs=1)


def test_keys_that_are_not_listed_are_named(folders: Path) -> None:
    listed("01.png (68,68,3) 1\n", "")(folders / "lmdb" / "HR.lmdb")
    images, _ = load(folders / "lmdb" / "HR.lmdb", train_lq="made", val="photographs")
    assert images.names == ("00", "02", "03", "04")
    assert images.notes[0].endswith("HR.lmdb: 4 images; ignored: 1 unlisted key (01).")


def test_without_the_package_the_error_names_it(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *others: Any, **named: Any) -> Any:
        if name == "lmdb":
            raise ModuleNotFoundError(name)
        return original(name, *others, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SourceError, match=r"needs the package lmdb, which is not installed; .*: pip install lmdb$"):
        load(folders / "lmdb" / "HR.lmdb")
    assert len(load(folders / "HR")[0]) == 4


def test_threads_and_forked_processes_read_the_same_images(folders: Path) -> None:
    paths = 4 * list_images(folders / "lmdb" / "HR.lmdb")
    expected = [read_image(path) for path in paths]
    for pool in (ThreadPoolExecutor(4), ProcessPoolExecutor(2, get_context("fork"))):
        with pool:
            found = list(pool.map(read_image, paths))
        assert all(np.array_equal(one, other) for one, other in zip(expected, found, strict=True))


def test_a_damaged_page_is_an_error(folders: Path) -> None:
    place = folders / "lmdb" / "HR.lmdb"
    content = bytearray((place / "data.mdb").read_bytes())
    size = os.sysconf("SC_PAGE_SIZE")
    content[2 * size :] = bytes(len(content) - 2 * size)  # all pages but the two that describe the database
    (place / "data.mdb").write_bytes(content)
    with pytest.raises(ImageError, match=r"copy it again|write the LMDB again"):
        [read_image(path) for path in list_images(place)]
