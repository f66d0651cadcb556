"""Losses: each a function or module of (sr, hr) that returns one unweighted value per image, shape (N,)."""

from study.losses.adversarial import relativistic_discriminator_loss, relativistic_generator_loss
from study.losses.aesop import aesop_loss
from study.losses.artifact import artifact_loss, artifact_map
from study.losses.perceptual import PerceptualLoss, build_perceptual
from study.losses.pixel import pixel_loss

__all__ = [
    "PerceptualLoss",
    "aesop_loss",
    "artifact_loss",
    "artifact_map",
    "build_perceptual",
    "pixel_loss",
    "relativistic_discriminator_loss",
    "relativistic_generator_loss",
]
