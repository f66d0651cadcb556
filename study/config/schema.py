"""The parts of a configuration: frozen, each with its own rules. `run.py` puts them together."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Stage = Literal["fidelity", "autoencoder", "critics", "adversarial"]
Criterion = Literal["l1", "l2"]
PerceptualNetwork = Literal["vgg19", "vgg16", "alexnet", "squeezenet"]
GeneratorName = Literal["rrdb", "msrresnet", "swinir", "spsr", "edsr", "srresnet"]
DegradationName = Literal["bicubic", "aesop-real", "real-esrgan"]
Task = Literal["sr", "denoise", "jpeg"]
Head = Literal["native", "espcn", "sub-pixel", "nearest", "transposed", "pre-upsampling"]
Downsampling = Literal["matlab", "torch", "torch-antialias"]

# Where the fidelity term is measured (METHODS 1.4, 1.6, 5, 6.4, 6.5).
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
Precision = Literal["fp32", "bf16"]
GanKind = Literal["relativistic", "relativistic-joint", "vanilla"]

SPSR_TAPS = 4
"""How many times the gradient branch of SPSR looks into the trunk: it needs as many blocks."""

WITH_HEADS: tuple[GeneratorName, ...] = ("rrdb", "msrresnet")
"""The generators whose trunk can be given another up-sampling head."""

WITHOUT_ENLARGING: tuple[GeneratorName, ...] = ("msrresnet",)
"""The generators that restore images of the size they were given."""


class Frozen(BaseModel):
    """A part of a configuration: immutable, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


class DataConfig(Frozen):
    """Where images come from, and how low-quality ones are made of them.

    `photographs` are the ones that ship with scikit-image and scikit-learn. A degradation other than `bicubic` draws
    anew for each patch of each step (METHODS 1.7: AESOP's real-world values, or Real-ESRGAN's own harsher ones); the
    auto-encoder always learns from clean pairs (1.3).
    """

    train: str = Field("photographs", min_length=1, description="`photographs`, a folder of HR images, or a store")
    val: str | None = Field(None, min_length=1, description="the same; None holds out a part of `train`")
    task: Task = Field("sr", description="super-resolution, or restoring images of the same size (METHODS 6.5)")
    scale: Literal[1, 2, 3, 4] = 4
    degradation: DegradationName = "bicubic"
    sigma: float | None = Field(None, gt=0, le=255, description="denoise: the noise in levels of 255, fresh each step")
    quality: int | None = Field(None, ge=1, le=100, description="jpeg: the quality that libjpeg is asked for")

    @model_validator(mode="after")
    def _task_is_complete(self) -> Self:
        if self.task == "sr" and self.scale == 1:
            raise ValueError("scale must be 2, 3 or 4 for task sr, but got 1; for scale 1 choose denoise or jpeg")
        if self.task != "sr" and (self.scale != 1 or self.degradation != "bicubic"):
            raise ValueError(
                f"task {self.task} keeps the images' size, so scale must be 1 and degradation bicubic, but got "
                f"{self.scale} and {self.degradation}; --task sets both"
            )
        for name, task in (("sigma", "denoise"), ("quality", "jpeg")):
            value = getattr(self, name)
            if self.task == task and value is None:
                raise ValueError(
                    f"task {task} needs its distortion, but {name} is not set; "
                    f"give it as data.{name}=25, or with the task: --task {task}:25"
                )
            if self.task != task and value is not None:
                raise ValueError(f"{name} belongs to task {task}, but the task is {self.task}; leave {name} out")
        return self


# Which fields of `GeneratorConfig` a network reads; the others determine nothing.
_READ_BY: dict[GeneratorName, set[str]] = {
    "rrdb": {"features", "blocks", "growth", "unshuffle", "bilinear_skip"},
    "msrresnet": {"features", "blocks", "init_scale"},
    "edsr": {"features", "blocks", "residual_scale"},
    "srresnet": {"features", "blocks"},
    "swinir": {
        "features",
        "blocks",
        "depth",
        "heads",
        "window",
        "mlp_ratio",
        "drop_path",
        "upsampler",
        "bilinear_skip",
    },
    "spsr": {"features", "blocks", "growth", "bilinear_skip"},
}


