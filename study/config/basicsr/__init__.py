"""Option files of BasicSR-family projects (ESRGAN, SwinIR, LDL, AESOP, Real-ESRGAN), read into a configuration.

What a configuration cannot express is listed as a difference. Keys without a part in training (logging, worker
processes, validation metrics) are passed over.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import ConfigError, RunConfig, Stage, replace
from study.config.basicsr.data import read_data, read_degradation
from study.config.basicsr.losses import read_losses
from study.config.basicsr.networks import read_autoencoder, read_discriminator, read_generator
from study.config.basicsr.options import Options, load
from study.config.basicsr.training import read_training
from study.config.recipes import aesop

# The last stage of each kind of trainer, and its GAN; class names of AESOP, LDL and BasicSR.
_TRAINERS: dict[str, tuple[Stage, str | None]] = {
    "SRModel": ("fidelity", None),
    "SwinIRModel": ("fidelity", None),
    "RealESRNetModel": ("fidelity", None),
    "AEModel": ("autoencoder", None),
    "SRGANModel": ("adversarial", "vanilla"),
    "SRGANArtifactsDisModel": ("adversarial", "vanilla"),
    "ESRGANModel": ("adversarial", "relativistic"),
    "ESRGANArtifactsDisModel": ("adversarial", "relativistic"),
    "AesopESRGANArtifactsDisModel": ("adversarial", "relativistic"),
    "RealESRGANModel": ("adversarial", "vanilla"),
    "RealESRGANArtifactsDisModel": ("adversarial", "vanilla"),
    "AesopRealESRGANArtifactsDisModel": ("adversarial", "vanilla"),
}

# Keys for which BasicSR has no default, with what stands in for them; without a seed, BasicSR draws one.
_REQUIRED = {
    "scale": 4,
    "num_gpu": 1,
    "manual_seed": 0,
    "datasets.train.batch_size_per_gpu": 16,
    "datasets.train.use_hflip": True,
    "datasets.train.use_rot": True,
    "train.optim_g.type": "Adam",
    "train.optim_g.lr": 1e-4,
    "train.scheduler.type": "MultiStepLR",
}

_IMAGES = re.compile(r"datasets\.(train|val\w*)\.(dataroot_\w+|meta_info(_file)?|io_backend\..*)")


@dataclass(frozen=True)
class Reading:
    """The content of an option file.

    Attributes:
        config: the configuration.
        until: the stage that the file trains; later stages have a recipe's values.
        differences: what a configuration cannot express, a sentence each.
        notes: what is done in another way, a sentence each.
        assumed: what stands in for keys that the file does not have, a sentence each.
    """

    config: RunConfig
    until: Stage
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    assumed: tuple[str, ...]


def read_basicsr(path: Path, *, images: bool = True) -> Reading:
    """Read networks, losses, data, optimiser and schedule of an option file.

    Args:
        path: the file.
        images: whether it names the images; without, they are the recipe's.

    Raises:
        ConfigError: no such file, no YAML, a trainer of another kind, or invalid values.
    """
    content = load(path)
    options = Options({key: content[key] for key in content if images or not _IMAGES.fullmatch(key)}, path)
    model = options.take("model_type")
    if model not in _TRAINERS:
        raise ConfigError(f"{path}: model_type must be one of {', '.join(_TRAINERS)}, but got {model!r}")
    until, gan = _TRAINERS[model]
    options.assume(_REQUIRED)
    scale = options.take("scale")
    changes: dict[str, Any] = {"recipe": f"basicsr: {options.take('name', path.stem)}", "data.scale": scale}
    changes["autoencoder.factor"] = scale
    changes |= read_data(options)
    if images:
        _assume_images(options, changes)
    changes |= read_degradation(options, model)
    if "data.degradation" in changes and "data.train_lq" in changes:
        given = changes.pop("data.train_lq")
        options.problems.append(f"datasets.train.dataroot_lq: {given!r}: the degradation makes the low-quality images")
    _note_averages(options)
    options.must("path.resume_state", None, why="training starts anew; training states of BasicSR are not read")
    if until == "autoencoder":
        changes |= read_autoencoder(options, "network_g.")
        changes |= options.text("path.pretrain_network_decoder", "autoencoder.decoder_init")
        _trained_on(options, "autoencoder.init")
    else:
        changes |= read_generator(options, scale)
        if until == "fidelity":
            _trained_on(options, "generator.init")
        else:
            changes |= _start(options)
    changes |= read_training(options, until)
    if until == "adversarial":
        changes |= read_discriminator(options, changes["budget"]["patch"]) | read_losses(options, str(gan))
    config = _build(changes, path)
    problems = (*options.problems, *options.left())
    return Reading(config, until, problems, tuple(options.notes), tuple(options.assumed))


def _assume_images(options: Options, changes: dict[str, Any]) -> None:
    if "data.train" not in changes:
        options.assumed.append("datasets.train.dataroot_gt: not in the file; the photographs of data.train are assumed")
    if "data.val" not in changes:
        options.assumed.append(
            "datasets.val.dataroot_gt: not in the file; without --val, a part of the training images is held out"
        )


def _note_averages(options: Options) -> None:
    """Note where BasicSR would read raw weights, which is its default, of a file that may have averaged ones."""
    keys = [key for key in options.values if key.startswith("path.param_key_")]
    if "path.pretrain_network_g" in options.values and "path.param_key_g" not in keys:
        keys.append("path.param_key_g")
    for key in keys:
        if options.take(key, "params") != "params_ema":
            options.notes.append(f"{key}: of a file with averaged weights, these are read (params_ema)")


def _start(options: Options) -> dict[str, Any]:
    """Return what the adversarial stage starts from: the file's weights, else random ones."""
    given = options.text("path.pretrain_network_g", "generator.init")
    if not given:
        options.assumed.append(
            "path.pretrain_network_g: names no weights, so the generator starts from random ones (start scratch), "
            "as in BasicSR"
        )
    return given or {"start": "scratch"}


def _trained_on(options: Options, field: str) -> None:
    """List initial weights as a difference: a stage here trains from random weights, or is replaced by given ones."""
    value = options.take("path.pretrain_network_g")
    if value is not None:
        options.problems.append(
            f"path.pretrain_network_g: {value!r}: this stage trains from random weights; to use these weights in "
            f"place of training, set {field}"
        )


def _build(changes: dict[str, Any], path: Path) -> RunConfig:
    """Change AESOP's recipe; stages that the file does not mention keep its values."""
    scale = changes["data.scale"]
    try:
        base = aesop("full")
        budgets = {"fidelity.budget": base.fidelity.budget, "autoencoder.budget": base.autoencoder.budget}
        patches = {f"{name}.patch": _fitting_patch(budget.patch, scale) for name, budget in budgets.items()}
        patches["budget.patch"] = _fitting_patch(base.budget.patch, scale)
        return replace(base, patches | changes)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _fitting_patch(patch: int, scale: int) -> int:
    """Return a recipe's patch for scale 4 if it is a multiple of the scale, else three quarters of it."""
    return patch if patch % scale == 0 else patch * 3 // 4
