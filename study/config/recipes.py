"""Every method by name: a recipe is a function of a size that returns a complete configuration.

`full` is the paper's setting (docs/methods), `small` suits a single GPU for some hours, `tiny` two CPU cores for a
minute. Each size keeps every term of the method. At `full`, budgets are each paper's; below, recipes train for equally
many iterations on equally many pixels (AESOP* for two thirds of the iterations, `aesop-256` at `tiny` on twice the
pixels).

A method is a small set of changes to AESOP's recipe, which is written out completely.
"""

from collections.abc import Callable
from typing import Any

from study.config import SPSR_TAPS, ConfigError, RunConfig, flatten, replace, to_dict
from study.config.adaptation import equal_batch, for_task, parse_task, rescale, without_missing_networks
from study.config.recipe_sizes import (
    FAST_OPTIMISER,
    SWINIR,
    Changes,
    Size,
    aesop_full,
    aesop_small,
    aesop_tiny,
)

__all__ = [
    "RECIPES",
    "Recipe",
    "Size",
    "aesop",
    "aesop_256",
    "aesop_real",
    "as_method",
    "consistency",
    "equal_batch",
    "esrgan",
    "for_task",
    "get_recipe",
    "ldl",
    "mdf",
    "parse_task",
    "rescale",
    "spsr",
    "swinir_aesop",
    "swinir_aesop_short",
    "swinir_gan",
    "swinir_ldl",
    "without_missing_networks",
]

Recipe = Callable[[Size], RunConfig]

# ESRGAN and SPSR compare images in the deepest of VGG's layers alone.
DEEPEST_LAYER = {"conv1_2": 0, "conv2_2": 0, "conv3_4": 0, "conv4_4": 0, "conv5_4": 1}
SHORT_SHARE = 2 / 3  # AESOP*: 200,000 of 300,000 iterations
_DECODER_START = "autoencoder.decoder_fidelity."
PIXEL_L1 = {"loss.guidance": "pixel", "loss.fidelity": 1e-2}


def aesop(size: Size = "full") -> RunConfig:
    """Return AESOP: fidelity between auto-encoded images, LDL's artifact map, perceptual term and RaGAN."""
    return {"full": aesop_full, "small": aesop_small, "tiny": aesop_tiny}[size]()


