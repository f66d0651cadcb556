"""Where should the fidelity of a perceptual generator be measured? AESOP, its ablations, and the pixel loss.

Command:  python study/sweep.py --space guidance --size small --trials 48 --data DF2K/HR --val DIV2K100/HR --output runs/guidance
Time:     25,000 iterations a trial at --size small; 6 minutes for 16 trials of --size tiny on 2 cores.

Trials are stratified by guidance, so that each front rests on equally many (docs/methods/aesop-ablations.md).
"""  # noqa: E501  # a command is one line

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig
from study.config.recipes import Size, aesop, without_missing_networks

SIZE: Size = "small"
TRIALS = 48
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("loss.guidance",)

KINDS = ("aesop", "pixel", "bottleneck", "loss-map", "lr", "probabilistic")
STRATIFY = {"loss.guidance": KINDS}


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return AESOP; without its published network, the adversarial term replaces the perceptual one."""
    return without_missing_networks(aesop(size), networks)


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the guidance, its weight and the adversarial weight."""
    del base
    return {
        "loss.guidance": trial.suggest_categorical("loss.guidance", KINDS),
        "loss.fidelity": trial.suggest_float("loss.fidelity", 1e-2, 3.0, log=True),
        "loss.adversarial": trial.suggest_float("loss.adversarial", 3e-4, 3e-2, log=True),
    }
