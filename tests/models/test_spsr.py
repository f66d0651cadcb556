"""SPSR's gradient map and generator against plain transcriptions of their formulas."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.models import RRDBNet, SPSRGenerator
from study.models.spsr import gradient_map
from tests.training import plain_methods as plain

State = dict[str, Tensor]


def conv(state: State, name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def slope(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def rrdb(state: State, name: str, x: Tensor) -> Tensor:
    inner = x
    for block in (1, 2, 3):
        seen = [inner]
        for number in (1, 2, 3, 4):
            seen.append(slope(conv(state, f"{name}.rdb{block}.conv{number}", torch.cat(seen, dim=1))))
        inner = inner + 0.2 * conv(state, f"{name}.rdb{block}.conv5", torch.cat(seen, dim=1))
    return x + 0.2 * inner


def enlarge(state: State, name: str, x: Tensor, steps: tuple[int, ...]) -> Tensor:
    for step, factor in enumerate(steps, start=1):
        x = x.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
        x = slope(conv(state, f"{name}.conv_up{step}", x))
    return conv(state, f"{name}.conv_last", slope(conv(state, f"{name}.conv_hr", x)))


def transcription(state: State, y: Tensor, blocks: int, steps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    x = first = conv(state, "trunk.conv_first", y)
    kept = []
    for block in range(blocks):
        x = rrdb(state, f"trunk.body.{block}", x)
        if (block + 1) % (blocks // 4) == 0 and len(kept) < 4:
            kept.append(x)
    u = enlarge(state, "trunk", first + conv(state, "trunk.conv_body", x), steps)
    z = b = conv(state, "branch.conv_first", plain.gradients(y, 1))
    for k in range(4):
        z = conv(state, f"branch.merges.{k}", rrdb(state, f"branch.blocks.{k}", torch.cat((z, kept[k]), dim=1)))
    q = enlarge(state, "branch", b + conv(state, "branch.conv_body", z), steps)
    fused = conv(state, "fusion.merge", rrdb(state, "fusion.block", torch.cat((q, u), dim=1)))
    return conv(state, "fusion.conv_last", slope(conv(state, "fusion.conv_hr", fused))), conv(
        state, "branch.conv_image", q
    )


@pytest.mark.parametrize(("scale", "steps"), [(2, (2,)), (3, (3,)), (4, (2, 2))])
@pytest.mark.parametrize("blocks", [4, 9])
def test_image_and_gradient_map_equal_a_plain_transcription(scale: int, steps: tuple[int, ...], blocks: int) -> None:
    torch.manual_seed(blocks)
    network = SPSRGenerator(5, blocks, 3, scale).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    lq = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    image, branch = network(lq, with_branch=True)
    expected = transcription(network.state_dict(), lq, blocks, steps)
    assert image.shape == branch.shape == (2, 3, 6 * scale, 7 * scale)
    torch.testing.assert_close((image, branch), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(network(lq), image)


@pytest.mark.parametrize(("blocks", "taps"), [(23, (5, 10, 15, 20)), (4, (1, 2, 3, 4)), (8, (2, 4, 6, 8))])
def test_taps_are_a_quarter_of_the_blocks_apart(blocks: int, taps: tuple[int, ...]) -> None:
    assert SPSRGenerator(4, blocks, 2).taps == taps


def test_parameter_count_is_the_published_one() -> None:
    assert sum(parameter.numel() for parameter in SPSRGenerator().parameters()) == 24_796_230


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_trunk_starts_as_the_fidelity_generator(scale: int) -> None:
    fidelity = RRDBNet(6, 4, 3, scale, unshuffle=False)
    network = SPSRGenerator(6, 4, 3, scale)
    assert network.load_fidelity(fidelity.state_dict()) == ["conv_last.weight", "conv_last.bias"]
    own = network.trunk.state_dict()
    taken = {name: tensor for name, tensor in fidelity.state_dict().items() if not name.startswith("conv_last")}
    assert all(torch.equal(own[name], tensor) for name, tensor in taken.items())


def test_a_fidelity_generator_that_does_not_fit_is_refused() -> None:
    network = SPSRGenerator(6, 4, 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match="the fidelity generator's state does not fit"):
        network.load_fidelity(RRDBNet(6, 5, 3).state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("settings", [{"blocks": 3}, {"scale": 1}, {"scale": 8}])
def test_unsupported_scales_and_depths_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="scale of 2, 3 or 4 and at least 4 blocks"):
        SPSRGenerator(**settings)


@pytest.mark.parametrize("padding", [1, 2, 3])
def test_gradient_map_is_the_root_of_two_squared_convolutions(padding: int) -> None:
    images = torch.rand(2, 3, 7, 9, dtype=torch.float64)
    found = gradient_map(images, padding=padding)
    assert found.shape == (2, 3, 7 + 2 * padding - 2, 9 + 2 * padding - 2)
    torch.testing.assert_close(found, plain.gradients(images, padding), rtol=1e-12, atol=1e-14)


def test_gradient_map_of_a_ramp_is_constant_inside() -> None:
    ramp = 0.05 * torch.arange(8.0).view(1, 1, 1, 8).expand(1, 3, 6, 8)
    inside = gradient_map(ramp)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, (0.1**2 + 1e-6) ** 0.5))


def test_gradient_map_has_a_finite_slope_where_flat() -> None:
    images = torch.zeros(1, 3, 6, 6, requires_grad=True)
    gradient_map(images).sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()


def test_gradient_map_refuses_a_padding_below_one() -> None:
    with pytest.raises(ValueError, match="padding must be at least 1, but got padding=0"):
        gradient_map(torch.zeros(1, 3, 6, 6), padding=0)
