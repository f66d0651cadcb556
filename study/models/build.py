"""Build networks from their configuration."""

import warnings
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from study.config import (
    AutoencoderConfig,
    CriticsConfig,
    DiscriminatorConfig,
    EDSRConfig,
    GeneratorConfig,
    MSRResNetConfig,
    RRDBConfig,
    SPSRConfig,
    SRResNetConfig,
    SwinIRConfig,
)
from study.models.autoencoder import Autoencoder
from study.models.critics import Critics
from study.models.discriminators import UNetDiscriminator, VGGDiscriminator
from study.models.edsr import EDSR
from study.models.msrresnet import MSRResNet
from study.models.rrdb import RRDBNet
from study.models.spsr import SPSRGenerator
from study.models.srresnet import SRResNet
from study.models.upsampling_heads import HeadedGenerator

SWINIR_IMAGE_SIDE = 64
"""LR pixels for which SwinIR precomputes its attention masks, as released files have them."""


def build_generator(config: GeneratorConfig, scale: int) -> nn.Module:
    """Build a generator with random weights: images (N, 3, h, w) to (N, 3, h * scale, w * scale)."""
    network = _build_network(config, scale)
    if config.adds_skip:
        network.register_forward_hook(_add_enlarged_input)
    return network


def _add_enlarged_input(network: nn.Module, inputs: tuple[Tensor], output: Any) -> Any:
    """Add the bilinearly enlarged input to a network's output image.

    As a hook, it changes neither a library's class nor the names in the state.
    """
    image = output[0] if isinstance(output, tuple) else output
    enlarged = F.interpolate(inputs[0], size=image.shape[-2:], mode="bilinear", align_corners=False)
    return (image + enlarged, *output[1:]) if isinstance(output, tuple) else image + enlarged


def _build_network(config: GeneratorConfig, scale: int) -> nn.Module:
    match config:
        case RRDBConfig() | MSRResNetConfig() if not config.has_native_head:
            return _build_headed(config, scale)
        case RRDBConfig():
            return RRDBNet(config.features, config.blocks, config.growth, scale, unshuffle=config.unshuffle)
        case MSRResNetConfig():
            return MSRResNet(config.features, config.blocks, scale, init_scale=config.init_scale)
        case SwinIRConfig():
            return _build_swinir(config, scale)
        case SPSRConfig():
            return SPSRGenerator(config.features, config.blocks, config.growth, scale)
        case EDSRConfig():
            return EDSR(config.features, config.blocks, scale, config.residual_scale)
        case SRResNetConfig():
            return SRResNet(config.features, config.blocks, scale)


def build_discriminator(config: DiscriminatorConfig, patch: int, *, margin: int = 0) -> nn.Module:
    """Build a discriminator with random weights for square patches.

    Args:
        config: the kind and its width.
        patch: the side of the HR patches.
        margin: by how many pixels its input is larger; VGG-style only.
    """
    if config.name == "unet":
        assert margin == 0
        return UNetDiscriminator(config.features)
    return VGGDiscriminator(patch, config.features, biased=config.name == "spsr", margin=margin)


def build_critics(config: CriticsConfig) -> Critics:
    """Build the critics of all levels with random weights."""
    return Critics(config.levels, config.features, config.largest_features)


def build_autoencoder(config: AutoencoderConfig, *, scale_head: bool = False) -> Autoencoder:
    """Build an auto-encoder with random weights: images to images of the same shape."""
    return Autoencoder(
        bottleneck_channels=config.bottleneck_channels,
        factor=config.factor,
        features=config.features,
        blocks=config.blocks,
        growth=config.growth,
        decoder=config.decoder,
        bicubic_skip=config.bicubic_skip,
        encoder=config.encoder,
        scale_head=scale_head,
    )


def _build_headed(config: RRDBConfig | MSRResNetConfig, scale: int) -> nn.Module:
    return HeadedGenerator(
        config.name,
        config.head,
        config.features,
        config.blocks,
        config.growth if isinstance(config, RRDBConfig) else 32,
        scale,
        icnr=config.icnr,
        init_scale=config.init_scale,
    )


def _build_swinir(config: SwinIRConfig, scale: int) -> nn.Module:
    # Imported late: it brings all of its package's architectures, and only this network needs it.
    from spandrel.architectures.SwinIR import SwinIR

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # raised inside the library
        network: nn.Module = SwinIR(
            img_size=SWINIR_IMAGE_SIDE,
            embed_dim=config.features,
            depths=[config.depth] * config.blocks,
            num_heads=[config.heads] * config.blocks,
            window_size=config.window,
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=config.drop_path,
            upscale=scale,
            upsampler=config.upsampler,
        )
    return network
