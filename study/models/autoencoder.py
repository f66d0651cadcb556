"""AESOP's auto-encoder (Lee et al., CVPR 2025) with variable bottleneck, factor and decoder; docs/methods/aesop.md."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.bicubic import bicubic_downsample
from study.models.layers import check_images, leaky_relu, scale_kaiming_init
from study.models.msrresnet import MSRResNet
from study.models.nearest import enlarge_and_convolve
from study.models.rrdb import RRDB, RRDBNet
from study.models.strict_state import check_state

DecoderName = Literal["rrdb", "msrresnet"]
EncoderName = Literal["learned", "bicubic"]

ENCODER_BLOCKS = 2
SKIP_START_SCALE = 0.1

# Two pixel-unshuffles by 2 order channels differently from one by 4; released weights expect two.
UNSHUFFLES: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 3: (3,), 4: (2, 2)}


class Autoencoder(nn.Module):
    """Encode an image into a small unbounded map and decode it into its expected, blurry version.

    Args:
        bottleneck_channels: channels of the map between encoder and decoder; 3 make it an LR image.
        factor: ratio of the image's side to the bottleneck's, and the decoder's up-scaling: 1 to 4.
        features: width of both trunks. Where it is no multiple of factor squared, a narrower stem (at least one
            channel) is followed by a 1x1 convolution to this width.
        blocks: blocks of the decoder; the encoder always has two RRDBs.
        growth: growth of the dense blocks in the encoder and in an RRDB decoder.
        decoder: the decoder's architecture.
        bicubic_skip: add the bicubic-downsampled image to the first three bottleneck channels, and start
            the encoder's last convolution small. Small auto-encoders need it to converge (measured); released weights
            were trained without.
        encoder: "bicubic" replaces the encoder by torch's antialiased bicubic resize, without parameters; the
            bottleneck is then an LR image (docs/methods/aesop-ablations.md).
        scale_head: predict a scale, the expected error, beside each value (docs/methods/aesop-ablations.md).

    Raises:
        ValueError: if the decoder has no such up-scaling, the skip has no three channels to go to, or the bicubic
            encoder is given another bottleneck than three channels.
    """

    def __init__(
        self,
        bottleneck_channels: int = 3,
        factor: int = 4,
        features: int = 64,
        blocks: int = 23,
        growth: int = 32,
        decoder: DecoderName = "rrdb",
        bicubic_skip: bool = False,
        encoder: EncoderName = "learned",
        scale_head: bool = False,
    ) -> None:
        _check_settings(bottleneck_channels, factor, bicubic_skip, encoder)
        super().__init__()
        widths = f"{bottleneck_channels=}, {factor=}, {features=}, {blocks=}, {growth=}"
        self.settings = f"{widths}, {decoder=}, {bicubic_skip=}, {encoder=}, {scale_head=}"
        self.factor = factor
        self.bicubic_skip = bicubic_skip
        self.encoder_name = encoder
        if encoder == "learned":
            self._add_encoder(features, growth, bottleneck_channels)
        self.decoder = _build_decoder(decoder, features, blocks, growth, factor, bottleneck_channels)
        self.scale_head = _ScaleHead(features, growth, self.decoder.upsamplings) if scale_head else None

    @property
    def bottleneck_channels(self) -> int:
        """Channels of the map between encoder and decoder."""
        return self.decoder.in_channels

    @property
    def input_multiple(self) -> int:
        """The sides of an image must be multiples of this number."""
        return self.factor * self.decoder.input_multiple

    def _add_encoder(self, features: int, growth: int, bottleneck_channels: int) -> None:
        stem = max(1, features // self.factor**2)
        unshuffled = stem * self.factor**2
        self.conv_first = nn.Sequential(nn.Conv2d(3, stem, 3, padding=1), nn.Conv2d(stem, stem, 3, padding=1))
        self.conv_match = nn.Conv2d(unshuffled, features, 1) if unshuffled != features else nn.Identity()
        self.body = nn.Sequential(*(RRDB(features, growth) for _ in range(ENCODER_BLOCKS)))
        last = nn.Conv2d(features, bottleneck_channels, 3, padding=1)
        self.conv_last = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), last)
        for sequence in (self.conv_first, self.conv_last):
            scale_kaiming_init(*(conv for conv in sequence if isinstance(conv, nn.Conv2d)))
        if self.bicubic_skip:
            last.weight.data.mul_(SKIP_START_SCALE)

    def extra_repr(self) -> str:
        return self.settings

    def encode(self, hr: Tensor) -> Tensor:
        """Encode images, RGB in [0, 1], shape (N, 3, H, W).

        Returns:
            Bottlenecks, unbounded, shape (N, bottleneck_channels, H / factor, W / factor).

        Raises:
            ValueError: if H or W is no multiple of the factor.
        """
        check_images(hr, network="Autoencoder's encoder", channels=3, multiple=self.factor)
        if self.encoder_name == "bicubic":
            return F.interpolate(hr, scale_factor=1 / self.factor, mode="bicubic", antialias=True)
        features = self.conv_first(hr)
        for step in UNSHUFFLES[self.factor]:
            features = F.pixel_unshuffle(features, step)
        bottleneck = self.conv_last(self.body(self.conv_match(features)))
        return self._add_downsampled(bottleneck, hr) if self.bicubic_skip else bottleneck

    def _add_downsampled(self, bottleneck: Tensor, hr: Tensor) -> Tensor:
        lq = bicubic_downsample(hr, self.factor)
        further_channels = self.bottleneck_channels - 3
        return bottleneck + F.pad(lq, (0, 0, 0, 0, 0, further_channels))

    def decode(self, bottleneck: Tensor) -> Tensor:
        """Decode bottlenecks, shape (N, bottleneck_channels, h, w).

        Returns:
            RGB nominally in [0, 1], not clamped, shape (N, 3, factor * h, factor * w).

        Raises:
            ValueError: if the channels or, for an RRDB decoder of factor 1 or 2, the sides do not fit.
        """
        return self.decoder(bottleneck)

    def forward(self, hr: Tensor) -> Tensor:
        """Reconstruct images, RGB in [0, 1], shape (N, 3, H, W) kept; the result is not clamped.

        Raises:
            ValueError: if H or W is no multiple of `input_multiple`.
        """
        check_images(hr, network="Autoencoder", channels=3, multiple=self.input_multiple)
        return self.decode(self.encode(hr))

    def distribution(self, hr: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the mean and the scale of a Laplace distribution for each value of the reconstruction.

        Args:
            hr: RGB in [0, 1], shape (N, 3, H, W).

        Returns:
            Mean and scale, both unbounded and of the shape of `hr`; the scale is not constrained to be positive.

        Raises:
            ValueError: if H or W is no multiple of `input_multiple`, or the auto-encoder has no scale head.
        """
        check_images(hr, network="Autoencoder", channels=3, multiple=self.input_multiple)
        return self.decode_distribution(self.encode(hr))

    def decode_distribution(self, bottleneck: Tensor) -> tuple[Tensor, Tensor]:
        """Decode bottlenecks into means and scales, as `distribution`."""
        if self.scale_head is None:
            raise ValueError("this Autoencoder has no scale head; build it with scale_head=True")
        mean, first, last = self.decoder.forward_with_features(bottleneck)
        return mean, self.scale_head(first + last)

    def load_fidelity(self, generator_state: Mapping[str, Tensor]) -> list[str]:
        """Initialise the decoder from a fidelity generator of its architecture, widths and scale.

        With another bottleneck than three channels, the first convolution gets the generator's RGB weights
        for up to three of its first channels. Weights of further channels are zeroed with
        `bicubic_skip`, so that the decoder starts as the generator on the bicubic image; without it they
        keep their random start.

        Args:
            generator_state: state dict of an `RRDBNet` or `MSRResNet` with three input channels.

        Returns:
            Names in `generator_state` that were copied in part only.

        Raises:
            ValueError: if anything else does not fit; the decoder is then unchanged.
        """
        first = "conv_first.weight"
        current = self.decoder.state_dict()
        shapes = {name: tensor.shape for name, tensor in current.items()}
        out_channels, _, *kernel = shapes[first]
        # A decoder that un-shuffles its input sees each bottleneck channel as a run of neighbours.
        run = self.decoder.input_multiple**2
        shapes[first] = torch.Size((out_channels, 3 * run, *kernel))
        check_state(generator_state, shapes, source="the fidelity generator's state", network=self.decoder)
        if self.bottleneck_channels == 3:
            self.decoder.load_state_dict(generator_state)
            return []
        fitted = self._fit_first_weight(generator_state[first], current[first], min(3, self.bottleneck_channels) * run)
        self.decoder.load_state_dict({**generator_state, first: fitted})
        return [first]

    def _fit_first_weight(self, rgb_weight: Tensor, current: Tensor, shared: int) -> Tensor:
        fitted = torch.zeros_like(current) if self.bicubic_skip else current.clone()
        fitted[:, :shared] = rgb_weight[:, :shared]
        return fitted


