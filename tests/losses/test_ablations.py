"""AESOP's ablations: values for simple images, and plain formulas."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Laplace, kl_divergence

from study.losses import (
    bottleneck_loss,
    laplace_divergence,
    loss_map_loss,
    low_resolution_loss,
    probabilistic_loss,
)
from study.models import Autoencoder
from tests.training import plain_methods as plain


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    torch.manual_seed(4)
    network = Autoencoder(3, 4, 16, 1, 4, "msrresnet", scale_head=True).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        assert network.scale_head is not None
        network.scale_head.conv_last.bias.fill_(1.0)
    return network.eval().requires_grad_(False)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    return torch.rand(3, 3, 16, 24, dtype=torch.float64, requires_grad=True), torch.rand(3, 3, 16, 24).double()


def gradient(loss: Tensor, sr: Tensor) -> Tensor:
    return torch.autograd.grad(loss.mean(), sr)[0]


def test_bottleneck_loss_compares_codes_image_by_image(autoencoder: Autoencoder, pair: tuple[Tensor, Tensor]) -> None:
    sr, hr = pair
    codes = autoencoder.encode(sr), autoencoder.encode(hr)
    expected = (codes[0] - codes[1]).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(bottleneck_loss(autoencoder, sr, hr), expected)
    squared = bottleneck_loss(autoencoder, sr, hr, criterion="l2")
    torch.testing.assert_close(squared, (codes[0] - codes[1]).square().mean(dim=(1, 2, 3)))
    assert gradient(bottleneck_loss(autoencoder, sr, hr), sr).any()
    assert not bottleneck_loss(autoencoder, hr, hr).any()


class Blue(nn.Module):
    """An encoder of the blue channel alone."""

    def forward(self, images: Tensor) -> Tensor:
        return images * torch.tensor([0.0, 0.0, 1.0], dtype=images.dtype).view(1, 3, 1, 1)


def test_loss_map_weighs_the_difference_over_the_whole_batch(pair: tuple[Tensor, Tensor]) -> None:
    sr, hr = pair
    difference = (sr - hr).abs()
    blue = difference[:, 2]
    expected = (blue * blue).sum() / blue.sum()  # what the auto-encoder does not see has no weight
    found = loss_map_loss(Blue(), sr, hr)
    assert found.shape == (3,)
    torch.testing.assert_close(found.mean(), expected)
    expected_gradient = torch.autograd.grad(expected, sr, retain_graph=True)[0]
    torch.testing.assert_close(gradient(found, sr), expected_gradient)  # the weights are not constants


def test_loss_map_of_equal_images_has_a_finite_gradient() -> None:
    hr = torch.rand(2, 3, 8, 8)
    sr = hr.clone().requires_grad_()
    loss = loss_map_loss(Blue(), sr, hr)
    assert not loss.any()
    assert torch.isfinite(gradient(loss, sr)).all()


def test_lr_l1_at_scale_4_has_torchs_four_taps(pair: tuple[Tensor, Tensor]) -> None:
    sr, hr = pair
    expected = (plain.torch_bicubic_quarter(sr) - plain.torch_bicubic_quarter(hr)).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(low_resolution_loss(sr, hr, 4), expected)


def test_lr_l1_at_scale_3_sees_every_third_pixel(pair: tuple[Tensor, Tensor]) -> None:
    """The centre of an LR pixel is the middle one of three; without antialiasing only that one counts."""
    sr, hr = (images[..., :15, :24] for images in pair)
    expected = (sr[..., 1::3, 1::3] - hr[..., 1::3, 1::3]).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(low_resolution_loss(sr, hr, 3), expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_l1_of_a_constant_offset_is_the_offset(scale: int) -> None:
    hr = torch.rand(2, 3, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(low_resolution_loss(hr + 0.25, hr, scale), torch.full((2,), 0.25, dtype=torch.float64))


LAPLACES = [(0.0, 1.0, 0.5, 2.0), (0.3, 0.2, 0.3, 0.4), (1.0, 0.7, -1.0, 0.7), (0.0, 3.0, 0.1, 0.5)]


@pytest.mark.parametrize(("p_mean", "p_scale", "q_mean", "q_scale"), LAPLACES)
def test_the_exact_form_is_the_kl_divergence(p_mean: float, p_scale: float, q_mean: float, q_scale: float) -> None:
    p, q = ([torch.tensor(value) for value in pair] for pair in ((p_mean, p_scale), (q_mean, q_scale)))
    found = laplace_divergence((p[0], p[1]), (q[0], q[1]), form="exact")
    torch.testing.assert_close(found, kl_divergence(Laplace(*p), Laplace(*q)))
    released = laplace_divergence((p[0], p[1]), (q[0], q[1]), form="released")
    distance = abs(p_mean - q_mean)
    assert released.item() == pytest.approx(math.log(q_scale / p_scale) + (p_scale + distance) / q_scale - 1, abs=1e-6)
    assert released >= found


@pytest.mark.parametrize("form", ["released", "exact"])
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_probabilistic_loss_is_the_divergence_in_a_direction(
    direction: str, form: str, autoencoder: Autoencoder, pair: tuple[Tensor, Tensor]
) -> None:
    sr, hr = pair
    found = probabilistic_loss(autoencoder, sr, hr, direction=direction, form=form)  # type: ignore[arg-type]
    ends = [autoencoder.distribution(images) for images in (sr, hr)]
    p, q = ends if direction == "reverse" else ends[::-1]
    assert found.shape == (3,)
    torch.testing.assert_close(found.mean(), plain.laplace(p, q, exact=form == "exact"))
    equal = probabilistic_loss(autoencoder, hr, hr, direction=direction, form=form)  # type: ignore[arg-type]
    assert equal.abs().max() < 1e-12


def test_scales_below_the_smallest_are_lifted_to_it(autoencoder: Autoencoder) -> None:
    hr = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    assert autoencoder.scale_head is not None
    bias = autoencoder.scale_head.conv_last.bias
    bias.fill_(-5.0)
    try:
        loss = probabilistic_loss(autoencoder, hr + 1e-9, hr)
        assert torch.isfinite(loss).all()
    finally:
        bias.fill_(1.0)


def test_images_of_different_shapes_are_refused(autoencoder: Autoencoder) -> None:
    small, large = torch.rand(1, 3, 16, 16).double(), torch.rand(1, 3, 16, 20).double()
    for loss in (bottleneck_loss, loss_map_loss, probabilistic_loss):
        with pytest.raises(ValueError, match="same shape"):
            loss(autoencoder, small, large)
    with pytest.raises(ValueError, match="same shape"):
        low_resolution_loss(small, large, 4)