def aesop_256(size: Size = "full") -> RunConfig:
    """Return AESOP on patches of twice the side; below `full` on a quarter as many of them, but two at least."""
    config = aesop(size)
    patch, batch = 2 * config.budget.patch, config.budget.batch
    if size != "full":
        batch = max(2, batch // 4)
    return replace(config, {"recipe": "aesop-256", "budget.patch": patch, "budget.batch": batch})


def ldl(size: Size = "full") -> RunConfig:
    """Return LDL: pixel L1 in AESOP's place, the other terms the same."""
    return replace(aesop(size), {"recipe": "ldl", **PIXEL_L1})


def esrgan(size: Size = "full") -> RunConfig:
    """Return ESRGAN: pixel L1, VGG's deepest layer, RaGAN."""
    changes = {"recipe": "esrgan", **PIXEL_L1, "loss.ldl": 0, "loss.perceptual_layers": DEEPEST_LAYER}
    if size == "full":
        changes |= {
            "budget": {"iterations": 400_000, "batch": 16},
            "optimiser": {"schedule": "steps", "milestones": [0.125, 0.25, 0.5, 0.75]},
        }
    return replace(aesop(size), changes)


def spsr(size: Size = "full") -> RunConfig:
    """Return SPSR: a generator with a gradient branch, and losses and a second GAN on gradient maps."""
    base = aesop(size)
    changes = {
        "recipe": "spsr",
        **PIXEL_L1,
        "generator": {
            "name": "spsr",
            "blocks": max(SPSR_TAPS, base.generator.blocks),
            "growth": base.autoencoder.growth,
            "bilinear_skip": size == "tiny",
        },
        "discriminator.name": "spsr",
        "loss": {
            "ldl": 0,
            "perceptual_layers": DEEPEST_LAYER,
            "gan": "relativistic-joint",
            "gradient": 1e-2,
            "branch": 0.5,
            "gradient_adversarial": base.loss.adversarial,
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
    return replace(base, changes)


def swinir_aesop(size: Size = "full") -> RunConfig:
    """Return SwinIR trained by AESOP, on patches of 256; its auto-encoder is the one of `aesop`."""
    base = aesop(size)
    start = {"autoencoder.decoder_fidelity": base.fidelity.model_dump(mode="json")}
    return replace(base, {"recipe": "swinir-aesop", **start, **SWINIR[size]})


def swinir_aesop_short(size: Size = "full") -> RunConfig:
    """Return AESOP*: `swinir-aesop` for two thirds of the iterations."""
    config = swinir_aesop(size)
    iterations = round(config.budget.iterations * SHORT_SHARE)
    return replace(config, {"recipe": "swinir-aesop-short", "budget.iterations": iterations})


def swinir_ldl(size: Size = "full") -> RunConfig:
    """Return SwinIR trained by LDL: pixel L1 in AESOP's place."""
    return replace(swinir_aesop(size), {"recipe": "swinir-ldl", **PIXEL_L1})


def swinir_gan(size: Size = "full") -> RunConfig:
    """Return SwinIR trained by pixel L1, five VGG layers and RaGAN: our proposal, no such recipe was published."""
    return replace(swinir_aesop(size), {"recipe": "swinir-gan", **PIXEL_L1, "loss.ldl": 0})


def aesop_real(size: Size = "full") -> RunConfig:
    """Return AESOP for real-world images: second-order degradation, U-Net discriminator, plain GAN.

    The auto-encoder learns from clean pairs, without the LR term and with its decoder frozen. At `tiny` the weight of
    the GAN is lowered as for the other recipes.
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
    """Return the downsampled-space loss: only shrunk images are compared, beside a GAN (docs/methods/consistency.md).

    The post that proposes it gives no settings but ESRGAN's generator, so the others are ESRGAN's too. L1 replaces the
    post's MSE, which is too small for images in [0, 1] beside a GAN of this weight.
    """
    changes = {
        "recipe": "consistency",
        "loss": {"guidance": "consistency", "fidelity": 1, "perceptual": 0},
    }
    return replace(esrgan(size), changes)


def mdf(size: Size = "full") -> RunConfig:
    """Return MDF: the distance in the features of critics trained for the task, alone, from random weights.

    The training of its networks was not published: `full` is EDSR's. At `tiny` the generator is the other recipes'.
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
            "optimiser": FAST_OPTIMISER,
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
    """Build a recipe by name, for an up-scaling of 2, 3 or 4; ConfigError lists the known names."""
    if name not in RECIPES:
        raise ConfigError(f"recipe must be one of {', '.join(sorted(RECIPES))}, but got {name!r}")
    if size not in ("full", "small", "tiny"):
        raise ConfigError(f"size must be one of full, small, tiny, but got {size!r}")
    return rescale(RECIPES[name](size), scale)  # type: ignore[arg-type]  # checked on the line above


def as_method(config: RunConfig, name: str) -> dict[str, Any]:
    """Return the changes that turn a configuration into another method at equal budget.

    They are the differences of the two recipes: a field with the same value in both keeps the configuration's value.
    Images, seeds and iterations stay, and a step sees equally many pixels; only AESOP* has fewer iterations.

    Raises:
        ConfigError: no such recipe.
    """
    size, scale = config.size, config.data.scale
    mine, other = (flatten(to_dict(get_recipe(recipe, size, scale))) for recipe in (config.recipe, name))
    kept = ("seed", "size", "budget.", "eval_schedule.")
    changes = {path: value for path, value in other.items() if mine.get(path) != value and not path.startswith(kept)}
    if other.get("autoencoder.decoder_fidelity.seed") is not None:
        changes["autoencoder.decoder_fidelity"] = to_dict(config.fidelity)
        changes = {path: value for path, value in changes.items() if not path.startswith(_DECODER_START)}
    patch = config.budget.patch * other["budget.patch"] // mine["budget.patch"]
    if patch != config.budget.patch:
        changes |= {"budget.patch": patch, "budget.batch": equal_batch(config, patch)}
    if name == "swinir-aesop-short":
        changes["budget.iterations"] = round(config.budget.iterations * SHORT_SHARE)
    return changes
