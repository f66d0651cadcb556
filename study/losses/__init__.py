"""Losses: functions or modules of (sr, hr) that return one unweighted value per image, shape (N,)."""

from study.losses.adversarial import (
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    vanilla_discriminator_loss,
    vanilla_generator_loss,
)
from study.losses.aesop import aesop_loss
from study.losses.bottleneck import bottleneck_loss
from study.losses.consistency import consistency_loss
from study.losses.gradient import branch_loss, gradient_loss
from study.losses.laplace import laplace_divergence, probabilistic_loss
from study.losses.ldl import ldl_loss, ldl_map
from study.losses.loss_map import loss_map_loss
from study.losses.low_resolution import low_resolution_loss
from study.losses.mdf import mdf_loss
from study.losses.perceptual import PerceptualLoss, build_perceptual
from study.losses.pixel import pixel_loss
from study.losses.structural import ms_ssim_loss, ssim_loss

__all__ = [
    "PerceptualLoss",
    "aesop_loss",
    "bottleneck_loss",
    "branch_loss",
    "build_perceptual",
    "consistency_loss",
    "gradient_loss",
    "laplace_divergence",
    "ldl_loss",
    "ldl_map",
    "loss_map_loss",
    "low_resolution_loss",
    "mdf_loss",
    "ms_ssim_loss",
    "pixel_loss",
    "probabilistic_loss",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
    "ssim_loss",
    "vanilla_discriminator_loss",
    "vanilla_generator_loss",
]
