"""One recipe, completely: the parts, and the rules between them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from study.config.discriminator_patch import check_discriminator_patch
from study.config.schema import (
    WITHOUT_ENLARGING,
    AutoencoderConfig,
    Budget,
    CriticsConfig,
    DataConfig,
    DiscriminatorConfig,
    EvalSchedule,
    FidelityConfig,
    Frozen,
    GeneratorConfig,
    LossConfig,
    Optimiser,
    Precision,
    Stage,
)

SMALLEST_DEGRADED_LR = 11
"""LR pixels a side below which the second-order degradation's kernels no longer fit (METHODS 1.7)."""

SMALLEST_DEGRADED_HR = {"aesop-real": 55, "real-esrgan": 74}
"""The same for its first round, which may shrink the HR patch before it is filtered again."""


SMALLEST_PATCH = {"mdf": 11, "ssim": 11, "ms-ssim": 33}
"""The smallest HR patches that some losses can compare: their windows must fit."""


class RunConfig(Frozen):
    """One recipe, completely."""

    recipe: str
    size: Literal["full", "small", "tiny"]
    seed: int = Field(0, ge=0)
    precision: Precision = Field(
        "fp32", description="what networks compute in while they train; losses and evaluations are fp32"
    )
    data: DataConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    fidelity: FidelityConfig
    autoencoder: AutoencoderConfig
    critics: CriticsConfig = CriticsConfig()
    start: Literal["fidelity", "scratch"] = Field(
        "fidelity", description="what the adversarial stage starts from: the fidelity generator, or random weights"
    )
    loss: LossConfig
    optimiser: Optimiser
    budget: Budget
    fusion_share: float = Field(
        0.0, ge=0, lt=1, description="first share of the budget in which SPSR trains its fusion layers alone"
    )
    eval_schedule: EvalSchedule

    @model_validator(mode="after")
    def _patches_divide(self) -> Self:
        scale, factor = self.data.scale, self.autoencoder.factor
        rules = [("budget.patch", self.budget.patch, scale, "data.scale")]
        if self.trains_fidelity:
            rules += [("fidelity.budget.patch", self.fidelity.budget.patch, scale, "data.scale")]
        if self.loss.uses_autoencoder:
            rules += [("budget.patch", self.budget.patch, factor, "autoencoder.factor")]
            rules += [(field, patch, factor, "autoencoder.factor") for field, patch in self._autoencoder_patches()]
        for field, patch, divisor, name in rules:
            if patch % divisor:
                raise ValueError(
                    f"{field} must be a multiple of {name} ({divisor}), but got {patch}; "
                    f"the nearest are {patch - patch % divisor} and {patch + divisor - patch % divisor}"
                )
        return self

    @model_validator(mode="after")
    def _rrdb_halves_its_input(self) -> Self:
        nets: list[tuple[str, bool, int, int]] = []
        halves = self.generator.name == "rrdb" and self.generator.unshuffle and self.generator.head == "native"
        nets += [("generator", halves, self.data.scale, self.budget.patch)]
        if self.trains_fidelity:
            nets += [("generator", halves, self.data.scale, self.fidelity.budget.patch)]
        if self.loss.uses_autoencoder:
            ae = self.autoencoder
            patches = [self.budget.patch, *(patch for _, patch in self._autoencoder_patches())]
            nets += [("autoencoder.decoder", ae.decoder == "rrdb", ae.factor, patch) for patch in patches]
        for field, halving, scale, patch in nets:
            if halving and scale == 2 and patch % 4:
                raise ValueError(f"{field} rrdb at scale 2 needs HR patches that are a multiple of 4, but got {patch}")
        return self

    @model_validator(mode="after")
    def _discriminator_has_the_patch(self) -> Self:
        if self.loss.uses_discriminator:
            check_discriminator_patch(self.budget.patch, self.discriminator.name)
        return self

    @model_validator(mode="after")
    def _spsr_has_what_it_needs(self) -> Self:
        spsr = self.generator.name == "spsr"
        if self.loss.branch > 0 and not spsr:
            raise ValueError(
                f"loss.branch evaluates the gradient branch of generator spsr, but generator.name is "
                f"{self.generator.name}; set loss.branch to 0"
            )
        if self.fusion_share > 0 and not spsr:
            raise ValueError(
                f"fusion_share is about the fusion layers of generator spsr, but generator.name is "
                f"{self.generator.name}; set fusion_share to 0"
            )
        if self.loss.gradient_adversarial > 0 and self.discriminator.name == "unet":
            raise ValueError(
                "loss.gradient_adversarial needs a VGG-style discriminator, for gradient maps are 2 pixels larger "
                "than the patch, but discriminator.name is unet; choose vgg or spsr, or set the weight to 0"
            )
        return self

    @model_validator(mode="after")
    def _head_has_the_scale(self) -> Self:
        if self.generator.name == "swinir" and self.generator.upsampler == "nearest+conv" and self.data.scale != 4:
            raise ValueError(
                f"generator.upsampler nearest+conv enlarges by 4 alone, but data.scale is {self.data.scale}; "
                "use pixelshuffle"
            )
        return self

    @model_validator(mode="after")
    def _start_is_one(self) -> Self:
        if self.start == "scratch" and self.generator.init is not None:
            raise ValueError(
                f"start scratch means random weights, but generator.init names {self.generator.init}; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _task_has_a_network(self) -> Self:
        if self.data.task != "sr" and (self.generator.name not in WITHOUT_ENLARGING or self.generator.head != "native"):
            raise ValueError(
                f"data.task {self.data.task} needs a generator that keeps the images' size, "
                f"{' or '.join(WITHOUT_ENLARGING)} with head native, but generator.name is {self.generator.name} with "
                f"head {self.generator.head}; --task chooses it"
            )
        return self

    @model_validator(mode="after")
    def _guidance_has_what_it_compares(self) -> Self:
        guidance, patch = self.loss.guidance, self.budget.patch
        exact = self.data.task == "sr" and self.data.degradation == "bicubic"
        if guidance == "consistency" and self.loss.fidelity > 0 and not exact:
            raise ValueError(
                "loss.guidance consistency shrinks the SR image by what made the LR image, so it needs data.task sr "
                f"and data.degradation bicubic, but got {self.data.task} and {self.data.degradation}"
            )
        smallest = SMALLEST_PATCH.get(guidance, 0)
        if self.loss.fidelity > 0 and patch < smallest:
            raise ValueError(
                f"budget.patch must be at least {smallest} for loss.guidance {guidance}, but got {patch}; enlarge it"
            )
        return self

    @model_validator(mode="after")
    def _patches_can_be_degraded(self) -> Self:
        if self.data.degradation == "bicubic":
            return self
        smallest = max(SMALLEST_DEGRADED_HR[self.data.degradation], SMALLEST_DEGRADED_LR * self.data.scale)
        patches = [("budget.patch", self.budget.patch)]
        if self.trains_fidelity:
            patches.append(("fidelity.budget.patch", self.fidelity.budget.patch))
        for field, patch in patches:
            if patch < smallest:
                raise ValueError(
                    f"{field} must be at least {smallest} for data.degradation {self.data.degradation}, whose kernels "
                    f"would not fit otherwise, but got {patch}; enlarge it"
                )
        return self

    def _autoencoder_patches(self) -> list[tuple[str, int]]:
        """The patches that the auto-encoder's own stages cut."""
        ae = self.autoencoder
        if ae.init is not None:
            return []
        patches = [("autoencoder.budget.patch", ae.budget.patch)]
        if ae.decoder_init is None and (self.generator.init is None or not self.decoder_is_generator):
            start = ae.decoder_fidelity
            field = "fidelity.budget.patch" if start is None else "autoencoder.decoder_fidelity.budget.patch"
            patches.append((field, (start or self.fidelity).budget.patch))
        return patches

    @property
    def decoder_is_generator(self) -> bool:
        """Whether the decoder is the very network that the run's fidelity stage trains."""
        ae, own = self.autoencoder, self.generator.fidelity_form
        if (ae.decoder, ae.factor) != (own.name, self.data.scale):
            return False
        widths = {"features": ae.features, "blocks": ae.blocks, "growth": ae.growth}
        decoder = {**widths, "unshuffle": True, "bilinear_skip": False, "head": "native", "icnr": False}
        return own.model_copy(update=decoder).determining(ae.factor) == own.determining(ae.factor)

    @property
    def has_scale_head(self) -> bool:
        """Whether the auto-encoder predicts how sure it is of each pixel (METHODS 1.6, probabilistic)."""
        return self.loss.uses_autoencoder and self.loss.guidance == "probabilistic"

    @property
    def trains_fidelity(self) -> bool:
        """Whether the run itself trains the generator that it starts from."""
        return self.start == "fidelity" and self.generator.init is None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages this run needs, upstream first."""
        needed: dict[Stage, bool] = {
            "fidelity": self.start == "fidelity",
            "autoencoder": self.loss.uses_autoencoder,
            "critics": self.loss.uses_critics,
            "adversarial": True,
        }
        return tuple(stage for stage, wanted in needed.items() if wanted)

    @property
    def largest_patch(self) -> int:
        """The largest HR patch any of its stages cuts, in pixels."""
        patches = [self.budget.patch]
        if self.trains_fidelity:
            patches.append(self.fidelity.budget.patch)
        if self.loss.uses_autoencoder:
            patches += [patch for _, patch in self._autoencoder_patches()]
        return max(patches)
