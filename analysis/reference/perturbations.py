"""Perturbations of a photograph of equal pixel L1, inside or outside the null space of downsampling."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.data import bicubic_upsample
from study.metrics.low_resolution import null_part

KINDS: Mapping[str, str] = {
    "low": "low-frequency noise",
    "high": "high-frequency noise",
    "stronger": "own texture, stronger",
    "weaker": "own texture, weaker",
}
"""`low`: white Gaussian noise of LR size, upsampled by MATLAB's bicubic; `high`: the null-space part of white Gaussian
noise; `stronger`, `weaker`: the null-space part of the photograph (its texture), added or subtracted."""

NO_TEXTURE = 0.05
"""Levels of 255: the least texture (mean absolute value) of a photograph that can be perturbed."""


@dataclass(frozen=True)
class Perturbations:
    """The perturbations of one photograph.

    Attributes:
        by_kind: by KINDS; each of the photograph's shape, float64, all of the same mean absolute value.
        texture_share: change of the photograph's texture relative to itself; above 1, `weaker` inverts its sign.
    """

    by_kind: dict[str, Tensor]
    texture_share: float


def perturb(hr: Tensor, scale: int, amplitude: float, random: np.random.Generator) -> Perturbations:
    """Make a perturbation of each kind, all of the same pixel L1.

    The null-space part is exact (`null_part`, by the pseudo-inverse), unlike noise minus its version after bicubic
    down- and upsampling.

    Args:
        hr: one photograph, shape (1, 3, H, W), sides multiples of the scale.
        scale: of downsampling.
        amplitude: mean absolute value, in the photograph's units.
        random: source of the noise.

    Raises:
        ValueError: downsampling removes almost nothing from the photograph.
    """
    _, channels, height, width = hr.shape
    texture = null_part(hr, scale)
    strength = float(texture.abs().mean())
    if strength < NO_TEXTURE / 255:
        raise ValueError(
            f"downsampling by {scale} removes nothing from this photograph (mean {255 * strength:.2g} levels of 255), "
            "so it has no texture to perturb; leave it out"
        )
    noise = torch.from_numpy(random.standard_normal((1, channels, height, width)))
    coarse = torch.from_numpy(random.standard_normal((1, channels, height // scale, width // scale)))
    changes = {
        "low": bicubic_upsample(coarse, scale),
        "high": null_part(noise, scale),
        "stronger": texture,
        "weaker": -texture,
    }
    scaled = {kind: changes[kind] * (amplitude / changes[kind].abs().mean()) for kind in KINDS}
    return Perturbations(scaled, amplitude / strength)
