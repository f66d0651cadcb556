"""The fidelity term: a difference between SR and HR images, of the kind that `loss.guidance` names; docs/methods/."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from study.config import LossConfig
from study.losses.adversarial import Mean
from study.losses.aesop import aesop_loss
from study.losses.bottleneck import bottleneck_loss
from study.losses.consistency import consistency_loss
from study.losses.custom import CustomLoss
from study.losses.laplace import probabilistic_loss
from study.losses.loss_map import loss_map_loss
from study.losses.low_resolution import low_resolution_loss
from study.losses.mdf import mdf_loss
from study.losses.pixel import pixel_loss
from study.losses.structural import ms_ssim_loss, ssim_loss
from study.models.autoencoder import Autoencoder
from study.models.critics import Critics


@dataclass(frozen=True)
class GuidanceInputs:
    """Networks and constants of the fidelity term.

    Attributes:
        autoencoder: frozen; None unless `LossConfig.uses_autoencoder`.
        critics: frozen; None unless `LossConfig.uses_critics`.
        used_levels: number of critics, from the coarsest, that are compared.
        scale: the SR factor.
        mean: over the whole batch of all processes; for `loss-map` alone.
        custom: the custom loss; None unless `LossConfig.uses_custom`.
    """

    autoencoder: nn.Module | None = None
    critics: Critics | None = None
    used_levels: int = 8
    scale: int = 4
    mean: Mean = torch.mean
    custom: CustomLoss | None = None


def fidelity_loss(
    config: LossConfig, inputs: GuidanceInputs, sr: Tensor, hr: Tensor, lq: Tensor | None = None
) -> Tensor:
    """Compute the fidelity term of the kind `config.guidance`.

    Args:
        config: the kind and the criterion; the latter does not apply to `loss-map`, `probabilistic`, `mdf`, `ssim`,
            `ms-ssim` and `custom`.
        inputs: networks and constants.
        sr, hr: RGB images, shape (N, 3, H, W).
        lq: the LR images, shape (N, 3, H / scale, W / scale); for `consistency` and `custom`.

    Returns:
        Shape (N,), at least float32.
    """
    match config.guidance:
        case "pixel":
            return pixel_loss(sr, hr, criterion=config.criterion)
        case "lr":
            return low_resolution_loss(sr, hr, inputs.scale, criterion=config.criterion)
        case "consistency":
            assert lq is not None
            criterion, downsampling = config.criterion, config.downsampling
            return consistency_loss(sr, lq, inputs.scale, criterion=criterion, downsampling=downsampling)
        case "ssim":
            return ssim_loss(sr, hr)
        case "ms-ssim":
            return ms_ssim_loss(sr, hr)
        case "mdf":
            assert inputs.critics is not None
            return mdf_loss(inputs.critics, sr, hr, used=inputs.used_levels, shown_range=config.critics_range)
        case "custom":
            assert inputs.custom is not None
            assert lq is not None
            return inputs.custom(sr, hr, lq)
    return _autoencoded_loss(config, inputs, sr, hr)


def _autoencoded_loss(config: LossConfig, inputs: GuidanceInputs, sr: Tensor, hr: Tensor) -> Tensor:
    assert inputs.autoencoder is not None
    autoencoder = inputs.autoencoder
    match config.guidance:
        case "bottleneck":
            return bottleneck_loss(cast(Autoencoder, autoencoder), sr, hr, criterion=config.criterion)
        case "loss-map":
            return loss_map_loss(autoencoder, sr, hr, mean=inputs.mean)
        case "probabilistic":
            return probabilistic_loss(cast(Autoencoder, autoencoder), sr, hr, direction=config.kl, form=config.kl_form)
    return aesop_loss(autoencoder, sr, hr, criterion=config.criterion)
