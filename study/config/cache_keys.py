"""What determines the result of a stage, and the key of its artifact that follows from it."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from study.config.losses import LossConfig
from study.config.overrides import ConfigError, replace, to_dict
from study.config.run import RunConfig
from study.config.training import Stage

NUMERICS_VERSION = 3
"""A part of every artifact's key: raised when the same configuration would train to other weights than before."""

AUTOENCODER_FIELDS = (
    "bottleneck_channels",
    "factor",
    "features",
    "blocks",
    "growth",
    "encoder",
    "decoder",
    "bicubic_skip",
)
"""The fields of an auto-encoder that determine its network, without its scale head."""

INITIAL_WEIGHTS = ("generator.init", "autoencoder.init", "autoencoder.decoder_init", "critics.init")
"""The fields that name a weight file."""

_PIN = "@sha256:"
"""Separates the path of a custom loss from the hash of its content."""


def pin_custom_loss(config: RunConfig, folder: Path = Path()) -> RunConfig:
    """Give a custom loss its full path and the hash of its content; keys depend on that hash alone.

    Args:
        config: a run whose `loss.custom` is a path, with or without its hash.
        folder: what a relative path is relative to.

    Raises:
        ConfigError: the file cannot be read, or its content does not have the given hash.
    """
    if config.loss.custom is None:
        return config
    name, pin, wanted = config.loss.custom.partition(_PIN)
    path = Path(folder, name).resolve()
    found = _file_digest("loss.custom", str(path), kind="Python file")
    if pin and found != f"sha256:{wanted}":
        raise ConfigError(
            f"loss.custom names {path} with the hash sha256:{wanted}, but now it has {found}; "
            "restore that content, or leave the hash out"
        )
    return replace(config, {"loss.custom": f"{path}@{found}"})


def custom_loss_digest(custom: str) -> str:
    """Return the sha256 of a custom loss: the pinned one, else that of the file; ConfigError if it cannot be read."""
    _, pin, digest = custom.rpartition(_PIN)
    return f"sha256:{digest}" if pin else _file_digest("loss.custom", custom, kind="Python file")


def custom_loss_path(custom: str) -> str:
    """Return the path of a custom loss, without its hash."""
    return custom.partition(_PIN)[0]


def decoder_as_run(config: RunConfig) -> RunConfig:
    """Return the run whose fidelity generator the auto-encoder's decoder starts from.

    It has the decoder's architecture and up-scales by the auto-encoder's factor; for the paper's RRDB setting that is
    the run's own fidelity generator, so the two share one artifact.
    """
    ae = config.autoencoder
    init = ae.decoder_init or (config.generator.init if config.decoder_is_generator else None)
    generator = to_dict(config.decoder_network) | {"init": init}
    fidelity = {} if ae.decoder_fidelity is None else {"fidelity": to_dict(ae.decoder_fidelity)}
    # Only the fidelity stage of this run is trained, so fields of other generators and tasks are reset.
    others = {"loss.branch": 0, "fusion_share": 0, "start": "fidelity"}
    data = {"scale": ae.factor, "task": "sr", "sigma": None, "quality": None}
    return replace(config, {"generator": generator, "data": data, **fidelity, **others})


def stage_part(config: RunConfig, stage: Stage) -> dict[str, Any]:
    """Return all that determines the weights of a stage, as plain types; files by their hash.

    Raises:
        ConfigError: a file named by `init` cannot be read.
    """
    match stage:
        case "fidelity":
            return _fidelity_part(config)
        case "autoencoder":
            return _autoencoder_part(config)
        case "critics":
            return _critics_part(config)
        case "adversarial":
            return _adversarial_part(config)


def _fidelity_part(config: RunConfig) -> dict[str, Any]:
    scale = config.data.scale
    network = {"data": {"scale": scale}, "generator": config.generator.fidelity_form.determining(scale)}
    if config.generator.init is not None:
        return {**network, "init": _file_digest("generator.init", config.generator.init)}
    return {**network, **_precision_part(config), "data": _data_part(config), **to_dict(config.fidelity)}


