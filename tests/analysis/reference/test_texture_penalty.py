"""Shares that losses penalise, against their values for auto-encoders in closed form."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from analysis.reference.artifact_networks import OpenedAutoencoder, capacity_of, find_autoencoders
from analysis.reference.perturbations import KINDS, perturb
from analysis.reference.texture_penalty import (
    autoencoder_representation,
    main,
    measure,
    penalties,
    plain_representation,
    summarise,
)
from study.data import bicubic_downsample
from study.data.bicubic import downsampling_matrix
from study.losses import aesop_loss, bottleneck_loss, consistency_loss, pixel_loss
from study.models import Autoencoder, save_weights

ROOT = Path(__file__).resolve().parents[3]
SCALE = 4
AMPLITUDE = 4 / 255
SMALL = {"features": 4, "blocks": 1, "growth": 2, "decoder": "msrresnet"}


class Rearranged(nn.Module):
    """The identity through a bottleneck of 48 channels: pixels are moved to channels and back."""

    bottleneck_channels, factor = 48, 4

    def encode(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, self.factor)

    def decode(self, bottleneck: Tensor) -> Tensor:
        return F.pixel_shuffle(bottleneck, self.factor)


class LeastSquares(nn.Module):
    """The projection onto what downsampling keeps: the smallest image that downsamples to the same."""

    bottleneck_channels, factor = 3, 4

    def encode(self, images: Tensor) -> Tensor:
        return bicubic_downsample(images, self.factor)

    def decode(self, bottleneck: Tensor) -> Tensor:
        height, width = (self.factor * side for side in bottleneck.shape[-2:])
        rows, columns = (torch.from_numpy(downsampling_matrix(side, self.factor)) for side in (height, width))
        tall = torch.linalg.lstsq(rows.expand(1, 3, -1, -1), bottleneck, driver="gelsd").solution
        return torch.linalg.lstsq(columns.expand(1, 3, -1, -1), tall.mT.contiguous(), driver="gelsd").solution.mT


def photograph(height: int = 48, width: int = 60) -> np.ndarray:
    """Patches of several sizes: contents at low and at high frequencies, shape (height, width, 3), uint8."""
    random = np.random.default_rng(0)
    layers = [random.integers(0, 64, (height // size, width // size, 3)) for size in (1, 2, 6, 12)]
    return sum(np.kron(layer, np.ones((height // len(layer),) * 2 + (1,), int)) for layer in layers).astype(np.uint8)


def as_tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).double() / 255


@pytest.fixture(scope="module")
def hr() -> Tensor:
    return as_tensor(photograph())


@pytest.fixture(scope="module")
def changes(hr: Tensor) -> dict[str, Tensor]:
    return perturb(hr, SCALE, AMPLITUDE, np.random.default_rng(1)).by_kind


def shares(network: nn.Module, hr: Tensor, changes: dict[str, Tensor]) -> dict[tuple[str, str], float]:
    rows = penalties(autoencoder_representation(network), hr, changes)
    return {(row["loss"], row["kind"]): row["share"] for row in rows}


def test_all_changes_cost_the_same_pixel_l1(hr: Tensor, changes: dict[str, Tensor]) -> None:
    assert list(changes) == list(KINDS)
    for change in changes.values():
        assert float(pixel_loss(hr + change, hr)) == pytest.approx(AMPLITUDE, rel=1e-12)


def test_downsampling_keeps_low_frequencies_alone(hr: Tensor, changes: dict[str, Tensor]) -> None:
    seen = {kind: float(bicubic_downsample(change, SCALE).abs().mean()) / AMPLITUDE for kind, change in changes.items()}
    assert seen["low"] > 0.7
    for kind in ("high", "stronger", "weaker"):
        assert seen[kind] < 1e-12


def test_the_texture_is_what_downsampling_removes(hr: Tensor) -> None:
    """By least squares instead of the pseudo-inverse."""
    ideal = LeastSquares()
    texture = hr - ideal.decode(ideal.encode(hr))
    found = perturb(hr, SCALE, AMPLITUDE, np.random.default_rng(0))
    torch.testing.assert_close(found.by_kind["stronger"], found.texture_share * texture, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.by_kind["weaker"], -found.by_kind["stronger"], rtol=0, atol=0)
    assert found.texture_share == pytest.approx(AMPLITUDE / float(texture.abs().mean()))


def test_an_identity_of_48_channels_is_the_pixel_loss(hr: Tensor, changes: dict[str, Tensor]) -> None:
    found = shares(Rearranged(), hr, changes)
    assert {loss for loss, _ in found} == {"aesop", "bottleneck"}
    for (loss, _), share in found.items():
        assert share == (1 if loss == "aesop" else pytest.approx(1, rel=1e-12))


def identity() -> Autoencoder:
    """Of our own network, with the weights that make it one: pixels to 48 channels in its trunk, and back.

    The bottleneck has three channels more, which stay 0: the decoder enlarges the first three. A large bias takes leaky
    ReLUs to where they change nothing.
    """
    network = Autoencoder(bottleneck_channels=51, features=48, blocks=1, growth=2, decoder="msrresnet").double()
    state = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    decoder = ("conv_first", "upconv1", "upconv2", "conv_hr", "conv_last")
    for name in ("conv_first.0", "conv_first.1", "conv_last.0", *(f"decoder.{each}" for each in decoder)):
        _pass_on(state[f"{name}.weight"])
    # Each of the two RRDBs, with nothing to add, adds a fifth of what it is given (docs/methods/generators.md).
    state["conv_last.1.weight"][3:, :, 1, 1] = torch.eye(48, dtype=torch.float64) / 1.2**2
    state["decoder.conv_first.weight"].zero_()[:, 3:, 1, 1] = torch.eye(48)
    state["decoder.conv_first.bias"] += 8
    state["decoder.conv_last.bias"] -= 8
    network.load_state_dict(state)
    return network


def _pass_on(weight: Tensor) -> None:
    outputs, inputs = weight.shape[:2]
    weight[:, :, 1, 1] = torch.eye(outputs, inputs)


def test_our_own_network_can_be_the_identity(hr: Tensor, changes: dict[str, Tensor]) -> None:
    network = identity()
    torch.testing.assert_close(network(hr), hr, rtol=0, atol=1e-12)
    for kind in KINDS:
        assert shares(network, hr, changes)["aesop", kind] == pytest.approx(1, abs=1e-10)


def test_an_ideal_lr_bottleneck_keeps_no_texture(hr: Tensor, changes: dict[str, Tensor]) -> None:
    through = shares(LeastSquares(), hr, changes)
    plain = {(row["loss"], row["kind"]): row for row in penalties(plain_representation(SCALE), hr, changes)}
    for kind in ("high", "stronger", "weaker"):
        assert through["aesop", kind] < 1e-10
        assert plain["ideal", kind]["share"] < 1e-10
    assert plain["ideal", "low"]["share"] == pytest.approx(through["aesop", "low"], rel=1e-9)
    assert plain["consistency", "low"]["share"] == pytest.approx(through["bottleneck", "low"], rel=1e-12)
    for kind in KINDS:
        assert plain["pixel", kind]["share"] == 1
        assert plain["pixel", kind]["unchanged"] == pytest.approx(1, rel=1e-12)
        assert math.isnan(plain["consistency", kind]["unchanged"])
    # Bicubic upsampling stays almost within what downsampling keeps.
    assert 0.9 < plain["ideal", "low"]["unchanged"] <= 1 + 1e-12
    assert abs(plain["ideal", "high"]["unchanged"]) < 1e-10


def test_shares_are_the_losses_themselves(hr: Tensor, changes: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    network = Autoencoder(bottleneck_channels=12, **SMALL).double()
    found = shares(network, hr, changes)
    lq = bicubic_downsample(hr, SCALE)
    plain = {(row["loss"], row["kind"]): row["share"] for row in penalties(plain_representation(SCALE), hr, changes)}
    for kind, change in changes.items():
        image = hr + change
        with torch.no_grad():
            aesop, bottleneck = aesop_loss(network, image, hr), bottleneck_loss(network, image, hr)
        assert found["aesop", kind] * AMPLITUDE == pytest.approx(float(aesop), rel=1e-9)
        assert found["bottleneck", kind] * AMPLITUDE == pytest.approx(float(bottleneck), rel=1e-9)
        consistency = consistency_loss(image, lq, SCALE, criterion="l1", border=0)
        assert plain["consistency", kind] * AMPLITUDE == pytest.approx(float(consistency), abs=1e-15)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"bottleneck_channels": 3}, 3),
        # One channel of stem, of which 4 x 4 pixels go through 8 features, and a skip around these at both ends.
        ({"bottleneck_channels": 48, "bicubic_skip": True}, 11),
        ({"bottleneck_channels": 48}, 8),
        ({"bottleneck_channels": 48, "decoder": "rrdb"}, 8),
        ({"bottleneck_channels": 12, "factor": 2}, 8),
        ({"bottleneck_channels": 3, "encoder": "bicubic"}, 3),
    ],
)
def test_the_capacity_is_the_rank_of_the_jacobian(settings: dict, expected: int) -> None:
    torch.manual_seed(0)
    defaults = {"features": 8, "blocks": 1, "growth": 2, "decoder": "msrresnet"}
    network = Autoencoder(**(defaults | settings)).double().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        if name.endswith("weight"):  # initial values are too small for a rank to show
            tensor.normal_(std=1 / math.sqrt(tensor[0].numel()))
    side = 2 * network.factor
    jacobian = torch.autograd.functional.jacobian(network, torch.rand(1, 3, side, side, dtype=torch.float64))
    rank = int(torch.linalg.matrix_rank(jacobian.reshape(3 * side**2, -1), rtol=1e-9))
    assert capacity_of(network) == expected
    assert rank == 4 * expected


def test_intervals_are_students() -> None:
    """Of three photographs: mean 0.2, deviation 0.1, and t = 4.303 for two degrees of freedom."""
    rows = [
        {"loss": "pixel", "autoencoder": "", "kind": "high", "image": name, "share": share, "unchanged": 0, "psnr_y": 0}
        for name, share in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    ]
    table = summarise(pd.DataFrame(rows), [])
    assert table["share"].tolist() == pytest.approx([0.2])
    assert float(table["high"].iloc[0] - 0.2) == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=0.05)
    alone = summarise(pd.DataFrame(rows[:1]), [])
    assert math.isnan(alone["low"].iloc[0])


def test_the_noise_of_a_photograph_is_independent_of_others() -> None:
    autoencoders = [OpenedAutoencoder(name="rearranged", network=Rearranged(), capacity=48)]
    pair = [("a", photograph()), ("b", photograph()[::-1].copy())]
    both = measure(autoencoders, pair, scale=SCALE, amplitude=4)
    alone = measure(autoencoders, pair[1:], scale=SCALE, amplitude=4)
    pd.testing.assert_frame_equal(both[both["image"] == "b"].reset_index(drop=True), alone)
    other = measure(autoencoders, pair[1:], scale=SCALE, amplitude=4, seed=1)
    assert not alone["share"].equals(other["share"])


def artifacts(place: Path) -> Path:
    """Auto-encoders with random weights, as a study leaves them, beside another stage's artifact."""
    for channels in (12, 3):
        part = SMALL | {"bottleneck_channels": channels, "factor": 4, "encoder": "learned", "bicubic_skip": True}
        torch.manual_seed(channels)
        key = f"autoencoder-{99 - channels}"
        (place / key).mkdir(parents=True)
        save_weights(Autoencoder(**part), place / key / "weights.safetensors", layout="plain")
        (place / key / "config.json").write_text(json.dumps({"key": key, "part": part | {"scale_head": False}}))
    (place / "fidelity-0").mkdir()
    return place


