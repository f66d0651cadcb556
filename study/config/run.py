"""A complete run: its parts, and the rules between them."""

from typing import Literal, Self

from pydantic import Field, model_validator

from study.config.data import DataConfig, LargestPatch
from study.config.discriminator_patch import check_discriminator_batch, check_discriminator_patch
from study.config.generators import WITHOUT_ENLARGING, GeneratorConfig, MSRResNetConfig, RRDBConfig, SwinIRConfig
from study.config.losses import LossConfig
from study.config.networks import AutoencoderConfig, CriticsConfig, DiscriminatorConfig
from study.config.training import Budget, EvalSchedule, FidelityConfig, Frozen, Optimiser, Precision, Stage

SMALLEST_DEGRADED_LR = 11
"""LR pixels a side below which the second-order degradation's kernels no longer fit (docs/methods/aesop.md)."""

SMALLEST_DEGRADED_HR = {"aesop-real": 55, "real-esrgan": 74}
"""The same for its first round, which may shrink the HR patch before it is filtered again."""


SMALLEST_PATCH = {"mdf": 11, "ssim": 11, "ms-ssim": 33}
"""The smallest HR patches of some kinds of guidance: their windows must fit."""


class RunConfig(Frozen):
    """A complete run of one recipe."""

    recipe: str
    size: Literal["full", "small", "tiny"]
    seed: int = Field(0, ge=0, lt=2**63)
    precision: Precision = Field("fp32", description="of the networks in training; losses and evaluations are fp32")
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
        halves = isinstance(self.generator, RRDBConfig) and self.generator.shrinks_input(self.data.scale)
        nets = [("generator", halves, self.budget.patch)]
        if self.trains_fidelity:
            nets += [("generator", halves, self.fidelity.budget.patch)]
        if self.loss.uses_autoencoder:
            halves = self.autoencoder.decoder == "rrdb" and self.autoencoder.factor == 2
            patches = [self.budget.patch, *(patch for _, patch in self._autoencoder_patches())]
            nets += [("autoencoder.decoder", halves, patch) for patch in patches]
        for field, halving, patch in nets:
            if halving and patch % 4:
                raise ValueError(f"{field} rrdb at scale 2 needs HR patches that are a multiple of 4, but got {patch}")
        return self

    @model_validator(mode="after")
    def _discriminator_has_the_patch(self) -> Self:
        if self.loss.uses_discriminator:
            check_discriminator_patch(self.budget.patch, self.discriminator.name, "budget.patch")
            check_discriminator_batch(self.budget.batch, self.budget.patch, self.discriminator.name)
        return self

    @model_validator(mode="after")
    def _spsr_has_what_it_needs(self) -> Self:
        spsr = self.generator.name == "spsr"
        if self.loss.branch > 0 and not spsr:
            raise ValueError(
                f"loss.branch is a term of the gradient branch of generator spsr, but generator.name is "
                f"{self.generator.name}; set loss.branch to 0"
            )
        if self.fusion_share > 0 and not spsr:
            raise ValueError(
                f"fusion_share is a share for the fusion layers of generator spsr, but generator.name is "
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
        generator, scale = self.generator, self.data.scale
        if isinstance(generator, SwinIRConfig) and generator.upsampler == "nearest+conv" and scale != 4:
            raise ValueError(
                f"generator.upsampler nearest+conv enlarges by 4 alone, but data.scale is {scale}; use pixelshuffle"
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
        name, head = self.generator.name, getattr(self.generator, "head", "native")
        if self.data.task != "sr" and (name not in WITHOUT_ENLARGING or head != "native"):
            raise ValueError(
                f"data.task {self.data.task} needs a generator that keeps the images' size, "
                f"{' or '.join(WITHOUT_ENLARGING)} with head native, but generator.name is {name} with head {head}; "
                "--task chooses it"
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
        """Return the HR patches of the auto-encoder's stages, by field."""
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
    def decoder_network(self) -> RRDBConfig | MSRResNetConfig:
        """The generator of the decoder's architecture, from which the decoder's weights come."""
        ae, init_scale = self.autoencoder, self.generator.init_scale
        if ae.decoder == "rrdb":
            return RRDBConfig(features=ae.features, blocks=ae.blocks, growth=ae.growth, init_scale=init_scale)
        return MSRResNetConfig(features=ae.features, blocks=ae.blocks, init_scale=init_scale)

    @property
    def decoder_is_generator(self) -> bool:
        """Whether the decoder is the very network that the run's fidelity stage trains."""
        scale = self.autoencoder.factor
        if scale != self.data.scale:
            return False
        return self.decoder_network.determining(scale) == self.generator.fidelity_form.determining(scale)

    @property
    def has_scale_head(self) -> bool:
        """Whether the auto-encoder predicts a scale for each pixel (guidance probabilistic)."""
        return self.loss.uses_autoencoder and self.loss.guidance == "probabilistic"

    @property
    def trains_fidelity(self) -> bool:
        """Whether the run trains the generator that it starts from."""
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

    def largest_patch(self, until: Stage = "adversarial") -> LargestPatch:
        """Return the largest HR patch of the stages up to one."""
        fidelity = [("fidelity.budget.patch", self.fidelity.budget.patch)]
        by_stage = {"fidelity": fidelity, "autoencoder": self._autoencoder_patches(), "critics": []}
        patches = by_stage.get(until, [("budget.patch", self.budget.patch)])
        if until == "adversarial":
            patches += fidelity if self.trains_fidelity else []
            patches += self._autoencoder_patches() if self.loss.uses_autoencoder else []
        return max((LargestPatch(patch, field) for field, patch in patches), default=LargestPatch(1, "critics"))
