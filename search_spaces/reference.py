"""The reference study: at equal compute, which fidelity guidance trades fidelity for perception best?

Command:  analysis/reference/study.sh DATA, which packs the photographs, searches, and repeats the front with new seeds
Time:     an hour for 48 trials on 2 cores, at --size tiny. Result: analysis/reference/, discussed in the README.

Trials are stratified by guidance, so that each has equally many, and all have the same compute: the cost of an iteration
differs, so the iterations do. Only the guidance compares images pixel by pixel (LDL's artifact map is left out), and
LPIPS by SqueezeNet is the perceptual term, because LPIPS by AlexNet evaluates.
"""  # noqa: E501  # a command is one line

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig, replace
from study.config.recipes import Size, aesop, equal_batch, without_missing_networks

SIZE: Size = "tiny"
TRIALS = 48
REFERENCE = {"psnr_y": 22.0, "lpips_alex": 0.45, "swd": 60.0}
GROUPS = ("recipe", "loss.guidance", "budget.patch")

PATCHES = [64, 96]
# AESOP at three bottlenecks: the paper's, a wider one, and one with as many numbers as the image.
WAYS: dict[str, dict[str, Any]] = {
    "aesop-3": {"loss.guidance": "aesop", "autoencoder.bottleneck_channels": 3},
    "pixel": {"loss.guidance": "pixel"},
    "aesop-12": {"loss.guidance": "aesop", "autoencoder.bottleneck_channels": 12},
    "consistency": {"loss.guidance": "consistency"},
    "aesop-48": {"loss.guidance": "aesop", "autoencoder.bottleneck_channels": 48},
    "bottleneck": {"loss.guidance": "bottleneck", "autoencoder.bottleneck_channels": 3},
}
STRATIFY = {"recipe": tuple(WAYS)}
# Equal compute: an iteration takes 0.173, 0.143, 0.108 and 0.111 s on one core (EPYC, Zen 5, bfloat16).
ITERATIONS = {"aesop": 500, "bottleneck": 600, "pixel": 800, "consistency": 780}


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return AESOP on an MSRResNet of 32 features, from a fidelity generator that is well trained for its size."""
    body = {"features": 32, "blocks": 4}
    config = replace(
        aesop(size),
        {
            "recipe": "aesop-3",
            "generator": body,
            "autoencoder": {**body, "budget": {"iterations": 2_000, "batch": 16, "patch": 64}},
            "fidelity.budget": {"iterations": 8_000, "batch": 16, "patch": 64},
            "discriminator.features": 16,
            "loss": {"ldl": 0, "perceptual": 0.3, "adversarial": 5e-3},
            "optimiser.schedule": "cosine",
            "optimiser.minimum": 1e-5,
            "budget": {"iterations": ITERATIONS["aesop"], "batch": 16, "patch": 64},
            "eval_schedule": {"evaluate_every": ITERATIONS["aesop"] // 2, "checkpoint_every": 100},
        },
    )
    return without_missing_networks(config, networks)


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the guidance, its weight, the adversarial and the perceptual weight, and the patch."""
    name = trial.suggest_categorical("recipe", tuple(WAYS))
    patch = trial.suggest_categorical("budget.patch", PATCHES)
    way = WAYS[name]
    iterations = ITERATIONS[way["loss.guidance"]]
    changes = {
        "recipe": name,
        **way,
        "loss.fidelity": trial.suggest_float("loss.fidelity", 0.03, 3.0, log=True),
        "loss.adversarial": trial.suggest_float("loss.adversarial", 5e-4, 1e-2, log=True),
        "budget": {"patch": patch, "batch": equal_batch(base, patch), "iterations": iterations},
        "eval_schedule.evaluate_every": iterations // 2,
    }
    if base.loss.perceptual:
        changes["loss.perceptual"] = trial.suggest_float("loss.perceptual", 0.05, 1.0, log=True)
    return changes
