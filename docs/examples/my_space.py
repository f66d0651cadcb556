"""An own search space: does my loss trade fidelity for perception better than the pixel loss, at equal compute?

Command:  python study/sweep.py --space docs/examples/my_space.py --data photos --output runs/my_space

A space is this one file: defaults, a base, and what a trial may change of it, by the fields of a configuration. It is
drawn from 32 times, and its losses are tried out, before anything is trained.
"""

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig, replace
from study.config.recipes import Size, aesop, without_missing_networks

SIZE: Size = "tiny"  # unless --size says another
TRIALS = 12  # unless --trials says another
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}  # the worst values of interest, for the hypervolume
GROUPS = ("loss.guidance",)  # fronts are told apart, and compared, by this field

KINDS = ("pixel", "custom")
STRATIFY = {"loss.guidance": KINDS}  # as many trials each: pixel, own, pixel, own ...


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """The run that trials vary. Where its perceptual network cannot be had, the adversarial term stands in for it."""
    return replace(without_missing_networks(aesop(size), networks), {"loss.guidance": "pixel"})


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """What a trial changes: the kind of loss, its weight, and that of its counterpart."""
    del base
    kind = trial.suggest_categorical("loss.guidance", KINDS)
    return {
        "loss.guidance": kind,
        "loss.custom": "my_loss.py" if kind == "custom" else None,  # the path starts where this file is
        "loss.fidelity": trial.suggest_float("loss.fidelity", 0.03, 3.0, log=True),
        "loss.adversarial": trial.suggest_float("loss.adversarial", 3e-4, 2e-2, log=True),
    }
