"""Option files of BasicSR-family projects (ESRGAN, SwinIR, LDL, AESOP, Real-ESRGAN), read into a configuration.

What a file says and a configuration cannot express is named, never dropped in silence. Keys that have no part in what
is trained (logging, worker processes, validation metrics) are passed over.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from study.config import Budget, ConfigError, RunConfig, Stage, replace
from study.config.recipes import aesop

# Where each kind of trainer ends, and its GAN (METHODS 3.3, 4; AESOP's, LDL's and BasicSR's class names).
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

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # METHODS 2.4

# Keys without a part in what is trained.
_TECHNICAL = re.compile(
    r"name|find_unused_parameters|dist_params\..*|logger\.(?!save_checkpoint_freq).*|val\.(?!val_freq).*"
    r"|datasets\.val.*|datasets\.train\.(name|type|filename_tmpl|io_backend\.type|use_shuffle|num_worker_per_gpu"
    r"|dataset_enlarge_ratio|prefetch_mode|num_prefetch_queue|pin_memory|mean|std|meta_info(_file)?|phase|scale)"
    r"|path\.(param_key_.*|strict_load_.*|resume_state|root|experiments_root|models|training_states|log"
    r"|visualization)|network_[gd]\.use_checkpoint|queue_size|.*\.autoencoder_load\.key|.*\.enc_opt\.placeholder"
)

_KERNELS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
_BLUR = {
    "blur_kernel_size": 21,
    "kernel_list": _KERNELS,
    "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "sinc_prob": 0.1,
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
}
# The second-order degradation as METHODS 1.7 gives it, in the files' words.
_COMMON = {
    "resize_prob": [0.2, 0.7, 0.1],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "gray_noise_prob": 0.4,
    "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.3, 1.2],
    "gaussian_noise_prob2": 0.5,
    "gray_noise_prob2": 0.4,
    "datasets.train.blur_sigma": [0.2, 3],
    "datasets.train.blur_sigma2": [0.2, 1.5],
    "datasets.train.final_sinc_prob": 0.8,
    **{f"datasets.train.{name}{suffix}": value for suffix in ("", "2") for name, value in _BLUR.items()},
}
_DEGRADATIONS: dict[str, dict[str, Any]] = {
    "aesop-real": {
        **_COMMON,
        "resize_range": [0.2, 1.5],
        "poisson_scale_range": [0.05, 2],
        "jpeg_range": [50, 95],
        "noise_range2": [1, 20],
        "poisson_scale_range2": [0.05, 2],
        "jpeg_range2": [50, 95],
    },
    "real-esrgan": {
        **_COMMON,
        "resize_range": [0.15, 1.5],
        "poisson_scale_range": [0.05, 3],
        "jpeg_range": [30, 95],
        "noise_range2": [1, 25],
        "poisson_scale_range2": [0.05, 2.5],
        "jpeg_range2": [30, 95],
    },
}


@dataclass(frozen=True)
class Reading:
    """What an option file says.

    Attributes:
        config: the configuration.
        until: the stage that the file trains; what comes after it has a recipe's values.
        differences: what could not be expressed, a sentence each.
        notes: what is done in another way, a sentence each.
    """

    config: RunConfig
    until: Stage
    differences: tuple[str, ...]
    notes: tuple[str, ...]


def read_basicsr(path: Path) -> Reading:
    """Read networks, losses, data, optimiser and schedule of an option file.

    Raises:
        ConfigError: no such file, no YAML, a trainer of another kind, or values that no configuration can have.
    """
    options = _Options(_load(path), path)
    model = options.take("model_type")
    if model not in _TRAINERS:
        raise ConfigError(f"{path}: model_type must be one of {', '.join(_TRAINERS)}, but got {model!r}")
    until, gan = _TRAINERS[model]
    scale = options.take("scale", 4)
    changes: dict[str, Any] = {"recipe": f"basicsr: {options.take('name', path.stem)}", "data.scale": scale}
    changes["autoencoder.factor"] = scale
    changes |= _data(options)
    changes |= _degradation(options, model)
    if until == "autoencoder":
        changes |= _autoencoder_network(options, "network_g.")
        changes |= _given(options, "path.pretrain_network_decoder", "autoencoder.decoder_init")
        _trained_on(options, "autoencoder.init")
    else:
        changes |= _generator(options, scale)
        if until == "fidelity":
            _trained_on(options, "generator.init")
        else:
            changes |= _given(options, "path.pretrain_network_g", "generator.init")
    changes |= _training(options, until)
    if until == "adversarial":
        changes |= _discriminator(options) | _losses(options, str(gan))
    config = _build(changes, path)
    return Reading(config, until, (*options.problems, *options.left()), tuple(options.notes))


@dataclass
class _Options:
    """The flat keys of a file; each is taken once, and what is left at the end has no place in a configuration."""

    values: dict[str, Any]
    path: Path
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, key: str, default: Any = None) -> Any:
        return self.values.pop(key, default)

    def number(self, key: str, default: float) -> float:
        """A number, also where YAML takes `1e-4` for a word."""
        value = self.take(key, default)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{self.path}: {key} must be a number, but got {value!r}") from None

    def has(self, prefix: str) -> bool:
        return any(key.startswith(prefix) for key in self.values)

    def must(self, key: str, *allowed: Any, why: str) -> None:
        """Take a key that a configuration knows in one form only."""
        value = self.take(key, allowed[0])
        if value not in allowed:
            self.problems.append(f"{key}: {value!r}: {why}")

    def left(self) -> Iterator[str]:
        for key, value in self.values.items():
            if not _TECHNICAL.fullmatch(key):
                yield f"{key}: {value!r}: no field of a configuration says this"


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); --basicsr takes an option file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or "model_type" not in content:
        raise ConfigError(f"{path} is no option file of a BasicSR-family project: it has no model_type")
    return {key: value for key, value in _flat(content) if value is not None}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _data(options: _Options) -> dict[str, Any]:
    changes = _given(options, "datasets.train.dataroot_gt", "data.train")
    validation = options.take("datasets.val.dataroot_gt")
    if validation is not None:
        changes["data.val"] = str(validation)
    for name in (changes.get("data.train"), changes.get("data.val")):
        if name is not None and str(name).endswith(".lmdb"):
            options.notes.append(f"dataroot_gt: {name!r}: LMDB is not read; name the folder of images with --data")
    given = options.take("datasets.train.dataroot_lq")
    if given is not None:
        options.notes.append(
            f"datasets.train.dataroot_lq: {given!r}: LR images are made of the HR ones by the exact bicubic; to use "
            "given ones, pack both with study/prepare.py pack --lq"
        )
    for keys in (("use_flip", "use_hflip"), ("use_rot",)):
        for key in keys:
            options.must(f"datasets.train.{key}", True, why="patches are always flipped and transposed at random")
    return changes


def _degradation(options: _Options, model: str) -> dict[str, Any]:
    if not model.replace("Aesop", "").startswith("Real"):
        return {}
    found = {key: options.take(key) for key in _DEGRADATIONS["aesop-real"]}
    differing = {name: [key for key in found if found[key] != values[key]] for name, values in _DEGRADATIONS.items()}
    nearest = min(differing, key=lambda name: len(differing[name]))
    for key in differing[nearest]:
        ours = _DEGRADATIONS[nearest][key]
        options.problems.append(f"{key}: {found[key]!r}: it is {ours!r} in data.degradation {nearest}, the nearest")
    return {"data.degradation": nearest}


def _generator(options: _Options, scale: int) -> dict[str, Any]:
    kind = options.take("network_g.type")
    readers: dict[str, Callable[[_Options, int], dict[str, Any]]] = {
        "RRDBNet": _rrdb,
        "MSRResNet": _msrresnet,
        "EDSR": _edsr,
        "SwinIR": _swinir,
    }
    if kind not in readers:
        raise ConfigError(f"{options.path}: network_g.type must be one of {', '.join(readers)}, but got {kind!r}")
    for key in ("num_in_ch", "num_out_ch", "in_chans"):
        options.must(f"network_g.{key}", 3, why="images have three colours")
    for key in ("scale", "upscale"):
        options.must(f"network_g.{key}", scale, why=f"the file's scale is {scale}")
    return {f"generator.{name}": value for name, value in readers[kind](options, scale).items()}


def _rrdb(options: _Options, scale: int) -> dict[str, Any]:
    del scale
    return {"name": "rrdb", **_rrdb_widths(options, "network_g.")}


def _rrdb_widths(options: _Options, prefix: str) -> dict[str, Any]:
    names = {"features": ("num_feat", 64), "blocks": ("num_block", 23), "growth": ("num_grow_ch", 32)}
    return {name: options.take(f"{prefix}{key}", default) for name, (key, default) in names.items()}


def _msrresnet(options: _Options, scale: int) -> dict[str, Any]:
    del scale
    widths = {"features": ("num_feat", 64), "blocks": ("num_block", 16)}
    return {"name": "msrresnet"} | {
        name: options.take(f"network_g.{key}", default) for name, (key, default) in widths.items()
    }


def _edsr(options: _Options, scale: int) -> dict[str, Any]:
    del scale
    options.must("network_g.img_range", 255.0, why="EDSR's images count levels up to 255 inside")
    options.must("network_g.rgb_mean", list(DIV2K_MEAN), why="EDSR subtracts DIV2K's mean")
    return {
        "name": "edsr",
        "features": options.take("network_g.num_feat", 64),
        "blocks": options.take("network_g.num_block", 16),
        "residual_scale": options.take("network_g.res_scale", 1),
    }


def _swinir(options: _Options, scale: int) -> dict[str, Any]:
    del scale
    options.take("network_g.img_size")  # for which side masks are held ready: it decides nothing
    options.must("network_g.img_range", 1.0, why="images lie in [0, 1]")
    options.must("network_g.resi_connection", "1conv", why="groups end in one convolution")
    depths = options.take("network_g.depths", [6, 6, 6, 6])
    heads = options.take("network_g.num_heads", [6, 6, 6, 6])
    for name, values in (("depths", depths), ("num_heads", heads)):
        if len(set(values)) != 1 or len(values) != len(depths):
            options.problems.append(f"network_g.{name}: {values!r}: all groups are alike")
    return {
        "name": "swinir",
        "features": options.take("network_g.embed_dim", 96),
        "blocks": len(depths),
        "depth": depths[0],
        "heads": heads[0],
        "window": options.take("network_g.window_size", 7),
        "mlp_ratio": options.number("network_g.mlp_ratio", 4.0),
        "drop_path": options.number("network_g.drop_path_rate", 0.1),
        "upsampler": options.take("network_g.upsampler", ""),
    }


def _autoencoder_network(options: _Options, prefix: str) -> dict[str, Any]:
    encoders = {"AutoEncoder_RRDBNet": "learned", "BicubicDown_RRDBNet": "bicubic"}
    kind = options.take(f"{prefix}type")
    if kind not in encoders:
        raise ConfigError(f"{options.path}: {prefix}type must be one of {', '.join(encoders)}, but got {kind!r}")
    decoder = f"{prefix}dec_opt."
    options.must(f"{decoder}type", "RRDBNet", why="this auto-encoder has an RRDB decoder")
    for key in ("num_in_ch", "num_out_ch"):
        options.must(f"{decoder}{key}", 3, why="the bottleneck has three colours")
    changes = {f"autoencoder.{name}": value for name, value in _rrdb_widths(options, decoder).items()}
    return changes | {"autoencoder.encoder": encoders[kind], "autoencoder.decoder": "rrdb"}


def _discriminator(options: _Options) -> dict[str, Any]:
    kind = options.take("network_d.type")
    names = {"VGGStyleDiscriminator": "vgg", "VGGStyleDiscriminator128": "vgg", "VGGStyleDiscriminator256": "vgg"}
    names["UNetDiscriminatorSN"] = "unet"
    if kind not in names:
        raise ConfigError(f"{options.path}: network_d.type must be one of {', '.join(names)}, but got {kind!r}")
    options.must("network_d.num_in_ch", 3, why="images have three colours")
    options.must("network_d.skip_connection", True, why="the U-Net has its skips")
    options.take("network_d.input_size")  # the patch decides it, and is checked against the network
    return {"discriminator.name": names[kind], "discriminator.features": options.take("network_d.num_feat", 64)}


def _training(options: _Options, until: Stage) -> dict[str, Any]:
    """Budget, optimiser, schedule and seed, of the stage that the file trains."""
    part = {"fidelity": "fidelity.", "autoencoder": "autoencoder.", "adversarial": ""}[until]
    iterations = int(options.number("train.total_iter", 0))
    gpus = options.take("num_gpu", 1)
    if not isinstance(gpus, int):
        options.notes.append(f"num_gpu: {gpus!r}: counted as 1; set {part}budget.batch to the patches over all GPUs")
        gpus = 1
    patch = options.take("datasets.train.gt_size", options.values.get("gt_size"))
    options.must("gt_size", patch, why=f"datasets.train.gt_size is {patch}")
    batch = options.take("datasets.train.batch_size_per_gpu", 16) * max(1, gpus)
    changes = {
        f"{part}budget": {"iterations": iterations, "batch": batch, "patch": patch},
        f"{part}optimiser": _optimiser(options, iterations),
        f"{part}seed": options.take("manual_seed", 0),
        "eval_schedule.checkpoint_every": int(options.number("logger.save_checkpoint_freq", 5000)),
        "eval_schedule.evaluate_every": int(options.number("val.val_freq", 5000)),
    }
    if until == "fidelity":
        changes |= _only_pixels(options)
    if until == "autoencoder":
        changes |= _only_pixels(options)
        changes["autoencoder.bottleneck_weight"] = _weight(options, "train.pixel_at_LR_opt.")
        frozen = options.number("train.freeze_decoder", 0)
        changes["autoencoder.frozen_decoder"] = min(1.0, frozen / max(1, iterations))
    return changes


def _optimiser(options: _Options, iterations: int) -> dict[str, Any]:
    settings = {}
    for name in ("optim_g", "optim_d"):
        if name == "optim_d" and not options.has("train.optim_d."):
            continue
        options.must(f"train.{name}.type", "Adam", why="every network has Adam")
        settings[name] = {
            "learning_rate": options.number(f"train.{name}.lr", 1e-4),
            "weight_decay": options.number(f"train.{name}.weight_decay", 0),
            "betas": [float(beta) for beta in options.take(f"train.{name}.betas", [0.9, 0.999])],
        }
    if settings.get("optim_d", settings["optim_g"]) != settings["optim_g"]:
        options.problems.append(
            f"train.optim_d: {settings['optim_d']}: the discriminator has the generator's optimiser"
        )
    warmup = int(options.number("train.warmup_iter", -1))
    decay = options.number("train.ema_decay", 0)
    return settings["optim_g"] | {"warmup": max(0, warmup), "ema_decay": decay} | _schedule(options, iterations)


def _schedule(options: _Options, iterations: int) -> dict[str, Any]:
    kind = options.take("train.scheduler.type", "MultiStepLR")
    if kind in ("MultiStepLR", "MultiStepRestartLR"):
        reached = [step for step in options.take("train.scheduler.milestones", []) if step < iterations]
        gamma = options.number("train.scheduler.gamma", 0.1)
        if not reached or gamma == 1:
            return {"schedule": "constant"}
        return {"schedule": "steps", "milestones": [step / iterations for step in reached], "gamma": gamma}
    if kind == "CosineAnnealingRestartLR":
        periods = options.take("train.scheduler.periods", [iterations])
        weights = options.take("train.scheduler.restart_weights", [1])
        if len(set(periods)) > 1 or sum(periods) != iterations:
            options.problems.append(f"train.scheduler.periods: {periods}: periods are equal and fill train.total_iter")
        if set(weights) != {1}:
            options.problems.append(f"train.scheduler.restart_weights: {weights}: every period starts at the full rate")
        minimum = options.number("train.scheduler.eta_min", 0)
        return {"schedule": "cosine", "restarts": len(periods), "minimum": minimum}
    options.problems.append(f"train.scheduler.type: {kind!r}: schedules are MultiStepLR and CosineAnnealingRestartLR")
    return {}


def _only_pixels(options: _Options) -> dict[str, Any]:
    """A PSNR-oriented stage descends mean L1 with weight 1."""
    options.must("train.pixel_opt.type", "L1Loss", why="this stage descends L1")
    options.must("train.pixel_opt.loss_weight", 1, 1.0, why="this stage's loss has the weight 1")
    options.must("train.pixel_opt.reduction", "mean", why="losses are means")
    return {}


def _losses(options: _Options, gan: str) -> dict[str, Any]:
    # LDL's own name of its term, and BasicSR's.
    artifact = next((name for name in ("artifacts_opt", "ldl_opt") if options.has(f"train.{name}.")), "artifacts_opt")
    changes: dict[str, Any] = {"loss.gan": gan, "loss.ldl": _weight(options, f"train.{artifact}.")}
    changes |= _fidelity_term(options) | _perceptual_term(options)
    options.must("train.gan_opt.type", "GANLoss", why="the GAN is a cross-entropy")
    options.must("train.gan_opt.gan_type", "vanilla", why="the GAN is a cross-entropy")
    options.must("train.gan_opt.real_label_val", 1, 1.0, why="labels are 1 and 0")
    options.must("train.gan_opt.fake_label_val", 0, 0.0, why="labels are 1 and 0")
    changes["loss.adversarial"] = options.number("train.gan_opt.loss_weight", 1) if options.has("train.gan_opt") else 0
    options.must("train.net_d_iters", 1, why="both networks train in every step")
    options.must("train.net_d_init_iters", 0, why="both networks train in every step")
    options.must("gan_gt_usm", False, why="the discriminator sees images as they are")
    return changes


def _fidelity_term(options: _Options) -> dict[str, Any]:
    guidances = {"AutoEncoderLoss": "aesop", "AutoEncoderBottleneckLoss": "bottleneck"}
    sharp = options.take("l1_gt_usm", False)
    if not options.has("train.aesop_opt."):
        if sharp and options.has("train.pixel_opt."):
            options.problems.append("l1_gt_usm: True: the pixel loss compares with images as they are")
        criterion = {"L1Loss": "l1", "MSELoss": "l2"}.get(options.values.get("train.pixel_opt.type", "L1Loss"))
        weight = _weight(options, "train.pixel_opt.", allowed=("L1Loss", "MSELoss"))
        return {"loss.guidance": "pixel", "loss.fidelity": weight, "loss.criterion": criterion or "l1"}
    if options.has("train.pixel_opt."):
        options.problems.append("train.pixel_opt: the sum has one fidelity term, and train.aesop_opt is it")
        options.values = {k: v for k, v in options.values.items() if not k.startswith("train.pixel_opt.")}
    kind = options.take("train.aesop_opt.type")
    if kind not in guidances:
        raise ConfigError(f"{options.path}: train.aesop_opt.type must be one of {', '.join(guidances)}, got {kind!r}")
    guidance = "loss-map" if options.take("train.aesop_opt.as_loss_map", False) else guidances[kind]
    options.must("train.aesop_opt.reduction", "mean", why="losses are means")
    criterion = {"l1": "l1", "l2": "l2", "mse": "l2"}.get(options.take("train.aesop_opt.criterion", "l1"), "?")
    changes = _autoencoder_network(options, "train.aesop_opt.autoencoder_arch.")
    changes |= _given(options, "train.aesop_opt.autoencoder_load.path", "autoencoder.init")
    weight = options.number("train.aesop_opt.loss_weight", 1)
    return changes | {"loss.guidance": guidance, "loss.fidelity": weight, "loss.criterion": criterion}


def _perceptual_term(options: _Options) -> dict[str, Any]:
    if not options.has("train.perceptual_opt."):
        return {"loss.perceptual": 0}
    options.must("train.perceptual_opt.type", "PerceptualLoss", why="the perceptual loss is VGG's")
    options.must("train.perceptual_opt.vgg_type", "vgg19", why="the network is VGG-19")
    options.must("train.perceptual_opt.use_input_norm", True, why="VGG's input is normalised")
    options.must("train.perceptual_opt.range_norm", False, why="images lie in [0, 1]")
    options.must("train.perceptual_opt.style_weight", 0, 0.0, why="there is no style term")
    options.must("train.perceptual_opt.criterion", "l1", why="features are compared by L1")
    prefix = "train.perceptual_opt.layer_weights."
    given = {key.removeprefix(prefix): options.number(key, 0) for key in list(options.values) if key.startswith(prefix)}
    known = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
    for name in given.keys() - set(known):
        options.problems.append(f"{prefix}{name}: {given[name]!r}: layers are {', '.join(known)}")
    return {
        "loss.perceptual": options.number("train.perceptual_opt.perceptual_weight", 1),
        "loss.perceptual_network": "vgg19",
        "loss.perceptual_target": "sharpened" if options.take("percep_gt_usm", False) else "hr",
        **{f"loss.perceptual_layers.{name}": given.get(name, 0) for name in known},
    }


def _weight(options: _Options, prefix: str, allowed: tuple[str, ...] = ("L1Loss",)) -> float:
    """The weight of a loss that a file may leave out."""
    if not options.has(prefix):
        return 0.0
    options.must(f"{prefix}type", *allowed, why=f"this loss is {' or '.join(allowed)}")
    options.must(f"{prefix}reduction", "mean", why="losses are means")
    return options.number(f"{prefix}loss_weight", 1)


def _given(options: _Options, key: str, path: str) -> dict[str, Any]:
    value = options.take(key)
    return {} if value is None else {path: str(value)}


def _trained_on(options: _Options, field: str) -> None:
    """Weights that a file goes on training: here they could only be taken over, in place of training."""
    value = options.take("path.pretrain_network_g")
    if value is not None:
        options.problems.append(
            f"path.pretrain_network_g: {value!r}: this stage trains from random weights; to take weights over as they "
            f"are, in its place, use {field}"
        )


def _build(changes: dict[str, Any], path: Path) -> RunConfig:
    """Put the changes on AESOP's recipe; stages that the file does not mention keep its values."""
    scale = changes["data.scale"]
    try:
        base = aesop("full")
        patches = {name: _fitting(budget, scale) for name, budget in _budgets(base).items() if name not in changes}
        return replace(base, patches | changes)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _budgets(config: RunConfig) -> dict[str, Budget]:
    return {
        "fidelity.budget": config.fidelity.budget,
        "autoencoder.budget": config.autoencoder.budget,
        "budget": config.budget,
    }


def _fitting(budget: Budget, scale: int) -> dict[str, int]:
    """A stage's own patch where it can be, else three quarters of it."""
    return {"patch": budget.patch if budget.patch % scale == 0 else budget.patch * 3 // 4}
