"""The training loss of the generator in the adversarial stage."""

from typing import Literal, Self

from pydantic import Field, model_validator

from study.config.training import Frozen

Criterion = Literal["l1", "l2"]
PerceptualNetwork = Literal["vgg19", "vgg16", "alexnet", "squeezenet"]
Downsampling = Literal["matlab", "torch", "torch-antialias"]
GanKind = Literal["relativistic", "relativistic-joint", "vanilla"]
Guidance = Literal[
    "pixel",
    "aesop",
    "bottleneck",
    "loss-map",
    "probabilistic",
    "lr",
    "consistency",
    "mdf",
    "ssim",
    "ms-ssim",
    "custom",
]
AUTOENCODED: tuple[Guidance, ...] = ("aesop", "bottleneck", "loss-map", "probabilistic")
"""Kinds of guidance that compare auto-encoded images."""


class PerceptualLayers(Frozen):
    """Weights of VGG-19's layers, each taken before its ReLU; read with `perceptual_network` vgg19."""

    conv1_2: float = Field(0.1, ge=0)
    conv2_2: float = Field(0.1, ge=0)
    conv3_4: float = Field(1.0, ge=0)
    conv4_4: float = Field(1.0, ge=0)
    conv5_4: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _something_to_compare(self) -> Self:
        if not any(self.model_dump().values()):
            raise ValueError("all layer weights are 0: there is nothing to compare; set loss.perceptual to 0 instead")
        return self


class LossConfig(Frozen):
    """The weighted sum of the adversarial stage. A term of weight zero is neither built nor computed.

    `relativistic` is ESRGAN's GAN with the means detached in the discriminator's step, `relativistic-joint` the same
    with means attached (SPSR), `vanilla` the plain one.
    """

    # Flat, and not a union on `guidance`: a search varies the guidance with all else fixed, every field is a part of
    # the stage's key whatever the guidance, and `loss.FIELD` stays its path. What one guidance alone reads can be
    # changed with that guidance only (`overrides.py`).

    guidance: Guidance = Field("aesop", description="where the fidelity term is measured")
    custom: str | None = Field(
        None,
        min_length=1,
        description="Python file that defines `loss(sr, hr, lq)`, the fidelity term; guidance custom",
    )
    fidelity: float = Field(1.0, ge=0)
    criterion: Criterion = "l1"
    downsampling: Downsampling = Field("matlab", description="what shrinks the SR image again; guidance consistency")
    critics_range: Literal["unit", "signed"] = Field(
        "unit", description="what MDF's critics are shown: images in [0, 1], as its example does, or in [-1, 1]"
    )
    kl: Literal["reverse", "forward"] = Field("reverse", description="direction; guidance probabilistic")
    kl_form: Literal["released", "exact"] = Field("released", description="of the Laplace divergence; probabilistic")
    ldl: float = Field(1.0, ge=0)
    perceptual: float = Field(1.0, ge=0)
    perceptual_network: PerceptualNetwork = "vgg19"
    perceptual_layers: PerceptualLayers = PerceptualLayers()
    perceptual_target: Literal["hr", "sharpened"] = Field("hr", description="sharpened by an unsharp mask")
    adversarial: float = Field(5e-3, ge=0)
    gan: GanKind = "relativistic"
    gradient: float = Field(0.0, ge=0, description="MSE between gradient maps (SPSR)")
    gradient_adversarial: float = Field(0.0, ge=0, description="a second GAN, on gradient maps (SPSR)")
    branch: float = Field(0.0, ge=0, description="L1 of the gradient branch's output (SPSR's generator)")

    @property
    def uses_autoencoder(self) -> bool:
        """Whether the sum has a term that needs the auto-encoder."""
        return self.guidance in AUTOENCODED and self.fidelity > 0

    @property
    def uses_critics(self) -> bool:
        """Whether the sum has a term that needs MDF's critics."""
        return self.guidance == "mdf" and self.fidelity > 0

    @property
    def uses_custom(self) -> bool:
        """Whether the sum has a term that the user's file defines."""
        return self.guidance == "custom" and self.fidelity > 0

    @property
    def uses_discriminator(self) -> bool:
        """Whether the sum has a term that needs a discriminator."""
        return self.adversarial > 0 or self.gradient_adversarial > 0

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term of the sum, by the name it is logged under."""
        return {
            "fidelity": self.fidelity,
            "ldl": self.ldl,
            "perceptual": self.perceptual,
            "adversarial": self.adversarial,
            "gradient": self.gradient,
            "gradient_adversarial": self.gradient_adversarial,
            "branch": self.branch,
        }

    @model_validator(mode="after")
    def _custom_has_its_file(self) -> Self:
        if self.guidance == "custom" and self.custom is None:
            raise ValueError(
                "guidance custom needs a Python file that defines loss(sr, hr, lq), but custom names none; "
                "give it as loss.custom=my_loss.py"
            )
        if self.guidance != "custom" and self.custom is not None:
            raise ValueError(
                f"custom names a Python file, {self.custom}, which guidance custom alone reads, but guidance is "
                f"{self.guidance}; set loss.guidance to custom, or loss.custom to null"
            )
        return self

    @model_validator(mode="after")
    def _something_to_descend(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError("all weights of the loss are 0: nothing would train; set at least one above 0")
        return self
