"""EDSR: published parameter counts, released names, and a plain transcription of the formulas."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.models import EDSR, load_weights, save_weights

MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).double()[:, None, None]


def conv(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def transcription(state: dict[str, Tensor], lq: Tensor, *, scale: int, blocks: int, residual_scale: float) -> Tensor:
    first = x = conv(state, "conv_first", 255 * (lq - MEAN))
    for i in range(blocks):
        x = x + residual_scale * conv(state, f"body.{i}.conv2", conv(state, f"body.{i}.conv1", x).clamp(min=0))
    x = first + conv(state, "conv_after_body", x)
    for step, factor in enumerate({2: (2,), 3: (3,), 4: (2, 2)}[scale]):
        n, _, h, w = x.shape
        x = conv(state, f"upsample.{2 * step}", x).reshape(n, -1, factor, factor, h, w)
        x = x.permute(0, 1, 4, 2, 5, 3).reshape(n, -1, h * factor, w * factor)
    return conv(state, "conv_last", x) / 255 + MEAN


@pytest.mark.parametrize(
    ("scale", "baseline", "large"),
    [(2, 1_369_859, 40_729_603), (3, 1_554_499, 43_680_003), (4, 1_517_571, 43_089_923)],
)
def test_parameter_counts_are_the_published_ones(scale: int, baseline: int, large: int) -> None:
    with torch.device("meta"):
        networks = EDSR(scale=scale), EDSR(256, 32, scale, residual_scale=0.1)
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [baseline, large]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_output_and_gradient_equal_a_plain_transcription(scale: int) -> None:
    torch.manual_seed(scale)
    network = EDSR(6, 2, scale, residual_scale=0.1).double()
    lq = torch.rand(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    ours = network(lq)
    theirs = transcription(network.state_dict(), lq, scale=scale, blocks=2, residual_scale=0.1)
    assert ours.shape == (2, 3, 5 * scale, 7 * scale)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(image.square().sum(), lq, retain_graph=True)[0] for image in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


def test_released_names_in_and_out(tmp_path: Path) -> None:
    network, other = EDSR(6, 2), EDSR(6, 2)
    names = {"conv_first", "body.0.conv1", "body.0.conv2", "body.1.conv1", "body.1.conv2", "conv_after_body"}
    names |= {"upsample.0", "upsample.2", "conv_last"}
    assert set(network.state_dict()) == {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    torch.save({"params": network.state_dict()}, tmp_path / "released.pth")
    load_weights(other, tmp_path / "released.pth")
    save_weights(other, tmp_path / "ours.pth", layout="basicsr")
    written = torch.load(tmp_path / "ours.pth", weights_only=True)["params"]
    assert list(written) == list(network.state_dict())
    lq = torch.rand(1, 3, 6, 6)
    assert torch.equal(other(lq), network(lq))


def test_another_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 2, 3 or 4, but got scale=1"):
        EDSR(scale=1)
