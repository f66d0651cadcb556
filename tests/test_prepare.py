"""The command of study/prepare.py: its output and its exit codes."""

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
from study.data.store import open_store
from study.data.store_format import StoreError


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
    code, output = run("pack", photos, "--output", store, "--jobs", 2)
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
        assert expected in output
    assert "is up to date: nothing was done" in run("pack", photos, "--output", store)[1]

    code, output = run("info", store)
    assert code == 0
    assert opened.checksum in output
    assert run("verify", store) == (0, f"{store}: all 5 images are intact\n")


def test_verify_names_what_is_damaged(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "photos.arrow"
    run("pack", photos, "--output", store)
    content = store.read_bytes()
    at = content.index(np.ascontiguousarray(open_store(store).images[3].transpose(2, 0, 1)).tobytes())
    store.write_bytes(content[: at + 9] + bytes(5) + content[at + 14 :])
    code, output = run("verify", store)
    assert code == 1
    assert "the pixels of 3 (HR) have changed" in output
    assert "1 of 5 images are damaged" in output


def test_options_reach_the_store(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "noisy.arrow"
    options = ("--scale", 1, "--degradation", "noise:25", "--seed", 3, "--name", "mine")
    output = run("pack", photos, "--output", store, *options)[1]
    assert "x1, noise sigma 25" in output
    description = open_store(store).description
    assert (description.name, description.scale, description.seed) == ("mine", 1, 3)
    assert description.degradation == {"kind": "noise", "sigma": 25}


def test_problems_of_packing_are_raised(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.arrow"
    with pytest.raises(ValueError, match=r"must be one of bicubic, noise:SIGMA .* but got 'blur'"):
        run("pack", photos, "--output", store, "--degradation", "blur")
    with pytest.raises(LayoutError, match="there is no such folder"):
        run("pack", tmp_path / "nowhere", "--output", store)
    (photos / "bad.png").write_bytes(b"")
    with pytest.raises(PackError, match=r"bad\.png: the file is empty"):
        run("pack", photos, "--output", store)
    with pytest.raises(StoreError, match="there is no such store"):
        run("verify", store)
    assert not store.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "x", "--out", "y"], "--out is called --output now"),
        (["pack", "x", "--output", "y", "--set", "Set5"], "--set is called --name now"),
        (["weights", "--out", "y"], "--out is called --output now"),
        (["weights", "--output", "y", "--only", "alexnet"], "--only is called --networks now"),
    ],
)
def test_old_options_are_refused_with_the_new_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare.main(arguments, Console())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["pack", "x", "--output", "y", "--jobs", "0"], ["pack", "x"], [], ["pack", "--scale", "5"]]
)
def test_a_wrong_command_line_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare.main(arguments, Console())
    assert "error:" in capsys.readouterr().err


def test_weights_are_downloaded_and_missing_ones_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(name: str, folder: Path, *, features_only: bool, advance: object) -> Path:
        if name == "vgg19":
            raise OSError("Name or service not known")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.pth").write_bytes(b"weights")
        return folder / f"{name}.pth"

    monkeypatch.setattr(prepare, "collect_backbone", collect)

    code, output = run("weights", "--output", tmp_path / "all", "--networks", "alexnet", "vgg19")

    assert code == 1
    assert "alexnet.pth" in output
    assert hashlib.sha256(b"weights").hexdigest() in output
    assert "LPIPS (AlexNet), the perceptual objective of every study" in output
    assert f"use them: --weights {tmp_path / 'all'}" in output
    assert "missing: vgg19: OSError: Name or service not known; it is published at https://" in output
    assert "vgg19-dcbb9e9d.pth" in output
    assert run("weights", "--output", tmp_path / "all", "--networks", "alexnet")[0] == 0
