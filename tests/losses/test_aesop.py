"""The AESOP loss through a tiny frozen auto-encoder."""

import pytest
import torch
from torch import Tensor, nn

from study.losses import aesop_loss, pixel_loss


class AveragingAutoencoder(nn.Module):
    """An auto-encoder of a 4x4 average and one trainable gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        return self.gain * nn.functional.avg_pool2d(images, 4)


@pytest.fixture
def autoencoder() -> nn.Module:
    return AveragingAutoencoder().requires_grad_(False)


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, 8, 8, generator=generator), torch.rand(3, 3, 8, 8, generator=generator)


def test_zero_for_equal_images(autoencoder: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    assert aesop_loss(autoencoder, images[1], images[1]).tolist() == [0, 0, 0]


@pytest.mark.parametrize("criterion", ["l1", "l2"])
def test_equals_the_pixel_loss_of_what_the_autoencoder_keeps(
    autoencoder: nn.Module, images: tuple[Tensor, Tensor], criterion: str
) -> None:
    sr, hr = images
    kept_sr, kept_hr = (
        0.5 * image.reshape(3, 3, 2, 4, 2, 4).mean(dim=(3, 5)) for image in (sr, hr)
    )  # block averages written out
    difference = kept_sr - kept_hr
    expected = (difference.abs() if criterion == "l1" else difference**2).flatten(1).mean(1)

    assert torch.allclose(aesop_loss(autoencoder, sr, hr, criterion=criterion), expected)  # type: ignore[arg-type]


def test_high_frequencies_that_the_autoencoder_drops_are_free(
    autoencoder: nn.Module, images: tuple[Tensor, Tensor]
) -> None:
    hr = images[1]
    checkerboard = 0.1 * (1 - 2 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2)).float()

    assert pixel_loss(hr + checkerboard, hr).min() > 0.099
    assert aesop_loss(autoencoder, hr + checkerboard, hr).max() < 1e-7


def test_gradient_reaches_the_image_and_nothing_else(autoencoder: nn.Module, images: tuple[Tensor, Tensor]) -> None:
    sr, hr = (image.clone().requires_grad_() for image in images)

    aesop_loss(autoencoder, sr, hr).mean().backward()

    assert sr.grad is not None
    assert (sr.grad != 0).all()
    assert hr.grad is None
    assert all(parameter.grad is None for parameter in autoencoder.parameters())


def test_values_outside_the_range_are_not_clamped(autoencoder: nn.Module) -> None:
    sr = torch.full((1, 3, 8, 8), 3.0, requires_grad=True)

    loss = aesop_loss(autoencoder, sr, torch.ones(1, 3, 8, 8))
    loss.sum().backward()

    assert loss.item() == pytest.approx(1.0)
    assert sr.grad is not None
    assert sr.grad.abs().min() > 0
