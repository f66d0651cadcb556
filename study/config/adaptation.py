"""Adapt any configuration to another scale, task or patch, or to missing networks."""

import math
from collections.abc import Collection
from typing import Any

from study.config import Budget, ConfigError, RunConfig, Task, replace


def rescale(config: RunConfig, scale: int) -> RunConfig:
    """Turn a configuration for one up-scaling into one for another.

    The auto-encoder's factor follows, so that its bottleneck keeps the size of the LR image. For scale 3, patches have
    three quarters of the side (as many LR pixels as for scale 4), or the nearest side that the discriminator takes; the
    number of patches falls where a step would see more pixels otherwise.

    Raises:
        ConfigError: another scale than 2, 3 or 4.
    """
    if scale not in (2, 3, 4):
        raise ConfigError(f"scale must be 2, 3 or 4, but got {scale}")
    if scale == config.data.scale:
        return config
    changes: dict[str, Any] = {"data.scale": scale, "autoencoder.factor": scale}
    if scale == 3:
        changes |= _thirds("budget", config.budget, 96 if config.loss.uses_discriminator else 12)
        clean = config.data.degradation == "bicubic"  # the other degradations need large patches
        changes |= _thirds("fidelity.budget", config.fidelity.budget, 12 if clean else 96)
        changes |= _thirds("autoencoder.budget", config.autoencoder.budget, 12)
        if config.autoencoder.decoder_fidelity is not None:
            start = "autoencoder.decoder_fidelity.budget"
            changes |= _thirds(start, config.autoencoder.decoder_fidelity.budget, 12)
    return replace(config, changes)


def for_task(config: RunConfig, task: Task, strength: float | None = None) -> RunConfig:
    """Turn a configuration into one for another task.

    MSRResNet, of the configuration's width and depth, restores images of the same size.

    Args:
        config: for super-resolution.
        task: the task.
        strength: the noise in levels of 255, or the JPEG quality; None for sr.

    Raises:
        ConfigError: a strength that is missing, out of range, or not needed.
    """
    if task == config.data.task == "sr" and strength is None:
        return config
    distortion: dict[str, float | None] = {"sigma": None, "quality": None}
    if task == "denoise":
        distortion["sigma"] = strength
    elif strength is not None:
        distortion["quality"] = strength if strength % 1 else int(strength)
    changes: dict[str, Any] = {"data": {"task": task, "scale": config.data.scale if task == "sr" else 1, **distortion}}
    if task != "sr":
        changes |= {"generator.name": "msrresnet", "generator.head": "native", "generator.icnr": False}
    return replace(config, changes)


def parse_task(text: str) -> tuple[Task, float | None]:
    """Parse `sr`, `denoise:SIGMA` or `jpeg:QUALITY`; ConfigError for anything else."""
    name, colon, value = text.partition(":")
    known: dict[str, Task] = {"sr": "sr", "denoise": "denoise", "jpeg": "jpeg"}
    if name not in known or (name == "sr" and colon):
        raise ConfigError(f"--task takes sr, denoise:SIGMA (such as denoise:25) or jpeg:QUALITY, but got {text!r}")
    if name == "sr":
        return "sr", None
    try:
        return known[name], float(value)
    except ValueError:
        what = {"denoise": "noise in levels of 255", "jpeg": "quality from 1 to 100"}[name]
        raise ConfigError(f"task {name} needs its {what}, such as --task {name}:25, but got {text!r}") from None


def equal_batch(config: RunConfig, patch: int) -> int:
    """Return how many patches of another side have as many pixels as a step has now; at least two."""
    return max(2, round(config.budget.pixels_per_step / patch**2))


def without_missing_networks(config: RunConfig, networks: Collection[str]) -> RunConfig:
    """Drop the perceptual term if its network is not among `networks`; the adversarial weight replaces it."""
    if config.loss.perceptual_network in networks:
        return config
    adversarial = max(config.loss.adversarial, 5e-3)
    return replace(config, {"loss.perceptual": 0, "loss.adversarial": adversarial})


def _thirds(part: str, budget: Budget, multiple: int) -> dict[str, int]:
    """Return three quarters of a patch, to the nearest multiple, and a batch with at most as many pixels a step."""
    wanted = budget.patch * 3 // 4
    patch = max(multiple, math.floor(wanted / multiple + 0.5) * multiple)
    batch = budget.batch if patch <= wanted else max(2, round(budget.pixels_per_step / patch**2))
    return {f"{part}.patch": patch, f"{part}.batch": batch}