def _autoencoder_part(config: RunConfig) -> dict[str, Any]:
    ae = config.autoencoder
    network = {name: getattr(ae, name) for name in AUTOENCODER_FIELDS} | {"scale_head": config.has_scale_head}
    if ae.init is not None:
        return {**network, "init": _file_digest("autoencoder.init", ae.init)}
    return {
        **network,
        **_precision_part(config),
        "bottleneck_weight": ae.bottleneck_weight if ae.trains_bottleneck else 0,
        "scale_weight": ae.scale_weight if config.has_scale_head else 0,
        "frozen_decoder": ae.frozen_decoder,
        "budget": to_dict(ae.budget),
        "optimiser": to_dict(ae.optimiser),
        "seed": ae.seed,
        "decoder_from": _fidelity_part(decoder_as_run(config)),
    }


def _critics_part(config: RunConfig) -> dict[str, Any]:
    critics = config.critics
    if critics.init is not None:
        widths = {name: getattr(critics, name) for name in ("levels", "features", "largest_features")}
        return {**widths, "init": _file_digest("critics.init", critics.init)}
    part = critics.model_dump(mode="json", exclude={"init", "used_levels"})
    distortion = config.data.model_dump(mode="json", include={"task", "sigma", "quality"}, exclude_none=True)
    return {**part, "distortion": distortion}


def _adversarial_part(config: RunConfig) -> dict[str, Any]:
    part = {
        **_precision_part(config),
        "data": _data_part(config),
        "generator": config.generator.determining(config.data.scale),
        "discriminator": to_dict(config.discriminator) if config.loss.uses_discriminator else None,
        "loss": _loss_part(config.loss),
        "optimiser": to_dict(config.optimiser),
        "budget": to_dict(config.budget),
        "fusion_share": config.fusion_share,
        "seed": config.seed,
        "fidelity": _fidelity_part(config) if config.start == "fidelity" else None,
    }
    if config.loss.uses_autoencoder:
        part["autoencoder"] = _autoencoder_part(config)
    if config.loss.uses_critics:
        part["critics"] = {**_critics_part(config), "used_levels": config.critics.used_levels}
    return part


def _loss_part(loss: LossConfig) -> dict[str, Any]:
    # Without a custom loss the part has no such entry, as in keys that are older than the field.
    part = to_dict(loss)
    custom = part.pop("custom")
    return part if custom is None else {**part, "custom": custom_loss_digest(custom)}


def _precision_part(config: RunConfig) -> dict[str, Any]:
    # Keys of float32 are older than the field.
    return {} if config.precision == "fp32" else {"precision": config.precision}


def _data_part(config: RunConfig) -> dict[str, Any]:
    if config.data.task != "sr":
        return config.data.model_dump(mode="json", include={"task", "sigma", "quality"}, exclude_none=True)
    return {"scale": config.data.scale, "degradation": config.data.degradation}


def stage_key(config: RunConfig, stage: Stage, data_fingerprint: str) -> str:
    """Return the key of a stage's artifact: `<stage>-<16 hex digits>`, the same on every machine.

    Args:
        config: the run.
        stage: one of its stages.
        data_fingerprint: of the training images.
    """
    whole = {"numerics": NUMERICS_VERSION, "data": data_fingerprint, "part": stage_part(config, stage)}
    return f"{stage}-{digest(whole)}"


def digest(values: Any) -> str:
    """Hash plain JSON types to 16 hex digits, independent of the order of keys."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _file_digest(field: str, name: str, *, kind: str = "weight file") -> str:
    """Return the sha256 of a file; ConfigError, naming the field, if it cannot be read."""
    try:
        status = Path(name).stat()
        return _digest_of(name, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ConfigError(
            f"{field} must name a {kind}, but {name} cannot be read ({error.strerror}); correct the path"
        ) from None


@lru_cache(maxsize=64)
def _digest_of(name: str, size: int, changed: int) -> str:
    """Hash a file; the cache holds one entry for each size and time of change."""
    del size, changed
    with open(name, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
