"""A custom search space: does my loss trade fidelity for perception better than the pixel loss, at equal compute?

Command:  python study/sweep.py --space docs/examples/my_space.py --data photos --output runs/my_space

A space is one file: defaults, a base, and the fields of it that a trial changes. Before a study trains, it draws 32
trials and tries their losses out.
"""

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig, replace
from study.config.recipes import Size, aesop, without_missing_networks

SIZE: Size = "tiny"  # unless --size says another
TRIALS = 12  # unless --trials says another
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}  # the worst values of interest, for the hypervolume
GROUPS = ("loss.guidance",)  # this field separates the fronts that are compared

KINDS = ("pixel", "custom")
STRATIFY = {"loss.guidance": KINDS}  # equally many trials each: pixel, custom, pixel, custom ...


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return the run that trials vary; without its perceptual network, the adversarial term replaces that term."""
    return replace(without_missing_networks(aesop(size), networks), {"loss.guidance": "pixel"})


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the kind of loss, its weight and the adversarial weight."""
    del base
    kind = trial.suggest_categorical("loss.guidance", KINDS)
    return {
        "loss.guidance": kind,
        "loss.custom": "my_loss.py" if kind == "custom" else None,  # relative to this file
        "loss.fidelity": trial.suggest_float("loss.fidelity", 0.03, 3.0, log=True),
        "loss.adversarial": trial.suggest_float("loss.adversarial", 3e-4, 2e-2, log=True),
    }
