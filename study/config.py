"""What a run is: frozen, validated configuration, its hash, and the one door between plain dicts and it.

The words are DESIGN's: a `RunConfig` describes one recipe completely; each of its stages is determined by a part of it
(`stage_part`), and that part alone decides whether two runs may share an artifact (`stage_key`).
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from study.patch_rule import check_discriminator_patch

Stage = Literal["fidelity", "autoencoder", "adversarial"]
Guidance = Literal["pixel", "aesop"]
Criterion = Literal["l1", "l2"]
PerceptualNetwork = Literal["vgg19", "alexnet", "squeezenet"]

# Part of every artifact's key. Raised whenever the same configuration would train to other weights than before.
NUMERICS_VERSION = 1


class ConfigError(ValueError):
    """A configuration that cannot be: names the field, the rule, the value and the remedy."""


class Frozen(BaseModel):
    """A part of a configuration: immutable, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


class DataConfig(Frozen):
    """Where images come from. `photographs` are the ones that ship with scikit-image and scikit-learn."""

    train: str = Field("photographs", min_length=1, description="`photographs`, a folder of HR images, or a store")
    test: str | None = Field(None, min_length=1, description="the same; None holds out a part of `train`")
    scale: Literal[2, 3, 4] = 4


class GeneratorConfig(Frozen):
    """The super-resolution network (METHODS 2.1, 2.3)."""

    name: Literal["rrdb", "msrresnet"] = "rrdb"
    features: int = Field(64, ge=1, le=512)
    blocks: int = Field(23, ge=1, le=64)
    growth: int = Field(32, ge=1, le=256, description="growth of the dense blocks; RRDB only")
    init_scale: float = Field(0.1, gt=0, description="of the initial weights; MSRResNet only")


class DiscriminatorConfig(Frozen):
    """The VGG-style discriminator (METHODS 3.1); its input size is the adversarial stage's patch."""

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
    """Adam and its schedule, the same for every network of a stage."""

    learning_rate: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    restarts: int = Field(1, ge=1, description="cosine periods over the budget")
    minimum: float = Field(1e-7, ge=0, description="learning rate at the end of each cosine period")
    warmup: int = Field(
        0, ge=0, description="iterations over which the learning rate rises from 0; the papers have none"
    )
    ema_decay: float = Field(0.999, ge=0, lt=1)

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


class FidelityConfig(Frozen):
    """The PSNR-oriented generator every perceptual one starts from: pixel L1 alone (METHODS 2.1)."""

    budget: Budget
    optimiser: Optimiser
    seed: int = Field(0, ge=0)


class AutoencoderConfig(Frozen):
    """AESOP's auto-encoder (METHODS 1.2, 1.8) and its pre-training (1.3).

    Its decoder up-scales by `factor` by construction, and starts from the fidelity generator of the decoder's own
    architecture and scale.
    """

    bottleneck_channels: int = Field(3, ge=1, le=768)
    factor: Literal[2, 3, 4] = 4
    features: int = Field(64, ge=1, le=512)
    blocks: int = Field(23, ge=1, le=64)
    growth: int = Field(32, ge=1, le=256)
    decoder: Literal["rrdb", "msrresnet"] = "rrdb"
    bicubic_skip: bool = False
    bottleneck_weight: float = Field(1.0, ge=0, description="weight of L1(bottleneck's RGB, bicubic LR)")
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


class LossConfig(Frozen):
    """The weighted sum of the adversarial stage. A term of weight zero is neither built nor computed."""

    guidance: Guidance = Field("aesop", description="where the fidelity term is measured")
    fidelity: float = Field(1.0, ge=0)
    criterion: Criterion = "l1"
    artifact: float = Field(1.0, ge=0)
    perceptual: float = Field(1.0, ge=0)
    perceptual_network: PerceptualNetwork = "vgg19"
    adversarial: float = Field(5e-3, ge=0)

    @property
    def uses_autoencoder(self) -> bool:
        """Whether the sum has a term that needs the auto-encoder."""
        return self.guidance == "aesop" and self.fidelity > 0

    @model_validator(mode="after")
    def _something_to_descend(self) -> Self:
        if not (self.fidelity or self.artifact or self.perceptual or self.adversarial):
            raise ValueError("all weights of the loss are 0: nothing would train; set at least one above 0")
        return self


