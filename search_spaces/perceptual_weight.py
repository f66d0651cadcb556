"""Which weight of a perceptual distance is best for restoration? MSE + w * VGG and MSE + w * LPIPS over a grid of w.

Command:  python study/sweep.py --space perceptual_weight --size small --data DF2K/HR --val DIV2K100/HR --output runs/weights
Time:     25,000 iterations a trial at --size small; a quarter of an hour for 10 trials of --size tiny on 2 cores.

The weight search that MDF is compared with (docs/methods/mdf.md). `vgg16` is its VGG term, `alexnet` its LPIPS, which
also evaluates: there, training on the metric explains the gain. `squeezenet` is LPIPS by another network. Missing
networks are left out. --task denoise:25 or jpeg:10 for other tasks.
"""  # noqa: E501  # a command is one line

from collections.abc import Collection
from typing import Any

import optuna

from study.config import RunConfig, replace
from study.config.recipes import Size, mdf

SIZE: Size = "small"
TRIALS = 15
REFERENCE = {"psnr_y": 15.0, "lpips_alex": 0.8, "swd": 60.0}
GROUPS = ("loss.perceptual_network", "loss.perceptual")

NETWORKS = ("vgg16", "alexnet", "squeezenet")
WEIGHTS = (1e-2, 1e-4, 1e-3, 1e-1, 1.0)


def stratify(base: RunConfig, networks: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Return every weight with every network at hand."""
    del base
    return {"loss.perceptual_network": _at_hand(networks), "loss.perceptual": WEIGHTS}


def base(size: Size, networks: Collection[str]) -> RunConfig:
    """Return MDF's training with MSE and a perceptual distance in place of MDF."""
    loss = {
        "guidance": "pixel",
        "criterion": "l2",
        "perceptual_network": _at_hand(networks)[0],
        "perceptual": WEIGHTS[0],
    }
    return replace(mdf(size), {"recipe": "mse-perceptual", "loss": loss})


def sample(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    """Vary the network and its weight."""
    del base
    return {
        "loss.perceptual_network": trial.suggest_categorical("loss.perceptual_network", NETWORKS),
        "loss.perceptual": trial.suggest_categorical("loss.perceptual", WEIGHTS),
    }


def _at_hand(networks: Collection[str]) -> tuple[str, ...]:
    """Return our networks that are available; all if none is, so that the missing ones are named."""
    return tuple(name for name in NETWORKS if name in networks) or NETWORKS