class _ScaleHead(nn.Module):
    """Map the decoder's features to a scale for each value of the image."""

    def __init__(self, features: int, growth: int, upsamplings: tuple[int, ...]) -> None:
        super().__init__()
        self.upsamplings = upsamplings
        self.block = RRDB(features, growth)
        self.conv_first = nn.Conv2d(features, 3, 3, padding=1)
        for step in range(1, len(upsamplings) + 1):
            self.add_module(f"conv_up{step}", nn.Conv2d(3, 3, 3, padding=1))
        self.conv_hr = nn.Conv2d(3, 3, 3, padding=1)
        self.conv_last = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        scale = self.conv_first(self.block(features))
        for step, factor in enumerate(self.upsamplings, start=1):
            scale = leaky_relu(enlarge_and_convolve(scale, getattr(self, f"conv_up{step}"), factor))
        return self.conv_last(leaky_relu(self.conv_hr(scale)))


def _check_settings(bottleneck_channels: int, factor: int, bicubic_skip: bool, encoder: EncoderName) -> None:
    if bottleneck_channels < 1:
        raise ValueError(f"Autoencoder's bottleneck_channels must be at least 1, but got {bottleneck_channels=}")
    if factor not in UNSHUFFLES:
        raise ValueError(
            "Autoencoder's factor must be 1, 2, 3 or 4, as the decoders' up-scaling, "
            f"but got {factor=}; choose one of these"
        )
    if bicubic_skip and bottleneck_channels < 3:
        raise ValueError(
            "Autoencoder's bicubic_skip adds an RGB image, so bottleneck_channels must be at least 3, "
            f"but got {bottleneck_channels=}; widen the bottleneck or switch bicubic_skip off"
        )
    if encoder == "bicubic" and bottleneck_channels != 3:
        raise ValueError(
            "Autoencoder's bicubic encoder makes an RGB image, so bottleneck_channels must be 3, "
            f"but got {bottleneck_channels=}; use 3 or the learned encoder"
        )


def _build_decoder(
    name: DecoderName, features: int, blocks: int, growth: int, factor: int, bottleneck_channels: int
) -> RRDBNet | MSRResNet:
    match name:
        case "rrdb":
            return RRDBNet(features, blocks, growth, factor, in_channels=bottleneck_channels)
        case "msrresnet":
            return MSRResNet(features, blocks, factor, in_channels=bottleneck_channels)
    raise ValueError(f"Autoencoder's decoder must be rrdb or msrresnet, but got {name!r}")
