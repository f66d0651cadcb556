"""The networks beside the generator: discriminator, auto-encoder, MDF's critics, and the training of the last two."""

from typing import Literal, Self

from pydantic import Field, model_validator

from study.config.training import Budget, FidelityConfig, Frozen, Optimiser


class DiscriminatorConfig(Frozen):
    """The discriminator: VGG-style, SPSR's variant of it, or the U-Net with spectral norm (Real-ESRGAN).

    The VGG-style ones are built for the adversarial stage's patch; `spsr` adds biases and a Kaiming-normal start.
    """

    name: Literal["vgg", "spsr", "unet"] = "vgg"
    features: int = Field(64, ge=1, le=256)


class AutoencoderConfig(Frozen):
    """AESOP's auto-encoder and its pre-training (docs/methods/aesop.md, docs/methods/aesop-ablations.md).

    Its decoder up-scales by `factor` and starts from a PSNR-oriented generator of the same architecture and scale: the
    run's generator if that is the same network, else one trained by `decoder_fidelity` (or, without that, as by the
    run's `fidelity`).
    """

    bottleneck_channels: int = Field(3, ge=1, le=768)
    factor: Literal[2, 3, 4] = 4
    features: int = Field(64, ge=1, le=512)
    blocks: int = Field(23, ge=1, le=64)
    growth: int = Field(32, ge=1, le=256)
    encoder: Literal["learned", "bicubic"] = Field("learned", description="bicubic is an ablation without parameters")
    decoder: Literal["rrdb", "msrresnet"] = "rrdb"
    bicubic_skip: bool = False
    bottleneck_weight: float = Field(1.0, ge=0, description="weight of L1(bottleneck's RGB, bicubic LR)")
    scale_weight: float = Field(1.0, gt=0, description="weight of L1(scale map, |A(x) - x|); probabilistic alone")
    frozen_decoder: float = Field(0.0, ge=0, le=1, description="share of the budget with the decoder frozen")
    init: str | None = Field(
        None, min_length=1, description="weight file of a whole auto-encoder, in place of training"
    )
    decoder_init: str | None = Field(None, min_length=1, description="weight file that the decoder starts from")
    decoder_fidelity: FidelityConfig | None = None
    budget: Budget
    optimiser: Optimiser
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _rgb_in_bottleneck(self) -> Self:
        needs = [("bicubic_skip", self.bicubic_skip, "false"), ("bottleneck_weight", self.bottleneck_weight > 0, "0")]
        for field, on, off in needs:
            if on and self.bottleneck_channels < 3:
                raise ValueError(
                    f"{field} needs the three colours in the bottleneck, but bottleneck_channels is "
                    f"{self.bottleneck_channels}; use 3 or more, or set {field} to {off}"
                )
        return self

    @model_validator(mode="after")
    def _bicubic_encoder_fits(self) -> Self:
        if self.encoder == "bicubic" and self.bottleneck_channels != 3:
            raise ValueError(
                f"the bicubic encoder makes an image, so bottleneck_channels must be 3, but got "
                f"{self.bottleneck_channels}; use 3, or encoder 'learned'"
            )
        if self.encoder == "bicubic" and self.frozen_decoder == 1 and self.init is None:
            raise ValueError(
                "a bicubic encoder with a decoder that stays frozen has nothing to train; lower frozen_decoder below 1"
            )
        return self

    @property
    def trains_bottleneck(self) -> bool:
        """Whether the loss of the bottleneck's colours trains anything: a bicubic encoder has no parameters."""
        return self.bottleneck_weight > 0 and self.encoder == "learned"


class CriticsConfig(Frozen):
    """MDF's discriminators, one a scale of one photograph's pyramid, and how they are trained (docs/methods/mdf.md)."""

    image: str | None = Field(None, min_length=1, description="name of the training image; None for the first one")
    levels: int = Field(9, ge=2, le=16, description="of the pyramid, coarse to fine")
    used_levels: int = Field(8, ge=1, le=16, description="how many of them, from the coarsest, are compared")
    smallest_side: int = Field(25, ge=11, description="shorter side of the coarsest level in pixels")
    largest_side: int = Field(250, ge=16, description="longer side of the finest level in pixels")
    features: int = Field(32, ge=1, le=512, description="width of the first four levels")
    largest_features: int = Field(128, ge=1, le=512, description="widths double every four levels up to this")
    iterations: int = Field(1000, ge=1, description="a level")
    steps: int = Field(3, ge=1, description="of the critic, then of its generator, in an iteration")
    learning_rate: float = Field(5e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    decay_at: float = Field(0.8, gt=0, le=1, description="share of a level after which the rate falls to a tenth")
    penalty: float = Field(0.1, ge=0, description="weight of the gradient penalty")
    reconstruction: float = Field(10.0, ge=0, description="weight of the generator's MSE")
    init: str | None = Field(None, min_length=1, description="weight file of all critics, in place of training")
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        if self.used_levels > self.levels:
            raise ValueError(
                f"used_levels must not exceed levels ({self.levels}), but got {self.used_levels}; lower it"
            )
        if self.largest_side <= self.smallest_side:
            raise ValueError(
                f"largest_side must exceed smallest_side ({self.smallest_side}), but got {self.largest_side}; raise it"
            )
        return self
