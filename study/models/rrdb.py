"""RRDBNet, the generator of ESRGAN (Wang et al. 2018, arXiv 1809.00219), and its blocks."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.models.layers import check_images, leaky_relu, make_image, scale_kaiming_init
from study.models.nearest import enlarge_and_convolve

RESIDUAL_SCALE = 0.2

# Scales 1 and 2 un-shuffle the input first and keep the body and the x4 tail, as in BasicSR.
UNSHUFFLE = {1: 4, 2: 2, 3: 1, 4: 1}
UPSAMPLINGS = {1: (2, 2), 2: (2, 2), 3: (3,), 4: (2, 2)}
# Without un-shuffling, as in the repositories of ESRGAN and SPSR.
PLAIN_UPSAMPLINGS: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 3: (3,), 4: (2, 2)}


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of the block's input and all earlier outputs; the shape is kept."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(features + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(features + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(features + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, padding=1)
        scale_kaiming_init(self.conv1, self.conv2, self.conv3, self.conv4, self.conv5)

    def forward(self, features: Tensor) -> Tensor:
        dense = features
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            dense = torch.cat((dense, leaky_relu(conv(dense))), dim=1)  # grows by `growth` channels
        return features + RESIDUAL_SCALE * self.conv5(dense)


class RRDB(nn.Module):
    """Residual-in-residual dense block: three dense blocks inside one more residual; the shape is kept."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(features, growth)
        self.rdb2 = ResidualDenseBlock(features, growth)
        self.rdb3 = ResidualDenseBlock(features, growth)

    def forward(self, features: Tensor) -> Tensor:
        return features + RESIDUAL_SCALE * self.rdb3(self.rdb2(self.rdb1(features)))


class RRDBNet(nn.Module):
    """The RRDB generator, with BasicSR's attribute names so that released weights load; docs/methods/generators.md.

    Args:
        features: width of the trunk.
        blocks: number of RRDBs.
        growth: channels that each convolution of a dense block adds.
        scale: up-scaling: 1, 2, 3 or 4. Scale 1 needs input sides divisible by 4, scale 2 by 2. BasicSR has
            no scale 3; here it is one nearest x3 step, as in SPSR.
        in_channels: 3 for images; the bottleneck's channels where this is an auto-encoder's decoder.
        out_channels: 3 for images; another number inside a larger network.
        unshuffle: at scales 1 and 2, un-shuffle the input first; otherwise the body runs at the input's size.

    Attributes:
        input_multiple: number that must divide the input's sides.

    Raises:
        ValueError: if the scale is not one of the four.
    """

    def __init__(
        self,
        features: int = 64,
        blocks: int = 23,
        growth: int = 32,
        scale: int = 4,
        in_channels: int = 3,
        *,
        out_channels: int = 3,
        unshuffle: bool = True,
    ) -> None:
        if scale not in UPSAMPLINGS:
            raise ValueError(f"RRDBNet's scale must be 1, 2, 3 or 4, but got {scale=}; choose one of these")
        super().__init__()
        self.settings = f"{features=}, {blocks=}, {growth=}, {scale=}, {in_channels=}"
        if not unshuffle and UNSHUFFLE[scale] > 1:
            self.settings += f", {unshuffle=}"
        self.in_channels = in_channels
        self.input_multiple = UNSHUFFLE[scale] if unshuffle else 1
        self.upsamplings = (UPSAMPLINGS if unshuffle else PLAIN_UPSAMPLINGS)[scale]
        self.conv_first = nn.Conv2d(in_channels * self.input_multiple**2, features, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        for step in range(1, len(self.upsamplings) + 1):
            self.add_module(f"conv_up{step}", nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, out_channels, 3, padding=1)

    def extra_repr(self) -> str:
        return self.settings

    def forward(self, lq: Tensor) -> Tensor:
        """Up-scale images.

        Args:
            lq: images (RGB in [0, 1]) or bottlenecks (unbounded), shape (N, in_channels, H, W).

        Returns:
            RGB nominally in [0, 1], not clamped, shape (N, 3, scale * H, scale * W).

        Raises:
            ValueError: if channels or sides do not fit.
        """
        shallow, deep, _ = self.extract(lq)
        return self.reconstruct(shallow, deep)

    def forward_with_features(self, lq: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Up-scale, and return the result with the features after the first and after the last block."""
        shallow, deep, kept = self.extract(lq, taps=(1,))
        return self.reconstruct(shallow, deep), kept[1], deep

    def extract(self, lq: Tensor, taps: Collection[int] = ()) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Run the trunk up to its last block.

        Args:
            lq: as for `forward`.
            taps: blocks, counted from 1, whose output to keep.

        Returns:
            The shallow features, those after the last block, and the kept ones by block, all of one shape.
        """
        check_images(lq, network="RRDBNet", channels=self.in_channels, multiple=self.input_multiple)
        shallow = self.conv_first(F.pixel_unshuffle(lq, self.input_multiple))
        deep, kept = shallow, {}
        for number, block in enumerate(self.body, start=1):
            deep = block(deep)
            if number in taps:
                kept[number] = deep
        return shallow, deep, kept

    def reconstruct(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Make the output from the features of `extract`."""
        features = shallow + self.conv_body(deep)
        for step, factor in enumerate(self.upsamplings, start=1):
            features = leaky_relu(enlarge_and_convolve(features, getattr(self, f"conv_up{step}"), factor))
        return make_image(self.conv_last, leaky_relu(self.conv_hr(features)))
