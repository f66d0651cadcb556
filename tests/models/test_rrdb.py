"""RRDBNet: published parameter counts, names, and a plain transcription of the formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.models import RRDBNet
from study.models.rrdb import RRDB

State = dict[str, Tensor]


def conv(state: State, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def slope(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def unshuffle(x: Tensor, r: int) -> Tensor:
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(n, c * r * r, h // r, w // r)


def nearest(x: Tensor, r: int) -> Tensor:
    return x.repeat_interleave(r, dim=2).repeat_interleave(r, dim=3)


def dense_block(state: State, name: str, x: Tensor) -> Tensor:
    a = slope(conv(state, f"{name}.conv1", x))
    b = slope(conv(state, f"{name}.conv2", torch.cat([x, a], 1)))
    c = slope(conv(state, f"{name}.conv3", torch.cat([x, a, b], 1)))
    d = slope(conv(state, f"{name}.conv4", torch.cat([x, a, b, c], 1)))
    return x + 0.2 * conv(state, f"{name}.conv5", torch.cat([x, a, b, c, d], 1))


def transcription(state: State, lq: Tensor, *, scale: int, blocks: int) -> Tensor:
    first = conv(state, "conv_first", unshuffle(lq, {1: 4, 2: 2}.get(scale, 1)))
    x = first
    for i in range(blocks):
        y = dense_block(state, f"body.{i}.rdb1", x)
        y = dense_block(state, f"body.{i}.rdb2", y)
        y = dense_block(state, f"body.{i}.rdb3", y)
        x = x + 0.2 * y
    x = first + conv(state, "conv_body", x)
    if scale == 3:
        x = slope(conv(state, "conv_up1", nearest(x, 3)))
    else:
        x = slope(conv(state, "conv_up1", nearest(x, 2)))
        x = slope(conv(state, "conv_up2", nearest(x, 2)))
    return conv(state, "conv_last", slope(conv(state, "conv_hr", x)))


def with_random_weights(network: torch.nn.Module) -> torch.nn.Module:
    """Draw weights far from the small start, so that errors in residual branches are visible."""
    network = network.double()
    for tensor in network.state_dict().values():
        tensor.copy_(0.2 * torch.randn(tensor.shape, dtype=torch.float64))
    return network


@pytest.mark.parametrize(("scale", "count"), [(4, 16_697_987), (2, 16_703_171)])
def test_parameter_count_is_the_published_one(scale: int, count: int) -> None:
    network = RRDBNet(scale=scale)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_one_block_has_the_published_parameter_count() -> None:
    assert sum(parameter.numel() for parameter in RRDB(64, 32).parameters()) == 719_424


@pytest.mark.parametrize("in_channels", [1, 3, 5])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_output_and_gradient_equal_a_plain_transcription(scale: int, in_channels: int) -> None:
    torch.manual_seed(scale)
    network = with_random_weights(RRDBNet(6, 2, 4, scale, in_channels))
    lq = torch.rand(2, in_channels, 8, 12, dtype=torch.float64, requires_grad=True)
    ours = network(lq)
    theirs = transcription(network.state_dict(), lq, scale=scale, blocks=2)
    assert ours.shape == (2, 3, scale * 8, scale * 12)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    weight = torch.rand_like(ours)
    (our_gradient,) = torch.autograd.grad((ours * weight).sum(), lq)
    (their_gradient,) = torch.autograd.grad((theirs * weight).sum(), lq)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-9, atol=1e-9)


def test_names_are_basicsr_names() -> None:
    inside = [f"body.{i}.rdb{j}.conv{k}" for i in range(2) for j in (1, 2, 3) for k in (1, 2, 3, 4, 5)]
    outside = ["conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    names = {f"{name}.{kind}" for name in inside + outside for kind in ("weight", "bias")}
    assert set(RRDBNet(4, 2, 2).state_dict()) == names


def test_scale_three_has_one_upsampling_convolution() -> None:
    names = set(RRDBNet(4, 1, 2, scale=3).state_dict())
    assert "conv_up1.weight" in names
    assert "conv_up2.weight" not in names


def test_dense_blocks_start_small_and_other_convolutions_at_the_default() -> None:
    torch.manual_seed(0)
    network = RRDBNet(64, 1, 32)
    inner = network.get_submodule("body.0.rdb2.conv3")
    fan_in = (64 + 2 * 32) * 9
    assert inner.weight.std().item() == pytest.approx(0.1 * (2 / fan_in) ** 0.5, rel=0.03)
    assert not inner.bias.any()
    bound = (64 * 9) ** -0.5  # PyTorch's default is uniform within 1 / sqrt(fan in)
    assert 0.98 * bound < network.conv_body.weight.abs().max() <= bound
    assert network.conv_body.bias.any()


@pytest.mark.parametrize(("scale", "multiple"), [(1, 4), (2, 2)])
def test_sides_that_cannot_be_unshuffled_are_refused(scale: int, multiple: int) -> None:
    network = RRDBNet(4, 1, 2, scale)
    with pytest.raises(ValueError, match=rf"multiples of {multiple}, but got 8 x 7; crop or pad"):
        network(torch.rand(1, 3, 8, 7))


def test_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(N, 3, H, W\), but got \(1, 1, 8, 8\)"):
        RRDBNet(4, 1, 2)(torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize("scale", [0, 5, 8])
def test_unknown_scale_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=rf"1, 2, 3 or 4, but got scale={scale}"):
        RRDBNet(scale=scale)


@pytest.mark.parametrize(("scale", "convs"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_without_shrinking_the_body_runs_at_the_inputs_size(scale: int, convs: int) -> None:
    network = RRDBNet(4, 1, 2, scale, unshuffle=False)
    assert network.conv_first.in_channels == 3
    assert [f"conv_up{step}.weight" in network.state_dict() for step in (1, 2)] == [convs >= 1, convs == 2]
    assert network(torch.rand(1, 3, 5, 7)).shape == (1, 3, 5 * scale, 7 * scale)


def test_features_of_chosen_blocks_are_kept() -> None:
    network = RRDBNet(4, 3, 2)
    lq = torch.rand(1, 3, 5, 6)
    shallow, deep, kept = network.extract(lq, taps=(1, 3))
    assert list(kept) == [1, 3]
    torch.testing.assert_close(kept[1], network.body[0](shallow))
    torch.testing.assert_close(kept[3], deep)
    torch.testing.assert_close(network.reconstruct(shallow, deep), network(lq))
