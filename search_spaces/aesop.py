"""How does AESOP's trade-off move with the bottleneck, the loss weights, the patch, and with the guidance itself?

Command:  python study/sweep.py --space aesop --trials 64 --data DF2K/HR --val DIV2K100/HR --output runs/aesop
Time:     the paper's setting: 300,000 iterations a trial; --size small for a study within days on one GPU.

Around the paper's recipe (docs/methods/aesop.md); every trial has the same number of pixels a step.
"""

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig
from study.config.recipes import Size, aesop, equal_batch

SIZE: Size = "full"
TRIALS = 64
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("loss.guidance", "autoencoder.bottleneck_channels", "budget.patch")

PATCHES = {"full": [128, 256], "small": [96, 128, 192], "tiny": [32, 64, 96]}
PATCHES_OF_SCALE_3 = {"full": [96, 192], "small": [96, 192], "tiny": [96, 192]}
# The compression ratio is C_b / (3 * factor**2): 1/16 for the paper's three channels.
BOTTLENECK_CHANNELS = [3, 6, 12, 24]


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return the paper's AESOP; its perceptual term is part of the method, so its network is required."""
    del networks
    return aesop(size)


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the guidance, its bottleneck, all four weights and the patch."""
    patches = PATCHES_OF_SCALE_3 if base.data.scale == 3 else PATCHES
    patch = trial.suggest_categorical("budget.patch", patches[base.size])
    changes: dict[str, Any] = {
        "loss.guidance": trial.suggest_categorical("loss.guidance", ["pixel", "aesop"]),
        "loss.fidelity": trial.suggest_float("loss.fidelity", 1e-2, 3.0, log=True),
        "loss.ldl": trial.suggest_float("loss.ldl", 0.1, 3.0, log=True),
    }
    if base.loss.perceptual:
        changes["loss.perceptual"] = trial.suggest_float("loss.perceptual", 0.1, 3.0, log=True)
    changes["loss.adversarial"] = trial.suggest_float("loss.adversarial", 3e-4, 3e-2, log=True)
    changes["budget.patch"] = patch
    changes["budget.batch"] = equal_batch(base, patch)
    if changes["loss.guidance"] == "aesop":
        name = "autoencoder.bottleneck_channels"
        changes[name] = trial.suggest_categorical(name, BOTTLENECK_CHANNELS)
    return changes