class Cadence(Frozen):
    """When the adversarial stage is looked at. It does not change what is trained."""

    evaluate_every: int = Field(5000, ge=1, description="iterations between points")
    checkpoint_every: int = Field(1000, ge=1, description="iterations between checkpoints, in every stage")


class RunConfig(Frozen):
    """One recipe, completely."""

    recipe: str
    size: Literal["full", "small", "tiny"]
    seed: int = Field(0, ge=0)
    data: DataConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    fidelity: FidelityConfig
    autoencoder: AutoencoderConfig
    loss: LossConfig
    optimiser: Optimiser
    budget: Budget
    cadence: Cadence

    @model_validator(mode="after")
    def _patches_divide(self) -> Self:
        scale, factor = self.data.scale, self.autoencoder.factor
        rules = [("budget.patch", self.budget.patch, scale, "data.scale")]
        rules += [("fidelity.budget.patch", self.fidelity.budget.patch, scale, "data.scale")]
        if self.loss.uses_autoencoder:
            rules += [("budget.patch", self.budget.patch, factor, "autoencoder.factor")]
            rules += [("autoencoder.budget.patch", self.autoencoder.budget.patch, factor, "autoencoder.factor")]
            # The decoder starts from a fidelity generator of its own scale (`decoder_as_run`).
            rules += [("fidelity.budget.patch", self.fidelity.budget.patch, factor, "autoencoder.factor")]
        for field, patch, divisor, name in rules:
            if patch % divisor:
                raise ValueError(
                    f"{field} must be a multiple of {name} ({divisor}), but got {patch}; "
                    f"the nearest are {patch - patch % divisor} and {patch + divisor - patch % divisor}"
                )
        return self

    @model_validator(mode="after")
    def _rrdb_halves_its_input(self) -> Self:
        nets = [("generator", self.generator.name, self.data.scale, self.budget.patch)]
        nets += [("generator", self.generator.name, self.data.scale, self.fidelity.budget.patch)]
        if self.loss.uses_autoencoder:
            ae = self.autoencoder
            nets += [
                ("autoencoder.decoder", ae.decoder, ae.factor, patch)
                for patch in (ae.budget.patch, self.budget.patch, self.fidelity.budget.patch)
            ]
        for field, name, scale, patch in nets:
            if name == "rrdb" and scale == 2 and patch % 4:
                raise ValueError(f"{field} rrdb at scale 2 needs HR patches that are a multiple of 4, but got {patch}")
        return self

    @model_validator(mode="after")
    def _discriminator_has_the_patch(self) -> Self:
        if self.loss.adversarial > 0:
            check_discriminator_patch(self.budget.patch)
        return self

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages this run needs, upstream first."""
        return ("fidelity", "autoencoder", "adversarial") if self.loss.uses_autoencoder else ("fidelity", "adversarial")

    @property
    def largest_patch(self) -> int:
        """The largest HR patch any of its stages cuts, in pixels."""
        patches = [self.budget.patch, self.fidelity.budget.patch]
        if self.loss.uses_autoencoder:
            patches.append(self.autoencoder.budget.patch)
        return max(patches)


def to_dict(config: Frozen) -> dict[str, Any]:
    """Turn a configuration into plain JSON types."""
    return config.model_dump(mode="json")


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Build a run from plain types, strictly.

    Raises:
        ConfigError: an unknown or missing key, a value out of range, or fields that do not fit each other, with the
            path of the field and, for an unknown key, the known ones.
    """
    try:
        # As JSON, where pydantic is strict about types and yet takes a list for a tuple.
        return RunConfig.model_validate_json(json.dumps(dict(values)), strict=True)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def replace(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Make a variant: `replace(config, {"loss.adversarial": 1e-2, "budget": {"patch": 64}})`.

    Dotted paths name fields; a dict given for a part changes the named fields of that part. Everything is validated
    again, once, at the end.

    Raises:
        ConfigError: as `from_dict`.
    """
    values = to_dict(config)
    for path, value in changes.items():
        _put(values, path, value)
    return from_dict(values)


def get(config: Frozen, path: str) -> Any:
    """Read the field at a dotted path; ConfigError if there is none."""
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Frozen) or name not in type(value).model_fields:
            raise ConfigError(_unknown(path))
        value = getattr(value, name)
    return value


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Read `--set a.b=c` arguments; a value is JSON where it can be read as such, else a string.

    Raises:
        ConfigError: an argument without `=` or without a name.
    """
    changes: dict[str, Any] = {}
    for text in assignments:
        path, sign, raw = text.partition("=")
        if not sign or not path.strip():
            raise ConfigError(f"--set takes FIELD=VALUE, such as loss.adversarial=1e-2, but got {text!r}")
        try:
            changes[path.strip()] = json.loads(raw)
        except json.JSONDecodeError:
            changes[path.strip()] = raw
    return changes


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one level with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def decoder_as_run(config: RunConfig) -> RunConfig:
    """The run whose fidelity generator the auto-encoder's decoder starts from.

    It has the decoder's architecture and up-scales by the auto-encoder's factor; for the paper's RRDB setting that is
    the run's own fidelity generator, so the two share one artifact.
    """
    ae = config.autoencoder
    generator = {"name": ae.decoder, "features": ae.features, "blocks": ae.blocks, "growth": ae.growth}
    return replace(config, {"generator": generator, "data.scale": ae.factor})


def stage_part(config: RunConfig, stage: Stage) -> dict[str, Any]:
    """Everything in a configuration that determines the weights of a stage, as plain types."""
    data = {"scale": config.data.scale}
    generator = _generator_part(config.generator)
    if stage == "fidelity":
        return {"data": data, "generator": generator, **to_dict(config.fidelity)}
    if stage == "autoencoder":
        return {**to_dict(config.autoencoder), "decoder_from": stage_part(decoder_as_run(config), "fidelity")}
    part = {
        "data": data,
        "generator": generator,
        "discriminator": to_dict(config.discriminator) if config.loss.adversarial else None,
        "loss": to_dict(config.loss),
        "optimiser": to_dict(config.optimiser),
        "budget": to_dict(config.budget),
        "seed": config.seed,
        "fidelity": stage_part(config, "fidelity"),
    }
    if config.loss.uses_autoencoder:
        part["autoencoder"] = stage_part(config, "autoencoder")
    return part


def stage_key(config: RunConfig, stage: Stage, data_fingerprint: str) -> str:
    """Name the artifact of a stage: `<stage>-<16 hex digits>`, stable over processes, machines and field order.

    Args:
        config: the run.
        stage: one of its stages.
        data_fingerprint: the fingerprint of the training images.
    """
    whole = {"numerics": NUMERICS_VERSION, "data": data_fingerprint, "part": stage_part(config, stage)}
    return f"{stage}-{digest(whole)}"


def digest(values: Any) -> str:
    """Hash plain JSON types to 16 hex digits, whatever the order of their keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _generator_part(generator: GeneratorConfig) -> dict[str, Any]:
    part = to_dict(generator)
    del part["init_scale" if generator.name == "rrdb" else "growth"]  # which it does not read
    return part


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    node: Any = values
    for parent in parents:
        if not isinstance(node, dict) or not isinstance(node.get(parent), dict):
            raise ConfigError(_unknown(path))
        node = node[parent]
    if isinstance(value, Mapping) and isinstance(node.get(name), dict):
        for key, inner in value.items():
            _put(node[name], key, inner)
    else:
        node[name] = value  # an unknown name is refused by the validation that follows


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(_unknown(path))
        elif problem["type"] == "value_error":
            lines.append(f"{path}: {problem['ctx']['error']}" if path else str(problem["ctx"]["error"]))
        else:
            lines.append(f"{path}: {problem['msg']}, but got {problem['input']!r}")
    return "; ".join(lines)


def _unknown(path: str) -> str:
    known = known_paths()
    close = difflib.get_close_matches(path, known, n=3)
    parent = path.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known here: {', '.join(siblings or known)}"
    return f"unknown field {path!r}; {hint}"


def known_paths(model: type[Frozen] = RunConfig, prefix: str = "") -> list[str]:
    """List the dotted paths of all fields, in their order."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Frozen):
            paths += known_paths(inner, f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths
