"""Which method trades fidelity for perception best, each with its own weights, at equal budgets?

Command:  python study/sweep.py --space baselines --size small --trials 54 --data DF2K/HR --val DIV2K100/HR --output runs/baselines
Time:     25,000 iterations a trial at --size small; 12 minutes for 18 trials of --size tiny on 2 cores.

Trials are stratified by method, so that each front rests on equally many trials. All have the same pixels a step and
the same iterations (AESOP* two thirds of them), whatever their papers used. The weights of the fidelity and of the
adversarial term vary by a factor of ten around each recipe's value; all other terms are the recipe's.
"""  # noqa: E501  # a command is one line

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig
from study.config.recipes import Size, aesop, as_method, get_recipe, without_missing_networks

SIZE: Size = "small"
TRIALS = 54
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("recipe", "generator.name")

RECIPES = (
    "aesop",
    "esrgan",
    "spsr",
    "ldl",
    "aesop-256",
    "swinir-gan",
    "swinir-ldl",
    "swinir-aesop",
    "swinir-aesop-short",
)
STRATIFY = {"recipe": RECIPES}
AROUND = 10


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return AESOP; without its published network, the adversarial term replaces the perceptual one."""
    return without_missing_networks(aesop(size), networks)


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the method and its two weights."""
    name = trial.suggest_categorical("recipe", RECIPES)
    changes = as_method(base, name)
    for path in ("loss.fidelity", "loss.adversarial"):
        weight = _recipe_weight(base, name, path)
        changes[path] = trial.suggest_float(f"{path}@{name}", weight / AROUND, weight * AROUND, log=True)
    if "loss.gradient_adversarial" in changes:
        changes["loss.gradient_adversarial"] = changes["loss.adversarial"]
    return changes


def _recipe_weight(base: RunConfig, name: str, path: str) -> float:
    """Return the recipe's weight; the base's where that is larger because it replaces the perceptual term."""
    loss = get_recipe(name, base.size).loss
    if path == "loss.adversarial":
        return max(loss.adversarial, base.loss.adversarial)
    return loss.fidelity
