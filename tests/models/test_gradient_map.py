"""The gradient map against METHODS 4.2: convolutions with the two kernels, and what is known of simple images."""

import pytest
import torch

from study.models.spsr import gradient_map
from tests.training import plain_methods as plain


@pytest.mark.parametrize("padding", [1, 2, 3])
def test_it_is_the_root_of_two_squared_convolutions(padding: int) -> None:
    images = torch.rand(2, 3, 7, 9, dtype=torch.float64)
    found = gradient_map(images, padding=padding)
    assert found.shape == (2, 3, 7 + 2 * padding - 2, 9 + 2 * padding - 2)
    torch.testing.assert_close(found, plain.gradients(images, padding), rtol=1e-12, atol=1e-14)


def test_a_ramp_has_the_same_slope_everywhere_inside() -> None:
    ramp = 0.05 * torch.arange(8.0).view(1, 1, 1, 8).expand(1, 3, 6, 8)
    inside = gradient_map(ramp)[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.full_like(inside, (0.1**2 + 1e-6) ** 0.5))


def test_its_slope_is_finite_where_an_image_is_flat() -> None:
    images = torch.zeros(1, 3, 6, 6, requires_grad=True)
    gradient_map(images).sum().backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()


def test_a_padding_that_would_shrink_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="padding must be at least 1, but got padding=0"):
        gradient_map(torch.zeros(1, 3, 6, 6), padding=0)
