"""SRResNet against its paper's description: layers counted by hand, batch norm by its formula."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.models import SRResNet


def transcription(state: dict[str, Tensor], lq: Tensor, factors: tuple[int, ...], blocks: int) -> Tensor:
    """Apply batch norm with running statistics."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(name: str, x: Tensor) -> Tensor:
        column = lambda part: state[f"{name}.{part}"][:, None, None]  # noqa: E731
        scaled = (x - column("running_mean")) / (column("running_var") + 1e-5).sqrt()
        return scaled * column("weight") + column("bias")

    def prelu(name: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, state[f"{name}.weight"] * x)

    first = x = prelu("first.1", conv("first.0", lq))
    for i in range(blocks):
        inner = f"body.{i}.layers"
        y = prelu(f"{inner}.2", norm(f"{inner}.1", conv(f"{inner}.0", x)))
        x = x + norm(f"{inner}.4", conv(f"{inner}.3", y))
    x = first + norm("after_body.1", conv("after_body.0", x))
    for step, factor in enumerate(factors):
        x = prelu(f"upsample.{3 * step + 2}", F.pixel_shuffle(conv(f"upsample.{3 * step}", x), factor))
    return conv("last", x)


@pytest.mark.parametrize(("scale", "factors"), [(2, (2,)), (3, (3,)), (4, (2, 2))])
def test_output_equals_a_plain_transcription(scale: int, factors: tuple[int, ...]) -> None:
    torch.manual_seed(scale)
    network = SRResNet(6, 2, scale).double()
    lq = torch.rand(2, 3, 9, 8, dtype=torch.float64)
    network.train()(lq)  # updates the running statistics
    output = network.eval()(lq)
    assert output.shape == (2, 3, 9 * scale, 8 * scale)
    torch.testing.assert_close(output, transcription(network.state_dict(), lq, factors, 2), rtol=1e-9, atol=1e-9)


def test_parameters_are_those_of_the_layers() -> None:
    prelu, norm = 1, 2 * 64
    conv = lambda into, out, kernel: into * out * kernel**2 + out  # noqa: E731
    block = 2 * conv(64, 64, 3) + 2 * norm + prelu
    expected = conv(3, 64, 9) + prelu + 16 * block + conv(64, 64, 3) + norm
    expected += 2 * (conv(64, 256, 3) + prelu) + conv(64, 3, 9)
    assert sum(parameter.numel() for parameter in SRResNet().parameters()) == expected


def test_in_training_an_image_is_seen_with_its_batch() -> None:
    torch.manual_seed(0)
    network, lq = SRResNet(4, 1, 2), torch.rand(3, 3, 8, 8)
    assert not torch.allclose(network.train()(lq)[:1], network(lq[:1]), atol=1e-4)
    network.eval()
    torch.testing.assert_close(network(lq)[:1], network(lq[:1]))


def test_another_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 2, 3 or 4, but got scale=8"):
        SRResNet(scale=8)
