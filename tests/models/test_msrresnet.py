"""MSRResNet: published parameter counts, names, and a plain transcription of the formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.models import MSRResNet

State = dict[str, Tensor]


def conv(state: State, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def slope(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def shuffle(x: Tensor, r: int) -> Tensor:
    n, c, h, w = x.shape
    x = x.reshape(n, c // r**2, r, r, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // r**2, h * r, w * r)


def bilinear_weights(size: int, r: int) -> Tensor:
    """Return the matrix (size * r, size) of half-pixel-centred linear interpolation with repeated edges."""
    matrix = torch.zeros(size * r, size, dtype=torch.float64)
    for i in range(size * r):
        position = min(max((i + 0.5) / r - 0.5, 0.0), size - 1.0)
        left = min(int(position), size - 2)
        matrix[i, left] += 1 - (position - left)
        matrix[i, left + 1] += position - left
    return matrix


def bilinear(x: Tensor, r: int) -> Tensor:
    return bilinear_weights(x.shape[2], r) @ x @ bilinear_weights(x.shape[3], r).T


def transcription(state: State, lq: Tensor, *, scale: int, blocks: int) -> Tensor:
    x = slope(conv(state, "conv_first", lq))
    for i in range(blocks):
        x = x + conv(state, f"body.{i}.conv2", conv(state, f"body.{i}.conv1", x).clamp(min=0))
    if scale == 4:
        x = slope(shuffle(conv(state, "upconv1", x), 2))
        x = slope(shuffle(conv(state, "upconv2", x), 2))
    elif scale > 1:
        x = slope(shuffle(conv(state, "upconv1", x), scale))
    x = conv(state, "conv_last", slope(conv(state, "conv_hr", x)))
    return x + bilinear(lq[:, :3], scale) if lq.shape[1] >= 3 else x


def with_random_weights(network: nn.Module) -> nn.Module:
    network = network.double()
    for tensor in network.state_dict().values():
        tensor.copy_(0.2 * torch.randn(tensor.shape, dtype=torch.float64))
    return network


@pytest.mark.parametrize(("scale", "count"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_parameter_count_is_the_published_one(scale: int, count: int) -> None:
    network = MSRResNet(scale=scale)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("in_channels", [1, 3, 5])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_output_and_gradient_equal_a_plain_transcription(scale: int, in_channels: int) -> None:
    torch.manual_seed(scale)
    network = with_random_weights(MSRResNet(6, 2, scale, in_channels))
    lq = torch.rand(2, in_channels, 5, 7, dtype=torch.float64, requires_grad=True)
    ours = network(lq)
    theirs = transcription(network.state_dict(), lq, scale=scale, blocks=2)
    assert ours.shape == (2, 3, scale * 5, scale * 7)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    weight = torch.rand_like(ours)
    (our_gradient,) = torch.autograd.grad((ours * weight).sum(), lq)
    (their_gradient,) = torch.autograd.grad((theirs * weight).sum(), lq)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("scale", "upconvs"), [(2, ["upconv1"]), (3, ["upconv1"]), (4, ["upconv1", "upconv2"])])
def test_names_are_basicsr_names(scale: int, upconvs: list[str]) -> None:
    inside = [f"body.{i}.conv{k}" for i in range(2) for k in (1, 2)]
    convs = ["conv_first", *inside, *upconvs, "conv_hr", "conv_last"]
    names = {f"{name}.{kind}" for name in convs for kind in ("weight", "bias")}
    assert set(MSRResNet(4, 2, scale).state_dict()) == names


def test_every_convolution_starts_small() -> None:
    torch.manual_seed(0)
    for name, module in MSRResNet(64, 1, 4).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * 9
            assert module.weight.std().item() == pytest.approx(0.1 * (2 / fan_in) ** 0.5, rel=0.1), name
            assert not module.bias.any(), name


@pytest.mark.parametrize("scale", [0, 5, 8])
def test_unknown_scale_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=rf"1, 2, 3 or 4, but got scale={scale}"):
        MSRResNet(scale=scale)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"MSRResNet needs images of shape \(N, 3, H, W\), but got \(3, 8, 8\)"):
        MSRResNet(4, 1)(torch.rand(3, 8, 8))
