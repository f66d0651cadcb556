"""The generators: one configuration a network, a union on `name` (docs/methods/generators.md)."""

from typing import Annotated, Literal, Self, cast, get_args

from pydantic import Field, TypeAdapter, model_validator

from study.config.training import Frozen

GeneratorName = Literal["rrdb", "msrresnet", "swinir", "spsr", "edsr", "srresnet"]
Head = Literal["native", "espcn", "sub-pixel", "nearest", "transposed", "pre-upsampling"]

SPSR_TAPS = 4
"""How many features of the trunk SPSR's gradient branch reads: it needs as many blocks."""

WITHOUT_ENLARGING: tuple[GeneratorName, ...] = ("msrresnet",)
"""The generators that restore images of the size they were given."""


class _Generator(Frozen):
    """Fields of every generator.

    `init_scale` belongs to MSRResNet, but a run reads it for an MSRResNet decoder too, whatever its generator is.
    """

    name: GeneratorName
    features: int = Field(64, ge=1, le=512, description="width of the trunk; SwinIR's embedding dimension")
    blocks: int = Field(23, ge=1, le=64, description="RRDBs, residual blocks, or SwinIR's groups (RSTB)")
    init_scale: float = Field(0.1, gt=0, description="of an MSRResNet's initial weights, as generator or decoder")
    init: str | None = Field(None, min_length=1, description="weight file to start from, in place of a fidelity stage")

    @property
    def has_native_head(self) -> bool:
        """Whether the up-sampling is the architecture's own."""
        return True

    @property
    def adds_skip(self) -> bool:
        """Whether the enlarged input is added to the output of the network."""
        return False

    @property
    def fidelity_form(self) -> "GeneratorConfig":
        """The PSNR-oriented network that it starts from: itself, but for SPSR the RRDB network of its trunk."""
        return cast("GeneratorConfig", self)

    def determining(self, scale: int) -> dict[str, object]:
        """Return the fields that determine the network at a scale, as plain types, without its initial weights."""
        return self.model_dump(mode="json", exclude=self._irrelevant(scale))

    def _irrelevant(self, scale: int) -> set[str]:
        del scale
        return {"init", "init_scale"}


class _WithHead(_Generator):
    """A generator whose trunk can be given another up-sampling head (docs/methods/consistency.md)."""

    head: Head = Field("native", description="the up-sampling behind the trunk")
    icnr: bool = Field(False, description="let sub-pixel heads start as nearest-neighbour resizing; espcn, sub-pixel")

    @model_validator(mode="after")
    def _icnr_has_sub_pixels(self) -> Self:
        if self.icnr and self.head not in ("espcn", "sub-pixel"):
            raise ValueError(f"icnr starts a head of sub-pixels, but head is {self.head}; use espcn or sub-pixel")
        return self

    @property
    def has_native_head(self) -> bool:
        return self.head == "native"

    def _irrelevant(self, scale: int) -> set[str]:
        return super()._irrelevant(scale) | ({"head", "icnr"} if self.has_native_head else set())


class _WithSkip(_Generator):
    bilinear_skip: bool = Field(
        False, description="add the enlarged input to the output; in no paper, for networks trained in minutes"
    )

    @property
    def adds_skip(self) -> bool:
        return self.bilinear_skip


class RRDBConfig(_WithHead, _WithSkip):
    """ESRGAN's network."""

    name: Literal["rrdb"] = "rrdb"
    growth: int = Field(32, ge=1, le=256, description="growth of the dense blocks")
    unshuffle: bool = Field(True, description="at scale 2: shrink the input first, as BasicSR does")

    def shrinks_input(self, scale: int) -> bool:
        """Whether the network halves its input, which must then have even sides."""
        return scale == 2 and self.unshuffle and self.has_native_head

    def _irrelevant(self, scale: int) -> set[str]:
        decides = scale == 2 and self.has_native_head
        return super()._irrelevant(scale) | (set() if decides else {"unshuffle"})


class MSRResNetConfig(_WithHead):
    """BasicSR's SRResNet without batch norm; it adds the enlarged input itself, and keeps that with another head."""

    name: Literal["msrresnet"] = "msrresnet"

    @property
    def adds_skip(self) -> bool:
        return not self.has_native_head

    def _irrelevant(self, scale: int) -> set[str]:
        return super()._irrelevant(scale) - {"init_scale"}


class SwinIRConfig(_WithSkip):
    """SwinIR, for classical super-resolution."""

    name: Literal["swinir"] = "swinir"
    depth: int = Field(6, ge=1, le=64, description="Swin blocks a group")
    heads: int = Field(6, ge=1, le=64, description="attention heads")
    window: Literal[4, 8, 16] = Field(8, description="side of the attention windows in LR pixels")
    mlp_ratio: float = Field(2.0, gt=0, description="hidden width of the MLPs over `features`")
    drop_path: float = Field(0.1, ge=0, lt=1, description="drop-path rate of the last block, in training")
    upsampler: Literal["pixelshuffle", "nearest+conv"] = "pixelshuffle"

    @model_validator(mode="after")
    def _heads_divide_features(self) -> Self:
        if self.features % self.heads:
            raise ValueError(
                f"features must be a multiple of heads for swinir, but got {self.features} and {self.heads}; "
                "choose a divisor of features for heads"
            )
        return self


class SPSRConfig(_WithSkip):
    """SPSR's network: an RRDB trunk and a gradient branch."""

    name: Literal["spsr"] = "spsr"
    growth: int = Field(32, ge=1, le=256, description="growth of the dense blocks")

    @model_validator(mode="after")
    def _trunk_has_taps(self) -> Self:
        if self.blocks < SPSR_TAPS:
            raise ValueError(f"blocks must be at least {SPSR_TAPS} for spsr, but got {self.blocks}; use more blocks")
        return self

    @property
    def fidelity_form(self) -> RRDBConfig:
        """The RRDB network of its trunk."""
        return RRDBConfig(**self.model_dump(exclude={"name"}), unshuffle=False)


class EDSRConfig(_Generator):
    """EDSR."""

    name: Literal["edsr"] = "edsr"
    residual_scale: float = Field(1.0, gt=0, le=1, description="of a block's output; 0.1 for its large form")


class SRResNetConfig(_Generator):
    """SRResNet, with batch norm."""

    name: Literal["srresnet"] = "srresnet"


GeneratorConfig = Annotated[
    RRDBConfig | MSRResNetConfig | SwinIRConfig | SPSRConfig | EDSRConfig | SRResNetConfig,
    Field(discriminator="name"),
]

GENERATORS: dict[str, type[_Generator]] = {
    kind.model_fields["name"].default: kind for kind in get_args(get_args(GeneratorConfig)[0])
}
"""The configuration of each network by its name."""

_ANY: TypeAdapter[GeneratorConfig] = TypeAdapter(GeneratorConfig)


def generator_config(values: dict[str, object]) -> GeneratorConfig:
    """Build the configuration of the network `values["name"]`; pydantic.ValidationError where it is invalid."""
    return _ANY.validate_python(values)
