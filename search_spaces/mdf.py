"""Which loss restores images best from random weights: MDF, or one of the losses that it was compared with?

Command:  python study/sweep.py --space mdf --task denoise:25 --size small --data DF2K/HR --val DIV2K100/HR --output runs/mdf
Time:     25,000 iterations a trial at --size small; half an hour for 14 trials of --size tiny on 2 cores.

Trials are stratified by loss; the learning rate varies around the recipe's, because the losses' gradients differ in
size. For super-resolution, or with --task denoise:SIGMA or jpeg:QUALITY (docs/methods/mdf.md). The mixes with VGG or
LPIPS are left out if their networks are missing.
"""  # noqa: E501  # a command is one line

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig
from study.config.recipes import Size
from study.config.recipes import mdf as recipe

SIZE: Size = "small"
TRIALS = 28
REFERENCE = {"psnr_y": 15.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("recipe",)

NETWORKS = ("vgg16", "alexnet")
LOSSES: dict[str, dict[str, Any]] = {
    "mdf": {"guidance": "mdf"},
    "l1": {"guidance": "pixel", "criterion": "l1"},
    "l2": {"guidance": "pixel", "criterion": "l2"},
    "ssim": {"guidance": "ssim"},
    "ms-ssim": {"guidance": "ms-ssim"},
    "vgg-mix": {"guidance": "pixel", "criterion": "l2", "perceptual_network": "vgg16", "perceptual": 1e-2},
    "lpips-mix": {"guidance": "pixel", "criterion": "l2", "perceptual_network": "alexnet", "perceptual": 1.0},
}
NEEDS = {"vgg-mix": "vgg16", "lpips-mix": "alexnet"}
AROUND = 3


def stratify(base: RunConfig, networks: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Return the losses whose network is at hand."""
    del base
    return {"recipe": tuple(name for name in LOSSES if NEEDS.get(name) is None or NEEDS[name] in networks)}


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return MDF."""
    del networks
    return recipe(size)


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the loss and the learning rate."""
    rate = base.optimiser.learning_rate
    name = trial.suggest_categorical("recipe", tuple(LOSSES))
    drawn = trial.suggest_float("optimiser.learning_rate", rate / AROUND, rate * AROUND, log=True)
    return {"optimiser.learning_rate": drawn, "recipe": name, "loss": LOSSES[name]}
