"""How does a loss on shrunk images change the rest of the image, by up-sampling head, with and without a GAN?

Command:  python study/sweep.py --space consistency --size small --data DF2K/HR --val DIV2K100/HR --output runs/consistency
Time:     25,000 iterations a trial at --size small.

Trials are stratified by head and adversarial weight, one trial a pair (docs/methods/consistency.md).
"""  # noqa: E501  # a command is one line

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig, replace
from study.config.recipes import Size
from study.config.recipes import consistency as recipe

SIZE: Size = "small"
TRIALS = 10
REFERENCE = {"psnr_y": 15.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("loss.adversarial", "generator.head")

HEADS = ("nearest", "espcn", "sub-pixel", "transposed", "pre-upsampling")


def stratify(base: RunConfig, networks: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Return every head with and without the adversarial term."""
    del networks
    return {"generator.head": HEADS, "loss.adversarial": (base.loss.adversarial, 0.0)}


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return the downsampled-space loss with a nearest-neighbour head; it needs no published network."""
    del networks
    return replace(recipe(size), {"generator.head": HEADS[0]})


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the head, and whether there is an adversarial term."""
    weights = (base.loss.adversarial, 0.0)
    return {
        "generator.head": trial.suggest_categorical("generator.head", HEADS),
        "loss.adversarial": trial.suggest_categorical("loss.adversarial", weights),
    }
