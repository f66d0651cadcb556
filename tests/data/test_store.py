"""A store returns the packed images without copying them, or names its damage."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data import make_pairs
from study.data.image_set import ImageSet
from study.data.layouts import find_layout
from study.data.packing import pack, plan_pack
from study.data.paired_files import name_problem, sizes_match
from study.data.sources import folder
from study.data.store import open_store, verify
from study.data.store_format import StoreError

SIZES = {"b": (50, 61), "a": (48, 36), "c_HR": (37, 64)}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    place = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(0)
    (place / "HR").mkdir()
    for stem, (height, width) in SIZES.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(place / "HR" / f"{stem}.png")
    pack(plan_pack([place / "HR"], scale=4, name="small"), place / "small.arrow", jobs=2)
    return place / "small.arrow"


@pytest.fixture
def reference(packed: Path) -> ImageSet:
    return folder(find_layout([packed.parent / "HR"], scale=4), scale=4)


def test_a_store_is_an_ordinary_arrow_file(packed: Path, reference: ImageSet) -> None:
    table = pa.ipc.open_file(packed).read_all()
    assert table.column("name").to_pylist() == ["a", "b", "c"]
    planes = np.frombuffer(table.column("hr")[1].as_py(), np.uint8).reshape(3, 50, 61)
    assert np.array_equal(planes.transpose(1, 2, 0), reference.images[1])
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert (metadata["set"], metadata["count"], metadata["scale"]) == ("small", "3", "4")
    assert json.loads(metadata["degradation"]) == {"kind": "bicubic"}


def test_images_and_fingerprint_are_those_of_the_folder(packed: Path, reference: ImageSet) -> None:
    images = open_store(packed).image_set()
    assert images.names == reference.names
    assert all(np.array_equal(one, other) for one, other in zip(images.images, reference.images, strict=True))
    assert images.images.shapes == reference.images.shapes
    assert images.images.digests == reference.images.digests
    assert images.images.crop_digests == reference.images.crop_digests
    assert images.fingerprint == reference.fingerprint


def test_pairs_are_those_of_the_folder(packed: Path, reference: ImageSet) -> None:
    stored, made = make_pairs(open_store(packed).image_set(), 4), make_pairs(reference, 4)
    for one, other in ((stored.hr, made.hr), (stored.lq, made.lq)):
        assert one.shapes == other.shapes
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def test_images_are_read_only_views_of_the_file(packed: Path) -> None:
    store = open_store(packed)
    image = store.images[0]
    assert not image.flags.writeable
    assert not image.flags.owndata
    assert image.transpose(2, 0, 1).flags.c_contiguous
    before = pa.total_allocated_bytes()
    assert sum(int(image.sum()) for image in store.images) > 0
    assert pa.total_allocated_bytes() == before


def test_the_checksum_covers_everything(packed: Path) -> None:
    """The chain by hand: description, then each row's values, pixels through their digests."""
    table = pa.ipc.open_file(packed).read_all()
    metadata = {key.decode(): value.decode() for key, value in sorted(table.schema.metadata.items())}
    chain = hashlib.sha256(json.dumps(metadata).encode()).hexdigest()
    for row in table.drop_columns(["chain", "hr", "lq"]).to_pylist():
        chain = hashlib.sha256(json.dumps([chain, *row.values()]).encode()).hexdigest()
    assert open_store(packed).checksum == chain == table.column("chain")[-1].as_py()


def test_verify_finds_every_image_intact(packed: Path) -> None:
    assert list(verify(packed)) == ["", "", ""]


# --- damage --------------------------------------------------------------------------------------------------------


def damaged(packed: Path, tmp_path: Path, change: Callable[[bytes], bytes]) -> Path:
    path = tmp_path / "damaged.arrow"
    path.write_bytes(change(packed.read_bytes()))
    return path


def test_a_changed_pixel_is_found_at_first_access(packed: Path, tmp_path: Path, reference: ImageSet) -> None:
    planes = np.ascontiguousarray(reference.images[1].transpose(2, 0, 1)).tobytes()

    def change(content: bytes) -> bytes:
        at = content.index(planes) + 1000
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    path = damaged(packed, tmp_path, change)
    store = open_store(path)
    assert np.array_equal(store.images[0], reference.images[0])
    for _ in range(2):  # not only at the first attempt
        with pytest.raises(StoreError, match=r"damaged\.arrow: .*the pixels of b \(HR\) have changed; copy it again"):
            store.images[1]
    assert [bool(problem) for problem in verify(path)] == [False, True, False]


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.9, 0.9999])
def test_a_store_cut_short_is_refused(packed: Path, tmp_path: Path, keep: float) -> None:
    path = damaged(packed, tmp_path, lambda content: content[: int(len(content) * keep)])
    with pytest.raises(StoreError, match=r"the store was cut short .*; its end is missing or damaged"):
        open_store(path)