def test_the_command_finds_auto_encoders_and_writes_figure_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = artifacts(tmp_path / "artifacts")
    (tmp_path / "HR").mkdir()
    for name, side in (("a", 60), ("b", 72), ("c", 96)):
        Image.fromarray(photograph(side, side + 12)).save(tmp_path / "HR" / f"{name}.png")
    out = tmp_path / "texture.png"
    options = ["--hr", str(tmp_path / "HR"), "--max-images", "2", "--side", "48", "--output", str(out)]
    assert main([str(place), *options], Console(width=80)) == 0
    table, values = pd.read_csv(out.with_suffix(".csv")), pd.read_parquet(out.with_suffix(".parquet"))
    assert values["image"].unique().tolist() == [str(tmp_path / "HR" / name) for name in "ab"]
    assert len(values) == 2 * len(KINDS) * (3 + 2 * 2)
    found = table[(table["loss"] == "aesop") & (table["kind"] == "high")]
    assert found["channels"].tolist() == [3, 12]
    assert found["compression"].tolist() == [1 / 16, 1 / 4]
    assert found["autoencoder"].tolist() == ["autoencoder-96", "autoencoder-87"]
    with Image.open(out) as figure:
        assert min(figure.size) > 800
    printed = capsys.readouterr().out
    assert "2 photographs, unclamped" in printed
    assert "downsampling keeps at most" in printed
    file = place / "autoencoder-96" / "weights.safetensors"
    assert [each.name for each in find_autoencoders([file, file.parent])] == ["autoencoder-96"]