class GeneratorConfig(Frozen):
    """The super-resolution network (METHODS 2.1 RRDB, 2.2 SwinIR, 2.3 MSRResNet, 2.4 EDSR, 2.5 SRResNet, 4.2 SPSR)."""

    name: GeneratorName = "rrdb"
    features: int = Field(64, ge=1, le=512, description="width of the trunk; SwinIR's embedding dimension")
    blocks: int = Field(23, ge=1, le=64, description="RRDBs, residual blocks, or SwinIR's groups (RSTB)")
    growth: int = Field(32, ge=1, le=256, description="growth of the dense blocks; RRDB and SPSR")
    init_scale: float = Field(0.1, gt=0, description="of the initial weights; MSRResNet")
    residual_scale: float = Field(1.0, gt=0, le=1, description="of a block's output; EDSR, 0.1 for its large form")
    head: Head = Field("native", description="the up-sampling behind the trunk (METHODS 2.6); RRDB, MSRResNet")
    icnr: bool = Field(False, description="let sub-pixel heads start as nearest-neighbour resizing; espcn, sub-pixel")
    unshuffle: bool = Field(True, description="RRDB at scale 2: shrink the input first, as BasicSR does")
    bilinear_skip: bool = Field(
        False, description="add the enlarged input to the output: for networks trained in minutes; not MSRResNet's own"
    )
    depth: int = Field(6, ge=1, le=64, description="Swin blocks a group; SwinIR")
    heads: int = Field(6, ge=1, le=64, description="attention heads; SwinIR")
    window: Literal[4, 8, 16] = Field(8, description="side of the attention windows in LR pixels; SwinIR")
    mlp_ratio: float = Field(2.0, gt=0, description="hidden width of the MLPs over `features`; SwinIR")
    drop_path: float = Field(0.1, ge=0, lt=1, description="drop-path rate of the last block, in training; SwinIR")
    upsampler: Literal["pixelshuffle", "nearest+conv"] = Field("pixelshuffle", description="SwinIR's head")
    init: str | None = Field(None, min_length=1, description="weight file to start from, in place of a fidelity stage")

    @model_validator(mode="after")
    def _network_exists(self) -> Self:
        if self.name == "swinir" and self.features % self.heads:
            raise ValueError(
                f"features must be a multiple of heads for swinir, but got {self.features} and {self.heads}; "
                "choose a divisor of features for heads"
            )
        if self.name == "spsr" and self.blocks < SPSR_TAPS:
            raise ValueError(f"blocks must be at least {SPSR_TAPS} for spsr, but got {self.blocks}; use more blocks")
        return self

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        if self.head != "native" and self.name not in WITH_HEADS:
            raise ValueError(
                f"head {self.head} goes behind the trunk of {' or '.join(WITH_HEADS)}, but name is {self.name}; "
                "use head native"
            )
        if self.icnr and self.head not in ("espcn", "sub-pixel"):
            raise ValueError(f"icnr starts a head of sub-pixels, but head is {self.head}; use espcn or sub-pixel")
        return self

    @property
    def fidelity_form(self) -> "GeneratorConfig":
        """The PSNR-oriented network that it starts from: itself, but for SPSR the RRDB network of its trunk."""
        if self.name != "spsr":
            return self
        return self.model_copy(update={"name": "rrdb", "unshuffle": False})

    def determining(self, scale: int) -> dict[str, object]:
        """The fields that determine the network at a scale, as plain types; where it starts from is not among them."""
        read = {"name", *_READ_BY[self.name]}
        if self.head != "native":
            read |= {"head", "icnr"}
        if scale != 2 or self.head != "native":
            read -= {"unshuffle"}
        return {name: value for name, value in self.model_dump(mode="json").items() if name in read}


class DiscriminatorConfig(Frozen):
    """The discriminator: VGG-style (METHODS 3.1), SPSR's variant of it, or the U-Net with spectral norm (3.2).

    The VGG-style ones are built for the adversarial stage's patch; `spsr` adds biases and a Kaiming-normal start.
    """

    name: Literal["vgg", "spsr", "unet"] = "vgg"
    features: int = Field(64, ge=1, le=256)


