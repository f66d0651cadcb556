"""SPSR's gradient losses against their formulas."""

import pytest
import torch

from study.losses import branch_loss, gradient_loss
from study.losses.gradient import discriminated_map
from tests.training import plain_methods as plain


def test_gradient_loss_is_the_mean_square_of_wider_maps() -> None:
    sr, hr = (torch.rand(2, 3, 9, 8, dtype=torch.float64) for _ in range(2))
    expected = (plain.gradients(sr, 2) - plain.gradients(hr, 2)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(gradient_loss(sr, hr), expected)
    assert discriminated_map(sr).shape == (2, 3, 11, 10)
    assert not gradient_loss(hr, hr).any()


def test_branch_loss_is_l1_to_the_unpadded_map() -> None:
    branch, hr = (torch.rand(2, 3, 9, 8, dtype=torch.float64) for _ in range(2))
    expected = (branch - plain.gradients(hr, 1)).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(branch_loss(branch, hr), expected)


def test_gradient_is_finite_on_flat_images_in_half_precision() -> None:
    sr = torch.zeros(1, 3, 8, 8, dtype=torch.float16, requires_grad=True)
    loss = gradient_loss(sr, torch.rand(1, 3, 8, 8).half())
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert sr.grad is not None
    assert torch.isfinite(sr.grad).all()


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        gradient_loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
    with pytest.raises(ValueError, match="same shape"):
        branch_loss(torch.rand(1, 3, 9, 8), torch.rand(1, 3, 8, 8))
