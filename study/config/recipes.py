"""Every method by name: a recipe is a function of a size that returns a complete configuration.

`full` is the paper's own setting (METHODS 1.3, 1.5, 1.7, 2, 4), `small` one that suits a single GPU for some hours,
`tiny` one that suits two CPU cores for a minute. Each size keeps every term of the method. `full` is what each paper
did, so budgets differ there; below, recipes train for as many iterations on as many pixels (AESOP* for two thirds of
the iterations, `aesop-256` at `tiny` on twice the pixels).

A method is a small set of changes to AESOP's recipe, which is written out completely.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from study.config import (
    AutoencoderConfig,
    Budget,
    ConfigError,
    DataConfig,
    DiscriminatorConfig,
    EvalSchedule,
    FidelityConfig,
    GeneratorConfig,
    LossConfig,
    Optimiser,
    RunConfig,
    Task,
    flatten,
    replace,
    to_dict,
)

Size = Literal["full", "small", "tiny"]
Recipe = Callable[[Size], RunConfig]
Changes = Mapping[str, Any]

# ESRGAN and SPSR compare images in the deepest of VGG's layers alone (METHODS 4.1).
DEEPEST_LAYER = {"conv1_2": 0, "conv2_2": 0, "conv3_4": 0, "conv4_4": 0, "conv5_4": 1}
SHORT_SHARE = 2 / 3  # AESOP*: 200,000 of 300,000 iterations
_DECODER_START = "autoencoder.decoder_fidelity."
PIXEL_L1 = {"loss.guidance": "pixel", "loss.fidelity": 1e-2}


def aesop(size: Size = "full") -> RunConfig:
    """AESOP: the fidelity term between auto-encoded images, LDL's artifact map, perceptual and RaGAN (METHODS 1.5)."""
    return {"full": _aesop_full, "small": _aesop_small, "tiny": _aesop_tiny}[size]()


