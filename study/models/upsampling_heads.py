"""Up-sampling heads to compare on one trunk (Shi et al. 2016, Odena et al. 2016, Aitken et al. 2017)."""

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import Head
from study.data.bicubic import bicubic_upsample
from study.models.layers import check_images, scale_kaiming_init, upscaling_steps
from study.models.msrresnet import ResidualBlock
from study.models.rrdb import RRDB

TRUNK_SLOPE = {"rrdb": 0.2, "msrresnet": 0.1}
HEAD_SLOPE = 0.2
# Kernel, stride and padding of a transposed convolution: its output is uneven unless the stride divides the kernel.
TRANSPOSED = {2: (4, 2, 1), 3: (9, 3, 3)}


class HeadedGenerator(nn.Module):
    """The trunk of RRDBNet or MSRResNet with an up-sampling head; docs/methods/consistency.md.

    `espcn` computes all sub-pixels of the image by one convolution, `sub-pixel` enlarges the features step by step;
    `nearest` and `transposed` use nearest-neighbour resizing and transposed convolutions; `pre-upsampling` enlarges the
    image by bicubic first and runs the trunk at its final size. All but `espcn` end with two convolutions.

    Args:
        trunk: the network of the trunk.
        head: any but `native`.
        features, blocks, growth: of the trunk; `growth` is for rrdb alone.
        scale: up-scaling: 2, 3 or 4.
        icnr: initialise sub-pixel convolutions as nearest-neighbour resizing (Aitken et al. 2017).
        init_scale: of MSRResNet's weights at the start.

    Raises:
        ValueError: if the scale is not one of the three.
    """

    def __init__(
        self,
        trunk: Literal["rrdb", "msrresnet"],
        head: Head,
        features: int = 64,
        blocks: int = 16,
        growth: int = 32,
        scale: int = 4,
        *,
        icnr: bool = False,
        init_scale: float = 0.1,
    ) -> None:
        factors = upscaling_steps("HeadedGenerator", scale)
        super().__init__()
        self.settings = f"{trunk=}, {head=}, {features=}, {blocks=}, {growth=}, {scale=}"
        self.scale, self.head_name, self.trunk_slope = scale, head, TRUNK_SLOPE[trunk]
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        if trunk == "rrdb":
            self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
            self.conv_body: nn.Conv2d | None = nn.Conv2d(features, features, 3, padding=1)
        else:
            self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
            self.conv_body = None
        self.head = _build_head(head, features, factors)
        if trunk == "msrresnet":
            convs = (nn.Conv2d, nn.ConvTranspose2d)
            scale_kaiming_init(*(part for part in self.modules() if isinstance(part, convs)), scale=init_scale)
        if icnr:
            _start_as_nearest(self.head)

    def extra_repr(self) -> str:
        return self.settings

    def forward(self, lq: Tensor) -> Tensor:
        """Up-scale images.

        Args:
            lq: RGB in [0, 1], shape (N, 3, H, W).

        Returns:
            RGB nominally in [0, 1], not clamped, shape (N, 3, scale * H, scale * W).

        Raises:
            ValueError: if the shape does not fit.
        """
        check_images(lq, network="HeadedGenerator", channels=3)
        images = bicubic_upsample(lq, self.scale) if self.head_name == "pre-upsampling" else lq
        shallow = self.conv_first(images)
        if self.conv_body is None:
            features = self.body(F.leaky_relu(shallow, self.trunk_slope, inplace=True))
        else:
            features = shallow + self.conv_body(self.body(shallow))
        output: Tensor = self.head(features)
        return output


def _build_head(head: Head, features: int, factors: tuple[int, ...]) -> nn.Sequential:
    if head == "espcn":
        scale = math.prod(factors)
        return nn.Sequential(nn.Conv2d(features, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))
    layers: list[nn.Module] = []
    if head != "pre-upsampling":
        for factor in factors:
            layers += [*_enlarge(head, features, factor), nn.LeakyReLU(HEAD_SLOPE, inplace=True)]
    ending = [
        nn.Conv2d(features, features, 3, padding=1),
        nn.LeakyReLU(HEAD_SLOPE, inplace=True),
        nn.Conv2d(features, 3, 3, padding=1),
    ]
    return nn.Sequential(*layers, *ending)


def _enlarge(head: Head, features: int, factor: int) -> list[nn.Module]:
    match head:
        case "sub-pixel":
            return [nn.Conv2d(features, features * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        case "nearest":
            return [nn.Upsample(scale_factor=factor, mode="nearest"), nn.Conv2d(features, features, 3, padding=1)]
        case "transposed":
            kernel, stride, padding = TRANSPOSED[factor]
            return [nn.ConvTranspose2d(features, features, kernel, stride, padding)]
    raise ValueError(f"head must be sub-pixel, nearest or transposed here, but got {head!r}")


@torch.no_grad()
def _start_as_nearest(head: nn.Sequential) -> None:
    """Copy one kernel to the factor**2 channels that become one channel's sub-pixels."""
    for conv, shuffle in pairwise(head):
        if isinstance(conv, nn.Conv2d) and isinstance(shuffle, nn.PixelShuffle):
            repeats = shuffle.upscale_factor**2
            conv.weight.copy_(conv.weight[::repeats].repeat_interleave(repeats, dim=0))
            if conv.bias is not None:
                conv.bias.copy_(conv.bias[::repeats].repeat_interleave(repeats))
