"""MDF's discriminators, one for each scale of a photograph's pyramid, and the generators of their training.

Both are SinGAN's (Shaham et al., ICCV 2019; docs/methods/mdf.md): five convolutions without padding. Attribute names
are SinGAN's, so that discriminators of SinGAN or of MDF's authors load from a plain state dict.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.models.backbones import AlwaysEval

MARGIN = 5
"""Pixels that the five unpadded convolutions remove along each edge."""

RECEPTIVE_FIELD = 2 * MARGIN + 1
NEGATIVE_SLOPE = 0.2
BODY_BLOCKS = 3
LEVELS_PER_WIDTH = 4


def critic_width(level: int, features: int = 32, largest: int = 128) -> int:
    """Return the width of a level's networks, counted from the coarsest: doubled every four levels."""
    return min(features * 2 ** (level // LEVELS_PER_WIDTH), largest)


class Critic(nn.Module):
    """A patch discriminator of WGAN-GP: one unbounded score for each 11 x 11 window."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.head, self.body = _block(3, features), _body(features)
        self.tail = nn.Conv2d(features, 1, 3)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Score images, shape (N, 3, H, W), sides of at least 11: (N, 1, H - 10, W - 10)."""
        scores: Tensor = self.tail(self.body(self.head(images)))
        return scores

    def features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what MDF compares: the features after the first block, after the last block, and the scores."""
        first = self.head(images)
        last = self.body(first)
        return first, last, self.tail(last)


class CriticGenerator(nn.Module):
    """The generator of a level: repairs the task's distortion of the enlarged image of the level below.

    SinGAN adds the network's output to the image without noise. Here it is added to the distorted input: with the
    clean image at hand, the generator would never show the critic the distortion.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.head, self.body = _block(3, features), _body(features)
        self.tail = nn.Sequential(nn.Conv2d(features, 3, 3), nn.Tanh())
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Repair RGB images in [-1, 1], shape (N, 3, H, W): the same shape, not clamped."""
        detail: Tensor = self.tail(self.body(self.head(F.pad(images, [MARGIN] * 4))))
        return images + detail


class Critics(AlwaysEval):
    """The frozen critics of a whole pyramid, coarse to fine; they stay in evaluation mode.

    Args:
        levels: number of critics.
        features: width of the first four.
        largest: largest width.
    """

    def __init__(self, levels: int = 9, features: int = 32, largest: int = 128) -> None:
        super().__init__()
        self.settings = f"{levels=}, {features=}, {largest=}"
        self.levels = nn.ModuleList(Critic(critic_width(level, features, largest)) for level in range(levels))
        self.requires_grad_(False).eval()

    def extra_repr(self) -> str:
        return self.settings

    def features(self, images: Tensor, used: int) -> list[Tensor]:
        """Return three features of each of the `used` coarsest critics, all of the same full-size images."""
        critics = cast(list[Critic], list(self.levels)[:used])
        return [feature for critic in critics for feature in critic.features(images)]


def _block(channels: int, features: int) -> nn.Sequential:
    block = nn.Sequential()
    block.add_module("conv", nn.Conv2d(channels, features, 3))
    block.add_module("norm", nn.BatchNorm2d(features))
    # Not in place: this would overwrite a feature that is compared.
    block.add_module("LeakyRelu", nn.LeakyReLU(NEGATIVE_SLOPE))
    return block


def _body(features: int) -> nn.Sequential:
    body = nn.Sequential()
    for number in range(1, BODY_BLOCKS + 1):
        body.add_module(f"block{number}", _block(features, features))
    return body


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Draw weights as SinGAN does; convolutions' biases keep PyTorch's default."""
    if isinstance(module, nn.Conv2d):
        module.weight.normal_(0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        module.weight.normal_(1.0, 0.02)
        module.bias.zero_()
