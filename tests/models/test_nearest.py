"""Fused nearest-neighbour enlarging and convolution against the two operations, and against a result by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.models.nearest import enlarge_and_convolve


def long_way(features: Tensor, conv: nn.Conv2d, factor: int) -> Tensor:
    enlarged = features.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    return F.conv2d(enlarged, conv.weight, conv.bias, padding=1)


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 1), (3, 2, 1, 6)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_equal_the_two_operations(
    factor: int, shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    torch.manual_seed(factor)
    conv = nn.Conv2d(shape[1], 5, 3, padding=1).double()
    features = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    found, expected = enlarge_and_convolve(features, conv, factor), long_way(features, conv, factor)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slope = torch.randn_like(expected)
    inputs = [features, conv.weight, conv.bias]
    for one, other in zip(
        torch.autograd.grad(found, inputs, slope), torch.autograd.grad(expected, inputs, slope), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_one_pixel_written_out() -> None:
    """Doubled, a pixel p has four copies; each is covered by four of the kernel's nine taps, the rest is padding."""
    conv = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(1.0, 10.0).view(1, 1, 3, 3))
        conv.bias.fill_(0.5)  # type: ignore[union-attr]  # it has one
        found = enlarge_and_convolve(torch.full((1, 1, 1, 1), 2.0), conv, 2)
    assert found[0, 0].tolist() == [
        [2 * (5 + 6 + 8 + 9) + 0.5, 2 * (4 + 5 + 7 + 8) + 0.5],
        [2 * (2 + 3 + 5 + 6) + 0.5, 2 * (1 + 2 + 4 + 5) + 0.5],
    ]


def test_output_may_be_changed_in_place() -> None:
    conv = nn.Conv2d(2, 2, 3, padding=1).double()
    features = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    F.leaky_relu(enlarge_and_convolve(features, conv, 2), 0.2, inplace=True).sum().backward()
    assert features.grad is not None
    (expected,) = torch.autograd.grad(F.leaky_relu(long_way(features, conv, 2), 0.2).sum(), features)
    torch.testing.assert_close(features.grad, expected, rtol=1e-12, atol=1e-12)
