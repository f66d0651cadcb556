"""Does AESOP trade fidelity for perception better than the pixel loss? In a few minutes, on a CPU.

Command:  make study   (python study/sweep.py --space quick --interpolate 1 --output runs/quick)
Time:     about 5 minutes on 2 cores, set-up included. Result: a hint, no claim; it is far too short.

Every trial has the same number of pixels a step: a small patch comes with a large batch.
"""

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig
from study.config.recipes import Size, aesop, equal_batch, without_missing_networks

SIZE: Size = "tiny"
TRIALS = 12
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("loss.guidance", "autoencoder.bottleneck_channels", "budget.patch")

PATCHES = {2: [32, 64], 3: [96], 4: [32, 64]}


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return AESOP; without its published network, the adversarial term replaces the perceptual one."""
    return without_missing_networks(aesop(size), networks)


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the guidance, its bottleneck, the weights and the patch."""
    patch = trial.suggest_categorical("budget.patch", PATCHES[base.data.scale])
    changes = {
        "loss.guidance": trial.suggest_categorical("loss.guidance", ["pixel", "aesop"]),
        "loss.fidelity": trial.suggest_float("loss.fidelity", 0.03, 3.0, log=True),
        "loss.ldl": trial.suggest_float("loss.ldl", 0.1, 3.0, log=True),
        "loss.adversarial": trial.suggest_float("loss.adversarial", 3e-4, 2e-2, log=True),
        "budget.patch": patch,
        "budget.batch": equal_batch(base, patch),
    }
    if base.loss.perceptual:
        changes["loss.perceptual"] = trial.suggest_float("loss.perceptual", 0.05, 1.0, log=True)
    if changes["loss.guidance"] == "aesop":
        name = "autoencoder.bottleneck_channels"
        changes[name] = trial.suggest_categorical(name, [3, 12])
    return changes
