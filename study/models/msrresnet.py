"""MSRResNet, BasicSR's SRResNet without batch normalisation; docs/methods/generators.md."""

import torch.nn.functional as F
from torch import Tensor, nn

from study.models.layers import UPSCALING_STEPS, check_images, leaky_relu, scale_kaiming_init

NEGATIVE_SLOPE = 0.1
UPSAMPLINGS = {1: (), **UPSCALING_STEPS}


class ResidualBlock(nn.Module):
    """Add to the input the output of convolution, ReLU, convolution; the shape is kept."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(F.relu(self.conv1(features), inplace=True))


class MSRResNet(nn.Module):
    """The residual generator, with BasicSR's attribute names so that released weights load.

    The network adds its output to the bilinearly enlarged input. A decoder's input may have other than three
    channels: the first three are then the image, and with fewer than three nothing is added.

    Args:
        features: width of the trunk.
        blocks: number of residual blocks.
        scale: up-scaling: 2, 3 or 4; 1 to restore images of the same size.
        in_channels: 3 for images; the bottleneck's channels where this is an auto-encoder's decoder.
        init_scale: of the Kaiming-normal weights at the start. The published 0.1, over this many layers without
            a skip, leaves gradients below Adam's epsilon: short training needs more.

    Attributes:
        input_multiple: number that must divide the input's sides: always 1.

    Raises:
        ValueError: if the scale is not one of the four.
    """

    def __init__(
        self,
        features: int = 64,
        blocks: int = 16,
        scale: int = 4,
        in_channels: int = 3,
        init_scale: float = 0.1,
    ) -> None:
        if scale not in UPSAMPLINGS:
            raise ValueError(f"MSRResNet's scale must be 1, 2, 3 or 4, but got {scale=}; choose one of these")
        super().__init__()
        self.settings = f"{features=}, {blocks=}, {scale=}, {in_channels=}"
        self.in_channels = in_channels
        self.input_multiple = 1
        self.scale = scale
        self.upsamplings = UPSAMPLINGS[scale]
        self.conv_first = nn.Conv2d(in_channels, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        for step, factor in enumerate(self.upsamplings, start=1):
            self.add_module(f"upconv{step}", nn.Conv2d(features, features * factor**2, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)
        convs = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        scale_kaiming_init(*convs, scale=init_scale)

    def extra_repr(self) -> str:
        return self.settings

    def forward(self, lq: Tensor) -> Tensor:
        """Up-scale images.

        Args:
            lq: images (RGB in [0, 1]) or bottlenecks (unbounded), shape (N, in_channels, H, W).

        Returns:
            RGB nominally in [0, 1], not clamped, shape (N, 3, scale * H, scale * W).

        Raises:
            ValueError: if the shape does not fit.
        """
        return self.forward_with_features(lq)[0]

    def forward_with_features(self, lq: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Up-scale, and return the result with the features after the first and after the last block."""
        check_images(lq, network="MSRResNet", channels=self.in_channels)
        first = deep = self.body[0](leaky_relu(self.conv_first(lq), NEGATIVE_SLOPE))
        for block in self.body[1:]:
            deep = block(deep)
        features = deep
        for step, factor in enumerate(self.upsamplings, start=1):
            upconv = self.get_submodule(f"upconv{step}")
            features = leaky_relu(F.pixel_shuffle(upconv(features), factor), NEGATIVE_SLOPE)
        residual = self.conv_last(leaky_relu(self.conv_hr(features), NEGATIVE_SLOPE))
        if self.in_channels >= 3:
            bilinear = F.interpolate(lq[:, :3], scale_factor=self.scale, mode="bilinear", align_corners=False)
            return residual + bilinear, first, deep
        return residual, first, deep