def rewritten(packed: Path, tmp_path: Path, *, rows: slice = slice(None), **metadata: str) -> Path:
    """The same store with other metadata or fewer rows, otherwise a proper Arrow file."""
    table = pa.ipc.open_file(packed).read_all()
    schema = table.schema.with_metadata(
        {**table.schema.metadata, **{key.encode(): value for key, value in metadata.items()}}
    )
    path = tmp_path / "rewritten.arrow"
    with pa.ipc.new_file(path, schema) as writer:
        for batch in table.to_batches()[rows]:
            writer.write_batch(batch.cast(schema))
    return path


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"version": "2"}, r"written by a newer version of AESOP Study \(format 2, this one reads 1\); update"),
        ({"format": "photo-album"}, "this Arrow file is no image store"),
        ({"scale": "2"}, "the row of 'a' has changed"),
        ({"scale": "nine"}, "its description is incomplete"),
        ({"scale": "9"}, "scale 9 and multiple 1 cannot be"),
        ({"degradation": "[1]"}, "its description is incomplete"),
        ({"count": "4"}, "it has 3 images of 4"),
        ({"count": "03"}, "its description is not that of a store"),
        ({"more": "of it"}, "its description is not that of a store"),
    ],
)
def test_a_changed_description_is_refused(packed: Path, tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        open_store(rewritten(packed, tmp_path, **metadata))


@pytest.mark.parametrize("rows", [slice(2), slice(1, None), slice(None, None, -1)])
def test_lost_or_reordered_rows_are_refused(packed: Path, tmp_path: Path, rows: slice) -> None:
    with pytest.raises(StoreError, match=r"images of 3|has changed"):
        open_store(rewritten(packed, tmp_path, rows=rows))


def test_other_files_are_refused(tmp_path: Path, packed: Path) -> None:
    for content, message in ((b"", r"empty \(0 bytes\)"), (b"\x89PNG\r\n", "no image store"), (b"ARROW1", "cut short")):
        path = tmp_path / "file.arrow"
        path.write_bytes(content)
        with pytest.raises(StoreError, match=message):
            open_store(path)
    with pytest.raises(StoreError, match="there is no such store"):
        open_store(tmp_path / "nowhere.arrow")
    with pytest.raises(StoreError, match="there is no such store"):
        open_store(tmp_path)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_damage_gives_a_wrong_image(
    packed: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(packed.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(0, 1500), st.integers(-3000, -1)))
        match data.draw(st.sampled_from(["flip", "zero", "cut", "repeat"])):
            case "flip":
                content[at] ^= 1 << data.draw(st.integers(0, 7))
            case "zero":
                content[at : at + 8] = bytes(len(content[at : at + 8]))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 64))]
            case "repeat":
                content[at:at] = content[at : at + data.draw(st.integers(1, 64))]
    path = tmp_path_factory.mktemp("fuzz") / "store.arrow"
    path.write_bytes(content)
    original = open_store(packed)
    try:
        store = open_store(path)
        got = [*store.images, *store.lq]
    except StoreError:
        return
    assert all(np.array_equal(one, other) for one, other in zip(got, [*original.images, *original.lq], strict=True))


@pytest.mark.parametrize("name", ["..", "a/b", "a\\b", "a\x00b", "a\nb", "", ".", "a..b"])
def test_names_that_could_leave_their_folder_are_refused(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize("name", ["0001", "baby", "photo of 1.5 m", "été", "漢字", "-x"])
def test_ordinary_names_are_fine(name: str) -> None:
    assert name_problem(name) == ""


def test_low_quality_sides_may_be_rounded_down_or_up() -> None:
    assert sizes_match((50, 47), (12, 11), 4)
    assert sizes_match((50, 47), (13, 12), 4)
    assert not sizes_match((50, 47), (13, 11), 4)
    assert not sizes_match((50, 47), (25, 23), 4)
