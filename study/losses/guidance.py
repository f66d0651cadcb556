"""The fidelity term: the same difference between SR and HR, measured in different places (METHODS 1.4, 1.6)."""

from typing import cast

from torch import Tensor, nn

from study.config import LossConfig
from study.losses.aesop import aesop_loss
from study.losses.bottleneck import bottleneck_loss
from study.losses.laplace import probabilistic_loss
from study.losses.loss_map import loss_map_loss
from study.losses.low_resolution import low_resolution_loss
from study.losses.pixel import pixel_loss
from study.models.autoencoder import Autoencoder


def fidelity_loss(config: LossConfig, autoencoder: nn.Module | None, scale: int, sr: Tensor, hr: Tensor) -> Tensor:
    """Measure the fidelity where `config.guidance` says.

    Args:
        config: the kind, and the criterion; `loss-map` and `probabilistic` have their own in place of the criterion.
        autoencoder: frozen; needed if `config.uses_autoencoder`.
        scale: the SR factor; read by `lr` alone.
        sr, hr: RGB images, shape (N, 3, H, W).

    Returns:
        Shape (N,), at least float32.
    """
    if config.guidance == "pixel":
        return pixel_loss(sr, hr, criterion=config.criterion)
    if config.guidance == "lr":
        return low_resolution_loss(sr, hr, scale, criterion=config.criterion)
    assert autoencoder is not None
    match config.guidance:
        case "aesop":
            return aesop_loss(autoencoder, sr, hr, criterion=config.criterion)
        case "bottleneck":
            return bottleneck_loss(cast(Autoencoder, autoencoder), sr, hr, criterion=config.criterion)
        case "loss-map":
            return loss_map_loss(autoencoder, sr, hr)
        case "probabilistic":
            return probabilistic_loss(cast(Autoencoder, autoencoder), sr, hr, direction=config.kl, form=config.kl_form)
