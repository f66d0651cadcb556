"""The loss landscape: minimisation with a known result, and the command from a photograph to a figure."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from analysis.reference import loss_landscape
from analysis.reference.loss_landscape import descend, main, plain_losses
from study.config.recipes import aesop
from study.models import Critics, save_weights
from study.models.build import build_autoencoder


def photograph(place: Path, side: int = 60) -> Path:
    coarse = np.random.default_rng(0).integers(0, 256, (side // 6, side // 6 + 2, 3), np.uint8)
    Image.fromarray(coarse).resize((side + 12, side), Image.Resampling.BICUBIC).save(place / "photo.png")
    return place / "photo.png"


def artifacts(place: Path) -> list[Path]:
    """An auto-encoder and critics with random weights, laid out as a study leaves them."""
    config = aesop("tiny").autoencoder
    fields = ("bottleneck_channels", "factor", "features", "blocks", "growth", "encoder", "decoder", "bicubic_skip")
    parts = {
        "autoencoder-0": {name: getattr(config, name) for name in fields} | {"scale_head": False},
        "critics-0": {"levels": 9, "features": 2, "largest_features": 4},
    }
    networks = {"autoencoder-0": build_autoencoder(config), "critics-0": Critics(9, 2, 4)}
    for key, part in parts.items():
        (place / key).mkdir()
        (place / key / "config.json").write_text(json.dumps({"key": key, "part": part}))
        save_weights(networks[key], place / key / "weights.safetensors", layout="plain")
    return [place / key for key in parts]


def test_minimising_l2_restores_the_photograph() -> None:
    torch.manual_seed(0)
    hr, start = torch.rand(1, 3, 36, 36), torch.rand(1, 3, 36, 36)
    losses = plain_losses(hr, 4)
    image, value = descend(losses["pixel L2"], start, iterations=200)
    assert (image - hr).abs().max() < 0.01
    assert value < 1e-5
    assert descend(losses["pixel L2"], hr, iterations=3)[1] == 0


def test_consistency_never_corrects_what_shrinking_removes() -> None:
    torch.manual_seed(0)
    hr, start = torch.rand(1, 3, 36, 36), torch.rand(1, 3, 36, 36)
    image, value = descend(plain_losses(hr, 4)["shrunk by 4 (consistency)"], start, iterations=300)
    assert value < 1e-5
    assert (image - hr).square().mean() > 0.5 * (start - hr).square().mean()


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="not finite in iteration 1"):
        descend(lambda image: (image - image).sqrt().sum()[None], torch.zeros(1, 3, 4, 4), iterations=3)


def test_the_command_draws_every_loss_that_can_be_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_landscape, "find_backbone", lambda *_: None)
    given = [part for folder in artifacts(tmp_path) for part in ("--artifact", str(folder))]
    options = ["--side", "36", "--iterations", "2", "--output", str(tmp_path / "figure.png")]
    assert main([str(photograph(tmp_path)), *options, *given], Console()) == 0
    out = capsys.readouterr().out
    for name in (
        "pixel L1",
        "pixel L2",
        "SSIM",
        "0.84 MS-SSIM",
        "shrunk by 4",
        "AESOP, 3 channels, 1/4",
        "MDF, 8 critics",
    ):
        assert f"{name}" in out
    with Image.open(tmp_path / "figure.png") as figure:
        assert min(figure.size) > 1000  # rows of four panels, sharp enough for a paper


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--side", "50"], "--side must be a multiple of 12"),
        (["--side", "72"], "smaller than the window of 72 px; lower --side"),
        (["--output", "figure.tiff"], "--output must end in .png or .svg"),
        (
            ["--artifact", "nowhere"],
            "nowhere is no artifact: --artifact takes a folder such as runs/artifacts/critics-",
        ),
    ],
)
def test_bad_input_ends_in_a_sentence(
    options: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side = [] if "--side" in options else ["--side", "36"]
    with pytest.raises((ValueError, SystemExit)) as ended:
        main([str(photograph(tmp_path)), *side, *options], Console())
    assert problem in " ".join(f"{ended.value} {capsys.readouterr().err}".split())