class Budget(Frozen):
    """How much a stage trains."""

    iterations: int = Field(ge=1)
    batch: int = Field(ge=1, le=4096, description="patches a step, over all workers")
    patch: int = Field(ge=8, le=1024, description="HR patch side in pixels")

    @property
    def pixels_per_step(self) -> int:
        """HR pixels seen in a step."""
        return self.batch * self.patch**2


class Optimiser(Frozen):
    """Adam and its schedule, the same for every network of a stage.

    Schedules are relative to the budget, so that a shortened run keeps the shape of the long one.
    """

    learning_rate: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    restarts: int = Field(1, ge=1, description="cosine periods over the budget")
    minimum: float = Field(1e-7, ge=0, description="learning rate at the end of each cosine period")
    milestones: tuple[float, ...] = Field((), description="steps: shares of the budget after which the rate falls")
    gamma: float = Field(0.5, gt=0, le=1, description="steps: what it falls by, each time")
    warmup: int = Field(
        0, ge=0, description="iterations over which the learning rate rises from 0; the papers have none"
    )
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the averaged weights; 0 for no average")

    @model_validator(mode="after")
    def _betas_in_range(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must lie in [0, 1), but got {self.betas}")
        return self

    @model_validator(mode="after")
    def _cosine_falls(self) -> Self:
        if self.schedule == "cosine" and self.minimum > self.learning_rate:
            raise ValueError(
                f"minimum must not exceed learning_rate ({self.learning_rate:g}), but got {self.minimum:g}; lower it"
            )
        return self

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        inside = all(0 < share < 1 for share in self.milestones)
        if not inside or list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(
                f"milestones must be rising shares of the budget between 0 and 1, but got {list(self.milestones)}; "
                "for iteration 50,000 of 400,000 write 0.125"
            )
        if self.schedule == "steps" and not self.milestones:
            raise ValueError("schedule 'steps' needs milestones, but there are none; add some or use 'constant'")
        return self


class FidelityConfig(Frozen):
    """The PSNR-oriented generator every perceptual one starts from: pixel L1 alone (METHODS 2.1, 2.2)."""

    budget: Budget
    optimiser: Optimiser
    seed: int = Field(0, ge=0)


class AutoencoderConfig(Frozen):
    """AESOP's auto-encoder (METHODS 1.2, 1.6, 1.8) and its pre-training (1.3).

    Its decoder up-scales by `factor` by construction, and starts from a PSNR-oriented generator of the decoder's own
    architecture and scale: the run's own where that is the same network, else one trained by `decoder_fidelity` (or,
    without that, by the run's `fidelity`).
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
    seed: int = Field(0, ge=0)

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
        """Whether the bottleneck's colours are pulled towards the LR image; nothing can pull a bicubic encoder."""
        return self.bottleneck_weight > 0 and self.encoder == "learned"


class CriticsConfig(Frozen):
    """MDF's discriminators, one a scale of one photograph's pyramid, and how they are trained (METHODS 6.2)."""

    image: str | None = Field(None, min_length=1, description="name of the training image; None for the first one")
    levels: int = Field(9, ge=2, le=16, description="of the pyramid, coarse to fine")
    used_levels: int = Field(8, ge=1, le=16, description="how many of them, from the coarsest, are compared (6.4)")
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
    seed: int = Field(0, ge=0)

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


class PerceptualLayers(Frozen):
    """Weights of VGG-19's layers, each taken before its ReLU (METHODS 1.5); read with `perceptual_network` vgg19."""

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

    `relativistic` is ESRGAN's GAN with the means detached in the discriminator's step (METHODS 3.3),
    `relativistic-joint` the same with means attached (SPSR, 4.2), `vanilla` the plain one (1.7).
    """

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
    perceptual_target: Literal["hr", "sharpened"] = Field("hr", description="sharpened by USM (METHODS 1.7)")
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
        """Whether the sum has a term that a file of one's own defines."""
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
                "guidance custom is a Python file of yours that defines loss(sr, hr, lq), but custom names none; "
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


class EvalSchedule(Frozen):
    """When the adversarial stage is looked at. It does not change what is trained."""

    evaluate_every: int = Field(5000, ge=1, description="iterations between points")
    evaluate_share: float = Field(
        1.0, gt=0, description="HR pixels evaluated over those trained on, at most; else there are fewer points"
    )
    checkpoint_every: int = Field(1000, ge=1, description="iterations between checkpoints, in every stage")
