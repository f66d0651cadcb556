"""Networks from configuration."""

from torch import nn

from study.config import AutoencoderConfig, GeneratorConfig
from study.models.autoencoder import Autoencoder
from study.models.msrresnet import MSRResNet
from study.models.rrdb import RRDBNet


def build_generator(config: GeneratorConfig, scale: int) -> nn.Module:
    """Build a generator with random weights: images (N, 3, h, w) to (N, 3, h * scale, w * scale)."""
    match config.name:
        case "rrdb":
            return RRDBNet(features=config.features, blocks=config.blocks, growth=config.growth, scale=scale)
        case "msrresnet":
            return MSRResNet(config.features, config.blocks, scale, init_scale=config.init_scale)


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """Build an auto-encoder with random weights: images to images of the same shape."""
    return Autoencoder(
        bottleneck_channels=config.bottleneck_channels,
        factor=config.factor,
        features=config.features,
        blocks=config.blocks,
        growth=config.growth,
        decoder=config.decoder,
        bicubic_skip=config.bicubic_skip,
    )
