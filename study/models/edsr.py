"""EDSR (Lim et al., CVPRW 2017): residual blocks without batch normalisation, on mean-free images."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.models.layers import check_images, upscaling_steps

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
LEVELS = 255.0


class ScaledResidualBlock(nn.Module):
    """Add to the input the scaled output of convolution, ReLU, convolution; the shape is kept."""

    def __init__(self, features: int, residual_scale: float) -> None:
        super().__init__()
        self.residual_scale = residual_scale
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.residual_scale * self.conv2(F.relu(self.conv1(features), inplace=True))


class EDSR(nn.Module):
    """The EDSR generator, with BasicSR's attribute names so that released weights load.

    Args:
        features: width of the trunk; 256 for the large form.
        blocks: number of residual blocks; 32 for the large form.
        scale: up-scaling: 2, 3 or 4.
        residual_scale: of each block's output; 0.1 for the large form.

    Raises:
        ValueError: if the scale is not one of the three.
    """

    def __init__(self, features: int = 64, blocks: int = 16, scale: int = 4, residual_scale: float = 1.0) -> None:
        factors = upscaling_steps("EDSR", scale)
        super().__init__()
        self.settings = f"{features=}, {blocks=}, {scale=}, {residual_scale=}"
        self.scale = scale
        # Not in the state: released files lack it.
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*(ScaledResidualBlock(features, residual_scale) for _ in range(blocks)))
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        steps: list[nn.Module] = []
        for factor in factors:
            steps += [nn.Conv2d(features, features * factor**2, 3, padding=1), nn.PixelShuffle(factor)]
        self.upsample = nn.Sequential(*steps)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

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
        check_images(lq, network="EDSR", channels=3)
        mean = self.get_buffer("mean")
        shallow = self.conv_first((lq - mean) * LEVELS)
        features = shallow + self.conv_after_body(self.body(shallow))
        output: Tensor = self.conv_last(self.upsample(features))
        return output / LEVELS + mean
