"""Ways to change a photograph that cost the same pixel L1 and that shrinking sees, or does not see."""

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
"""`low` is white Gaussian noise of LR size, enlarged by MATLAB's bicubic; `high` is the part of white Gaussian noise
that shrinking does not see; the two others are that part of the photograph itself, added or taken away."""

NO_TEXTURE = 0.05
"""Levels of 255: a photograph with less texture than that (mean absolute value) has none that could be changed."""


@dataclass(frozen=True)
class Perturbations:
    """What is added to one photograph.

    Attributes:
        by_kind: of KINDS; each of the photograph's shape, float64, of one mean absolute value.
        texture_share: by how much of itself the photograph's own texture is changed. Above 1, `weaker` is more than
            none: texture with its sign turned.
    """

    by_kind: dict[str, Tensor]
    texture_share: float


def perturb(hr: Tensor, scale: int, amplitude: float, random: np.random.Generator) -> Perturbations:
    """Make a perturbation of each kind, all of the same pixel L1.

    The part that shrinking does not see is exact (`null_part`, by the pseudo-inverse): of noise from which its shrunk
    and enlarged version is taken away, something would be left.

    Args:
        hr: one photograph, shape (1, 3, H, W), sides multiples of the scale.
        scale: that shrinking is by.
        amplitude: mean absolute value, in the photograph's units.
        random: draws the noise.

    Raises:
        ValueError: the photograph has no texture that shrinking removes.
    """
    _, channels, height, width = hr.shape
    texture = null_part(hr, scale)
    strength = float(texture.abs().mean())
    if strength < NO_TEXTURE / 255:
        raise ValueError(
            f"shrinking by {scale} takes nothing from this photograph (mean {255 * strength:.2g} levels of 255), so it "
            "has no texture of its own to change; remove it"
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