def test_unusable_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds neither an auto-encoder nor folders such as autoencoder-"):
        find_autoencoders([tmp_path])
    flat = [("sky", np.full((48, 48, 3), 128, np.uint8))]
    with pytest.raises(ValueError, match="sky: downsampling by 4 removes nothing from this photograph"):
        measure([], flat, scale=SCALE, amplitude=4)
    broken = OpenedAutoencoder(name="broken", network=Rearranged(), capacity=48)
    broken.network.decode = lambda bottleneck: bottleneck.new_full((1, 3, 48, 60), math.nan)
    with pytest.raises(ValueError, match="broken gives a value that is not finite for a;"):
        measure([broken], [("a", photograph())], scale=SCALE, amplitude=4)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--output", "figure.tiff"], "--output must end in .png or .svg"),
        (["--amplitude", "0"], "--amplitude must be above 0"),
        (["--side", "50"], "--side must be a multiple of 12, at least 48"),
        (["--max-images", "0"], "--max-images must be at least 1"),
    ],
)
def test_bad_options_are_refused_by_name(options: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["artifacts", "--hr", "HR", *options], Console())
    assert problem in " ".join(capsys.readouterr().err.split())


def test_it_runs_as_a_module() -> None:
    command = [
        *(sys.executable, "-m", "analysis.reference.texture_penalty"),
        "nowhere.pth",
        "--hr",
        "nowhere",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 2
    assert "nowhere.pth: no such file of an auto-encoder" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
