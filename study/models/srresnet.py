"""SRResNet with batch normalisation, as in its paper (Ledig et al., CVPR 2017)."""

from torch import Tensor, nn

from study.models.layers import check_images, upscaling_steps


class NormalisedBlock(nn.Module):
    """Add to the input convolution, batch norm, PReLU, convolution, batch norm of it; the shape is kept."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.BatchNorm2d(features),
            nn.PReLU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.BatchNorm2d(features),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features + self.layers(features)


class SRResNet(nn.Module):
    """The generator of SRGAN.

    In training mode it normalises by the batch, so an output depends on the batch's other images.

    Args:
        features: width of the trunk.
        blocks: number of residual blocks.
        scale: up-scaling: 2, 3 or 4.

    Raises:
        ValueError: if the scale is not one of the three.
    """

    def __init__(self, features: int = 64, blocks: int = 16, scale: int = 4) -> None:
        factors = upscaling_steps("SRResNet", scale)
        super().__init__()
        self.settings = f"{features=}, {blocks=}, {scale=}"
        self.scale = scale
        self.first = nn.Sequential(nn.Conv2d(3, features, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(*(NormalisedBlock(features) for _ in range(blocks)))
        self.after_body = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features))
        steps: list[nn.Module] = []
        for factor in factors:
            conv = nn.Conv2d(features, features * factor**2, 3, padding=1)
            steps += [conv, nn.PixelShuffle(factor), nn.PReLU()]
        self.upsample = nn.Sequential(*steps)
        self.last = nn.Conv2d(features, 3, 9, padding=4)

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
        check_images(lq, network="SRResNet", channels=3)
        shallow = self.first(lq)
        features = shallow + self.after_body(self.body(shallow))
        output: Tensor = self.last(self.upsample(features))
        return output
