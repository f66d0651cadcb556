"""Packing reports all problems at once, leaves no partial store, and resumes to the same bytes."""

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.data import packing
from study.data.bicubic import bicubic_downsample, to_uint8
from study.data.degradations import Jpeg, Noise
from study.data.packing import Packed, PackError, pack, plan_pack
from study.data.store import open_store

SIZES = {f"{number:02}": (48 + number, 60) for number in range(8)}


def packed(folders: list[Path], out: Path, **options: Any) -> Packed:
    return pack(plan_pack(folders, **({"scale": 4} | options)), out, jobs=2)


def leftovers(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith(out.name))


def test_low_quality_is_bicubic_of_hr_cropped_to_the_scale(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("HR", {"a": (50, 61)})
    store = packed([hr], tmp_path / "s.arrow").store
    image = np.asarray(Image.open(hr / "a.png"))
    assert np.array_equal(store.images[0], image)
    import torch

    cropped = torch.from_numpy(image[:48, :60].transpose(2, 0, 1)[None].copy()).double() / 255
    expected = to_uint8(bicubic_downsample(cropped, 4))[0].permute(1, 2, 0).numpy()
    assert np.abs(store.lq[0].astype(int) - expected.astype(int)).max() <= 1  # ties, in [0, 1] instead of levels
    assert (store.lq[0] == expected).mean() > 0.99


def test_test_sets_are_cropped_to_multiples_of_12(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("Set5/HR", dict.fromkeys(("baby", "bird", "butterfly", "head", "woman"), (50, 61)))
    store = packed([hr.parent], tmp_path / "s.arrow").store
    assert (store.description.name, store.description.multiple) == ("Set5", 12)
    assert set(store.images.shapes) == {(48, 60)}
    assert set(store.lq.shapes) == {(12, 15)}


def test_given_low_quality_images_are_used_unchanged(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("set/HR", {"a": (50, 61), "b": (48, 40)})
    lq = write_images("set/LRx4", {"ax4": (13, 16), "b": (12, 10)}, seed=9)  # a: as MATLAB rounds
    store = packed([hr.parent], tmp_path / "s.arrow").store
    assert store.description.degradation == {"kind": "given"}
    assert np.array_equal(store.lq[0], np.asarray(Image.open(lq / "ax4.png")))
    assert [row.values["lq_source"] for row in store.rows] == ["ax4.png", "b.png"]
    made = packed([hr.parent], tmp_path / "made.arrow", degradation=Noise(sigma=5)).store
    assert made.description.degradation == {"kind": "noise", "sigma": 5}
    assert made.lq.shapes == ((12, 15), (12, 10))


def test_noise_depends_on_seed_and_name_alone(write_images: Any, tmp_path: Path) -> None:
    few, more = write_images("few", {"b": (48, 48)}), write_images("more", {"b": (48, 48), "a": (48, 48)})
    noisy = {"scale": 1, "degradation": Noise(sigma=25)}
    one = packed([few], tmp_path / "1.arrow", **noisy).store
    two = packed([more], tmp_path / "2.arrow", **noisy).store
    other = packed([few], tmp_path / "3.arrow", seed=1, **noisy).store
    assert np.array_equal(one.lq[0], two.lq[1])
    assert not np.array_equal(one.lq[0], other.lq[0])
    assert not np.array_equal(one.lq[0], two.lq[0])


def test_a_second_pack_does_nothing(write_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hr, out = write_images("HR", SIZES), tmp_path / "out" / "s.arrow"
    first = packed([hr], out)
    assert (first.new, first.kept) == (8, 0)
    before = out.stat()
    monkeypatch.setattr(packing, "decode_image", lambda *_, **__: pytest.fail("decoded again"))
    second = packed([hr], out)
    assert (second.new, second.kept) == (0, 8)
    assert (out.stat().st_mtime_ns, out.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert leftovers(out) == ["s.arrow"]


def test_another_store_is_not_overwritten(write_images: Any, tmp_path: Path) -> None:
    hr, out = write_images("HR", SIZES), tmp_path / "s.arrow"
    checksum = packed([hr], out).store.checksum
    with pytest.raises(PackError, match=r"another store is there \(scale 4, not 2\); name another file as --output"):
        packed([hr], out, scale=2)
    Image.fromarray(np.zeros((48, 60, 3), np.uint8)).save(hr / "03.png")
    with pytest.raises(PackError, match="1 images have changed since it was packed, 03 first"):
        packed([hr], out)
    assert open_store(out).checksum == checksum


def test_a_stopped_pack_resumes_to_the_same_bytes(
    write_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr, whole, out = write_images("HR", SIZES), tmp_path / "whole.arrow", tmp_path / "s.arrow"
    packed([hr], whole)
    decoded: list[str] = []
    original = packing.decode_image
    monkeypatch.setattr(
        packing, "decode_image", lambda path, content, **how: decoded.append(path) or original(path, content, **how)
    )

    class Stopped(Exception):
        pass

    def stop_at(last: int) -> Any:
        def progress(done: int) -> None:
            if done == last:
                raise Stopped

        return progress

    for last in (4, 6):  # stopped twice, the second time while reusing images of the first
        with pytest.raises(Stopped):
            pack(plan_pack([hr], scale=4), out, jobs=1, progress=stop_at(last))
        assert not out.exists()
    decoded.clear()
    done = packed([hr], out)
    assert done.kept >= 5
    assert len(decoded) == done.new == 8 - done.kept
    assert out.read_bytes() == whole.read_bytes()
    assert leftovers(out) == ["s.arrow"]


def test_a_partial_store_of_other_options_is_not_reused(write_images: Any, tmp_path: Path) -> None:
    hr, out = write_images("HR", SIZES), tmp_path / "s.arrow"
    packed([hr], tmp_path / "other.arrow", degradation=Jpeg(quality=20))
    (tmp_path / "other.arrow").rename(tmp_path / "s.arrow.partial")
    done = packed([hr], out)
    assert (done.new, done.kept) == (8, 0)
    assert done.store.description.degradation == {"kind": "bicubic"}


@pytest.mark.parametrize("keep", [3, 700, 40_000])
def test_intact_rows_of_a_damaged_partial_store_are_kept(write_images: Any, tmp_path: Path, keep: int) -> None:
    hr, out, whole = write_images("HR", SIZES), tmp_path / "s.arrow", tmp_path / "whole.arrow"
    packed([hr], whole)
    (tmp_path / "s.arrow.partial").write_bytes(whole.read_bytes()[:keep] + b"\xff" * 500)
    packed([hr], out)
    assert out.read_bytes() == whole.read_bytes()


def test_a_killed_pack_resumes_to_the_same_bytes(write_images: Any, tmp_path: Path) -> None:
    """A real process and a real SIGKILL."""
    hr = write_images("HR", {f"{number:03}": (240, 320) for number in range(60)})
    whole, out = tmp_path / "whole.arrow", tmp_path / "s.arrow"
    packed([hr], whole)
    command = [sys.executable, "-m", "study.prepare", "pack", str(hr), "--output", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    partial = tmp_path / "s.arrow.partial"
    while not (partial.exists() and partial.stat().st_size > 2_000_000):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = packed([hr], out)
    assert done.kept > 0
    assert out.read_bytes() == whole.read_bytes()


def test_two_packs_of_one_store_at_once_are_refused(write_images: Any, tmp_path: Path) -> None:
    hr, out = write_images("HR", {"a": (48, 48)}), tmp_path / "s.arrow"
    with open(tmp_path / "s.arrow.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PackError, match="another process is packing this store"):
            packed([hr], out)
    packed([hr], out)
    assert leftovers(out) == ["s.arrow"]


def test_a_full_disk_loses_nothing(write_images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hr, out = write_images("HR", SIZES), tmp_path / "s.arrow"
    original, written = packing.record_batch, []

    def record_batch(*arguments: Any) -> Any:
        written.append(1)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "record_batch", record_batch)
        with pytest.raises(OSError, match="No space left"):
            packed([hr], out)
    assert not out.exists()
    assert packed([hr], out).kept == 4


# --- what cannot be packed -----------------------------------------------------------------------------------------


def report(folders: list[Path], **options: Any) -> str:
    out = folders[0].parent / "refused.arrow"
    with pytest.raises(PackError) as caught:
        packed(folders, out, **options)
    assert not out.exists()
    return str(caught.value)


def test_all_problems_are_in_one_report(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("HR", {"good": (48, 48), "0001": (48, 48), "0001x4": (48, 48), "tiny": (3, 48), "a..b": (48, 48)})
    (hr / "empty.png").touch()
    (hr / "text.jpg").write_text("no image")
    (hr / "truncated.png").write_bytes((hr / "good.png").read_bytes()[:900])
    message = report([hr])
    assert "0001x4.png: the same image name as" in message
    assert "tiny.png: 48 x 3 px, but both sides must have at least 4 px" in message
    assert "a..b.png': the name is empty or contains '..'" in message
    assert "empty.png: the file is empty (0 bytes)" in message
    assert "text.jpg: this is not an image" in message
    assert "truncated.png: the image is truncated or corrupt" in message
    assert "good" not in message
    assert len(message.splitlines()) == 7


def test_an_image_without_partner_is_checked_too(write_images: Any) -> None:
    hr = write_images("set/HR", {"a": (48, 48)})
    write_images("set/LRx4", {"a": (12, 12)})
    (hr / "empty.png").touch()
    message = report([hr.parent])
    assert "empty.png: no low-quality image of that name" in message
    assert "empty.png: the file is empty" in message


def test_images_prepared_beside_problems_are_kept(write_images: Any, tmp_path: Path) -> None:
    hr, out = write_images("HR", SIZES), tmp_path / "s.arrow"
    (hr / "empty.png").touch()
    with pytest.raises(PackError):
        packed([hr], out)
    (hr / "empty.png").unlink()
    assert packed([hr], out).kept == 8


def test_low_quality_that_does_not_match_is_named(write_images: Any, tmp_path: Path) -> None:
    hr = write_images("set/HR", {"a": (48, 48), "b": (48, 48), "c": (48, 48)})
    write_images("set/LRx4", {"a": (24, 24), "b": (12, 11), "d": (12, 12)})
    message = report([hr.parent])
    assert "a.png: 24 x 24 px is not a.png (48 x 48 px) at scale 4: it would fit scale 2; choose the scale" in message
    assert "b.png: 11 x 12 px is not b.png (48 x 48 px) at scale 4: no scale would fit" in message
    assert "c.png: no low-quality image of that name" in message
    assert "d.png: no HR image of that name" in message


def test_a_known_set_must_be_complete(write_images: Any) -> None:
    hr = write_images("Set5", {"baby": (48, 48), "bird": (48, 48)})
    assert "Set5 has 5 images, but 2 were found; complete it" in report([hr])
    assert plan_pack([hr], scale=4, name="custom").description.multiple == 1


def test_decoding_problems_are_reported_together_and_other_images_kept(write_images: Any, tmp_path: Path) -> None:
    hr, out = write_images("HR", SIZES), tmp_path / "s.arrow"
    for stem in ("02", "05"):
        content = (hr / f"{stem}.png").read_bytes()
        (hr / f"{stem}.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(PackError) as caught:
        packed([hr], out)
    assert all(f"{stem}.png: " in str(caught.value) for stem in ("02", "05"))
    assert not out.exists()
    for stem in ("02", "05"):
        (hr / f"{stem}.png").unlink()
    assert packed([hr], out).kept == 6


def test_low_quality_is_either_given_or_made(write_images: Any) -> None:
    hr, lq = write_images("a", {"a": (48, 48)}), write_images("b", {"a": (12, 12)})
    with pytest.raises(PackError, match="either given or made"):
        plan_pack([hr], scale=4, lq=[lq], degradation=Noise(sigma=5))