def aesop_256(size: Size = "full") -> RunConfig:
    """AESOP on patches of twice the side (METHODS 1.5); below `full` on a quarter as many of them, but two at least."""
    config = aesop(size)
    patch, batch = 2 * config.budget.patch, config.budget.batch
    if size != "full":
        batch = max(2, batch // 4)
    return replace(config, {"recipe": "aesop-256", "budget.patch": patch, "budget.batch": batch})


def ldl(size: Size = "full") -> RunConfig:
    """LDL: pixel L1 in AESOP's place, the other terms the same (METHODS 4.3)."""
    return replace(aesop(size), {"recipe": "ldl", **PIXEL_L1})


def esrgan(size: Size = "full") -> RunConfig:
    """ESRGAN: pixel L1, VGG's deepest layer, RaGAN (METHODS 4.1)."""
    changes = {"recipe": "esrgan", **PIXEL_L1, "loss.ldl": 0, "loss.perceptual_layers": DEEPEST_LAYER}
    if size == "full":
        changes |= {
            "budget": {"iterations": 400_000, "batch": 16},
            "optimiser": {"schedule": "steps", "milestones": [0.125, 0.25, 0.5, 0.75]},
        }
    return replace(aesop(size), changes)


def spsr(size: Size = "full") -> RunConfig:
    """SPSR: a generator with a gradient branch, and losses and a second GAN on gradient maps (METHODS 4.2)."""
    changes = {
        "recipe": "spsr",
        **PIXEL_L1,
        "generator": {"name": "spsr", "blocks": max(4, aesop(size).generator.blocks), "bilinear_skip": size == "tiny"},
        "discriminator.name": "spsr",
        "loss": {
            "ldl": 0,
            "perceptual_layers": DEEPEST_LAYER,
            "gan": "relativistic-joint",
            "gradient": 1e-2,
            "branch": 0.5,
            "gradient_adversarial": aesop(size).loss.adversarial,
        },
        "optimiser.betas": [0.9, 0.999],
        "optimiser.ema_decay": 0,
        "fusion_share": 0.01,
    }
    if size == "full":
        changes |= {
            "seed": 9,
            "budget": {"iterations": 500_000, "batch": 30},
            "optimiser.schedule": "steps",
            "optimiser.milestones": [0.1, 0.2, 0.4, 0.6],
        }
    return replace(aesop(size), changes)


def swinir_aesop(size: Size = "full") -> RunConfig:
    """SwinIR trained by AESOP, on patches of 256 (METHODS 1.5); its auto-encoder is the RRDB one."""
    base = aesop(size)
    start = {"autoencoder.decoder_fidelity": base.fidelity.model_dump(mode="json")}
    return replace(base, {"recipe": "swinir-aesop", **start, **_SWINIR[size]})


def swinir_aesop_short(size: Size = "full") -> RunConfig:
    """AESOP*: the same for two thirds of the iterations (METHODS 1.5)."""
    config = swinir_aesop(size)
    iterations = round(config.budget.iterations * SHORT_SHARE)
    return replace(config, {"recipe": "swinir-aesop-short", "budget.iterations": iterations})


def swinir_ldl(size: Size = "full") -> RunConfig:
    """SwinIR trained by LDL: pixel L1 in AESOP's place."""
    return replace(swinir_aesop(size), {"recipe": "swinir-ldl", **PIXEL_L1})


def swinir_gan(size: Size = "full") -> RunConfig:
    """SwinIR trained by pixel L1, five VGG layers and RaGAN (METHODS 4.4, a proposal: no such recipe was published)."""
    return replace(swinir_aesop(size), {"recipe": "swinir-gan", **PIXEL_L1, "loss.ldl": 0})


def aesop_real(size: Size = "full") -> RunConfig:
    """AESOP for real-world images: second-order degradation, U-Net discriminator, plain GAN (METHODS 1.7).

    The auto-encoder learns from clean pairs, without the LR term and with its decoder frozen (1.3). At `tiny` the
    weight of the GAN is lowered as for the other recipes.
    """
    base = aesop(size)
    changes = {
        "recipe": "aesop-real",
        "data.degradation": "aesop-real",
        "discriminator.name": "unet",
        "loss": {
            "ldl": 0,
            "perceptual_layers.conv1_2": 0,
            "perceptual_target": "sharpened",
            "gan": "vanilla",
            "adversarial": 20 * base.loss.adversarial,
        },
        "autoencoder.bottleneck_weight": 0,
        "autoencoder.frozen_decoder": 1,
        "fidelity.budget.patch": max(base.fidelity.budget.patch, base.budget.patch),
    }
    if size == "full":
        changes |= {
            "fidelity.budget": {"batch": 48, "patch": 256},
            "fidelity.optimiser": {"schedule": "constant"},
            "budget": {"iterations": 400_000, "batch": 48, "patch": 256},
        }
    return replace(base, changes)


def consistency(size: Size = "full") -> RunConfig:
    """The downsampled-space loss: only shrunk images are compared, beside a GAN (METHODS 5).

    The post that proposes it names no settings but ESRGAN's generator: otherwise they are ESRGAN's. By L1, for beside
    a GAN of this weight the post's MSE of images in [0, 1] is too small to hold the generator.
    """
    changes = {
        "recipe": "consistency",
        "loss": {"guidance": "consistency", "fidelity": 1, "perceptual": 0},
    }
    return replace(esrgan(size), changes)


def mdf(size: Size = "full") -> RunConfig:
    """MDF: the distance in the features of critics that know the task, alone, from random weights (METHODS 6).

    Its networks' training was not published: `full` is EDSR's own (2.4). At `tiny` the generator is the other recipes'.
    """
    base = aesop(size)
    changes = {
        "recipe": "mdf",
        "start": "scratch",
        "loss": {"guidance": "mdf", "fidelity": 1, "ldl": 0, "perceptual": 0, "adversarial": 0},
    }
    sizes: dict[Size, Changes] = {
        "full": {
            "generator": {"name": "edsr", "features": 64, "blocks": 16},
            "optimiser": {"schedule": "steps", "milestones": [2 / 3]},
            "budget": {"iterations": 300_000, "batch": 16, "patch": 192},
        },
        "small": {"generator": {"name": "edsr", "features": 64, "blocks": 8}},
        "tiny": {
            "optimiser": _FAST,
            "budget": {"iterations": 800, "batch": 8, "patch": 48},
            "eval_schedule": {"evaluate_every": 200, "checkpoint_every": 100},
            "critics": {"levels": 8, "largest_side": 96, "features": 8, "largest_features": 16, "iterations": 100},
        },
    }
    return replace(base, {**changes, **sizes[size]})


RECIPES: dict[str, Recipe] = {
    "aesop": aesop,
    "aesop-256": aesop_256,
    "aesop-real": aesop_real,
    "consistency": consistency,
    "esrgan": esrgan,
    "ldl": ldl,
    "mdf": mdf,
    "spsr": spsr,
    "swinir-aesop": swinir_aesop,
    "swinir-aesop-short": swinir_aesop_short,
    "swinir-gan": swinir_gan,
    "swinir-ldl": swinir_ldl,
}


def get_recipe(name: str, size: str = "full", scale: int = 4) -> RunConfig:
    """Build a recipe by name, for an up-scaling of 2, 3 or 4; ConfigError names what is known."""
    if name not in RECIPES:
        raise ConfigError(f"recipe must be one of {', '.join(sorted(RECIPES))}, but got {name!r}")
    if size not in ("full", "small", "tiny"):
        raise ConfigError(f"size must be one of full, small, tiny, but got {size!r}")
    return rescale(RECIPES[name](size), scale)  # type: ignore[arg-type]  # checked on the line above


def rescale(config: RunConfig, scale: int) -> RunConfig:
    """Turn a configuration for one up-scaling into one for another.

    The auto-encoder follows, so that its bottleneck keeps the LR image's size (METHODS 1.8). For scale 3, patches
    become three quarters as wide, as wide in LR pixels as for scale 4, or what the discriminator takes nearest to that;
    the number of patches follows where that would make a step see more pixels.

    Raises:
        ConfigError: another scale than 2, 3 or 4.
    """
    if scale not in (2, 3, 4):
        raise ConfigError(f"scale must be 2, 3 or 4, but got {scale}")
    if scale == config.data.scale:
        return config
    changes: dict[str, Any] = {"data.scale": scale, "autoencoder.factor": scale}
    if scale == 3:
        evaluated = config.loss.uses_discriminator
        changes |= _thirds("budget", config.budget, 96 if evaluated else 12)
        clean = config.data.degradation == "bicubic"  # the other degradations need large patches
        changes |= _thirds("fidelity.budget", config.fidelity.budget, 12 if clean else 96)
        changes |= _thirds("autoencoder.budget", config.autoencoder.budget, 12)
        if config.autoencoder.decoder_fidelity is not None:
            start = "autoencoder.decoder_fidelity.budget"
            changes |= _thirds(start, config.autoencoder.decoder_fidelity.budget, 12)
    return replace(config, changes)


def for_task(config: RunConfig, task: Task, strength: float | None = None) -> RunConfig:
    """Turn a configuration into one for another task (METHODS 6.5).

    Restoring images of the same size is done by MSRResNet at scale 1, of the configuration's width and depth.

    Args:
        config: for super-resolution.
        task: what is to be done.
        strength: the noise in levels of 255, or the JPEG quality; None for sr.

    Raises:
        ConfigError: a strength that is missing, out of range, or not needed.
    """
    if task == config.data.task == "sr" and strength is None:
        return config
    distortion: dict[str, float | None] = {"sigma": None, "quality": None}
    if task == "denoise":
        distortion["sigma"] = strength
    elif strength is not None:
        distortion["quality"] = strength if strength % 1 else int(strength)
    changes: dict[str, Any] = {"data": {"task": task, "scale": config.data.scale if task == "sr" else 1, **distortion}}
    if task != "sr":
        changes |= {"generator.name": "msrresnet", "generator.head": "native", "generator.icnr": False}
    return replace(config, changes)


def parse_task(text: str) -> tuple[Task, float | None]:
    """Read `sr`, `denoise:SIGMA` or `jpeg:QUALITY`; ConfigError for anything else."""
    name, colon, value = text.partition(":")
    known: dict[str, Task] = {"sr": "sr", "denoise": "denoise", "jpeg": "jpeg"}
    if name not in known or (name == "sr" and colon):
        raise ConfigError(f"--task takes sr, denoise:SIGMA (such as denoise:25) or jpeg:QUALITY, but got {text!r}")
    if name == "sr":
        return "sr", None
    try:
        return known[name], float(value)
    except ValueError:
        what = {"denoise": "noise in levels of 255", "jpeg": "quality from 1 to 100"}[name]
        raise ConfigError(f"task {name} needs its {what}, such as --task {name}:25, but got {text!r}") from None


def as_method(config: RunConfig, name: str) -> dict[str, Any]:
    """The changes that turn a configuration into another method at equal budget.

    They are what the recipes differ in: a field that both have alike keeps the configuration's value. Images, seeds and
    iterations stay, and a step sees as many pixels; AESOP* alone is shorter, as that is what it is.

    Raises:
        ConfigError: no such recipe.
    """
    size, scale = config.size, config.data.scale
    own, other = (flatten(to_dict(get_recipe(recipe, size, scale))) for recipe in (config.recipe, name))
    kept = ("seed", "size", "budget.", "eval_schedule.")
    changes = {path: value for path, value in other.items() if own.get(path) != value and not path.startswith(kept)}
    if other.get("autoencoder.decoder_fidelity.seed") is not None:
        changes["autoencoder.decoder_fidelity"] = to_dict(config.fidelity)
        changes = {path: value for path, value in changes.items() if not path.startswith(_DECODER_START)}
    patch = config.budget.patch * other["budget.patch"] // own["budget.patch"]
    if patch != config.budget.patch:
        changes |= {"budget.patch": patch, "budget.batch": equal_batch(config, patch)}
    if name == "swinir-aesop-short":
        changes["budget.iterations"] = round(config.budget.iterations * SHORT_SHARE)
    return changes


def equal_batch(config: RunConfig, patch: int) -> int:
    """How many patches of another side see as many pixels a step; two at least."""
    return max(2, round(config.budget.pixels_per_step / patch**2))


def without_missing_networks(config: RunConfig, networks: Collection[str]) -> RunConfig:
    """Drop the perceptual term where its network could not be had; the adversarial term then stands in for it."""
    if config.loss.perceptual_network in networks:
        return config
    adversarial = max(config.loss.adversarial, 5e-3)
    return replace(config, {"loss.perceptual": 0, "loss.adversarial": adversarial})


def _thirds(part: str, budget: Budget, multiple: int) -> dict[str, int]:
    """Three quarters of a patch, as the nearest multiple; and as many as see the same number of pixels, if larger."""
    wanted = budget.patch * 3 // 4
    patch = max(multiple, math.floor(wanted / multiple + 0.5) * multiple)
    batch = budget.batch if patch <= wanted else max(2, round(budget.pixels_per_step / patch**2))
    return {f"{part}.patch": patch, f"{part}.batch": batch}


def _aesop_full() -> RunConfig:
    return RunConfig(
        recipe="aesop",
        size="full",
        data=DataConfig(),
        generator=GeneratorConfig(name="rrdb", features=64, blocks=23, growth=32),
        discriminator=DiscriminatorConfig(features=64),
        fidelity=FidelityConfig(
            budget=Budget(iterations=1_000_000, batch=16, patch=128),
            optimiser=Optimiser(learning_rate=2e-4, schedule="cosine", restarts=4),
        ),
        autoencoder=AutoencoderConfig(budget=Budget(iterations=100_000, batch=64, patch=256), optimiser=Optimiser()),
        loss=LossConfig(),
        optimiser=Optimiser(learning_rate=1e-4),
        budget=Budget(iterations=300_000, batch=64, patch=128),
        eval_schedule=EvalSchedule(evaluate_every=20_000, checkpoint_every=1_000),
    )


def _aesop_small() -> RunConfig:
    body = {"features": 64, "blocks": 6, "growth": 32}
    return replace(
        _aesop_full(),
        {
            "size": "small",
            "generator": body,
            "autoencoder": {**body, "budget": {"iterations": 15_000, "batch": 16, "patch": 128}},
            "fidelity.budget": {"iterations": 50_000, "batch": 16, "patch": 128},
            "fidelity.optimiser.restarts": 1,
            "budget": {"iterations": 25_000, "batch": 16, "patch": 128},
            "eval_schedule": {"evaluate_every": 2_500, "checkpoint_every": 500},
        },
    )


def _aesop_tiny() -> RunConfig:
    # The weights are the ones that help at this size: there the paper's adversarial weight alone spoils LPIPS, and
    # an RGB bottleneck is learned in seconds only with the bicubic skip (METHODS 1.8.7).
    body = {"features": 16, "blocks": 2, "growth": 8}
    return replace(
        _aesop_full(),
        {
            "size": "tiny",
            "generator": {"name": "msrresnet", "init_scale": 0.5, **body},
            "discriminator.features": 8,
            "autoencoder": {
                "decoder": "msrresnet",
                "bicubic_skip": True,
                **body,
                "budget": {"iterations": 200, "batch": 8, "patch": 64},
                "optimiser": _FAST,
            },
            "fidelity": {"budget": {"iterations": 800, "batch": 8, "patch": 48}, "optimiser": _FAST},
            "loss": {"perceptual_network": "squeezenet", "perceptual": 0.3, "adversarial": 1e-3},
            "optimiser": {"learning_rate": 5e-4, "ema_decay": 0.99},
            "budget": {"iterations": 160, "batch": 4, "patch": 64},
            "eval_schedule": {"evaluate_every": 80, "checkpoint_every": 40},
        },
    )


# For networks that learn in a minute.
_FAST = {
    "learning_rate": 1.5e-3,
    "schedule": "cosine",
    "restarts": 1,
    "minimum": 1e-5,
    "warmup": 50,
    "ema_decay": 0.99,
}

# SwinIR and how its PSNR-oriented form is trained (METHODS 2.2).
_SWINIR: dict[Size, Changes] = {
    "full": {
        "seed": 1,
        "generator": {"name": "swinir", "features": 180, "blocks": 6},
        "fidelity.budget": {"iterations": 500_000, "batch": 32, "patch": 256},
        "fidelity.optimiser": {"schedule": "steps", "milestones": [0.5, 0.8, 0.9, 0.95]},
        "budget.patch": 256,
    },
    "small": {
        "generator": {"name": "swinir", "features": 60, "blocks": 4},
        "fidelity.optimiser": {"schedule": "steps", "milestones": [0.5, 0.8, 0.9, 0.95]},
    },
    "tiny": {
        "generator": {
            "name": "swinir",
            "features": 24,
            "blocks": 2,
            "depth": 2,
            "heads": 3,
            "bilinear_skip": True,
        },
        "fidelity.budget": {"batch": 4, "patch": 64},  # two windows a side: what is padded to them costs as much
    },
}
