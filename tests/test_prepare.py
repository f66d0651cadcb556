"""The command as a person runs it: what it prints, what it returns."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from study import prepare
from study.data.layouts import LayoutError
from study.data.packing import PackError
from study.data.store import StoreError, open_store


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for seed in range(5):
        pixels = np.random.default_rng(seed).integers(0, 256, (52, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{seed}.png")
    return place


def run(*arguments: object) -> tuple[int, str]:
    out = io.StringIO()
    code = prepare.main([str(argument) for argument in arguments], Console(file=out, width=200))
    return code, out.getvalue()


def test_pack_info_and_verify(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "photos.arrow"
    code, said = run("pack", photos, "--out", store, "--jobs", 2)
    assert code == 0
    opened = open_store(store)
    for expected in (
        "photos: 5 HR images; low-quality images made by bicubic, x4",
        "packed 5 images in",
        "5, sides 52 to 70 px",
        "0.02 megapixels, cropped to multiples of 1",
        opened.checksum,
        opened.image_set().fingerprint,
        f"train on it: --data {store}",
    ):
        assert expected in said
    assert "is up to date: nothing was done" in run("pack", photos, "--out", store)[1]

    code, said = run("info", store)
    assert code == 0
    assert opened.checksum in said
    assert run("verify", store) == (0, f"{store}: all 5 images are whole\n")


def test_verify_names_what_is_damaged(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "photos.arrow"
    run("pack", photos, "--out", store)
    content = store.read_bytes()
    at = content.index(np.ascontiguousarray(open_store(store).images[3].transpose(2, 0, 1)).tobytes())
    store.write_bytes(content[: at + 9] + bytes(5) + content[at + 14 :])
    code, said = run("verify", store)
    assert code == 1
    assert "the pixels of 3 (HR) have changed" in said
    assert "1 of 5 images are damaged" in said


def test_options_reach_the_store(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "noisy.arrow"
    options = ("--scale", 1, "--degradation", "noise:25", "--seed", 3, "--set", "mine")
    said = run("pack", photos, "--out", store, *options)[1]
    assert "x1, noise sigma 25" in said
    description = open_store(store).description
    assert (description.name, description.scale, description.seed) == ("mine", 1, 3)
    assert description.degradation == {"kind": "noise", "sigma": 25}


def test_what_cannot_be_packed_is_said(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.arrow"
    with pytest.raises(ValueError, match=r"must be one of bicubic, noise:SIGMA .* but got 'blur'"):
        run("pack", photos, "--out", store, "--degradation", "blur")
    with pytest.raises(LayoutError, match="there is no such folder"):
        run("pack", tmp_path / "nowhere", "--out", store)
    (photos / "bad.png").write_bytes(b"")
    with pytest.raises(PackError, match=r"bad\.png: the file is empty"):
        run("pack", photos, "--out", store)
    with pytest.raises(StoreError, match="there is no such store"):
        run("verify", store)
    assert not store.exists()


@pytest.mark.parametrize(
    "arguments", [["pack", "x", "--out", "y", "--jobs", "0"], ["pack", "x"], [], ["pack", "--scale", "5"]]
)
def test_a_wrong_command_line_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare.main(arguments, Console())
    assert "error:" in capsys.readouterr().err


def test_weights_are_collected_and_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(name: str, folder: Path, *, features_only: bool, advance: object) -> Path:
        if name == "vgg19":
            raise OSError("Name or service not known")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.pth").write_bytes(b"weights")
        return folder / f"{name}.pth"

    monkeypatch.setattr(prepare, "collect_backbone", collect)

    code, said = run("weights", "--out", tmp_path / "all", "--only", "alexnet", "vgg19")

    assert code == 1
    assert "alexnet.pth" in said
    assert hashlib.sha256(b"weights").hexdigest() in said
    assert "LPIPS (AlexNet), the judge of every study" in said
    assert f"use them: --weights {tmp_path / 'all'}" in said
    assert "missing: vgg19: OSError: Name or service not known; it is published at https://" in said
    assert "vgg19-dcbb9e9d.pth" in said
    assert run("weights", "--out", tmp_path / "all", "--only", "alexnet")[0] == 0
