"""Which weights suit AESOP, if not even their order of magnitude is known?

Command:  python study/sweep.py --space wide --trials 64 --grace-period 40 --data DF2K/HR --val DIV2K100/HR --output runs/wide
Time:     as space aesop. Half of the draws train badly: for a new network, or for comparing searches.

Each weight, and the learning rate, spans three decades or more around the recipe's value; some trials diverge.
"""  # noqa: E501  # a command is one line

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig
from study.config.recipes import Size, aesop

SIZE: Size = "full"
TRIALS = 64
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("loss.guidance", "autoencoder.bottleneck_channels")

BOTTLENECK_CHANNELS = [3, 6, 12, 24]


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return the paper's AESOP."""
    del networks
    return aesop(size)


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the guidance, its bottleneck, all four weights and the learning rate."""
    changes: dict[str, Any] = {
        "loss.guidance": trial.suggest_categorical("loss.guidance", ["pixel", "aesop"]),
        "loss.fidelity": trial.suggest_float("loss.fidelity", 1e-3, 10.0, log=True),
        "loss.ldl": trial.suggest_float("loss.ldl", 1e-2, 10.0, log=True),
    }
    if base.loss.perceptual:
        changes["loss.perceptual"] = trial.suggest_float("loss.perceptual", 1e-2, 10.0, log=True)
    changes["loss.adversarial"] = trial.suggest_float("loss.adversarial", 1e-4, 1.0, log=True)
    changes["optimiser.learning_rate"] = trial.suggest_float("optimiser.learning_rate", 1e-6, 1e-2, log=True)
    if changes["loss.guidance"] == "aesop":
        name = "autoencoder.bottleneck_channels"
        changes[name] = trial.suggest_categorical(name, BOTTLENECK_CHANNELS)
    return changes
