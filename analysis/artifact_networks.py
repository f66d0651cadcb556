"""The networks in a study's artifact folders, for figures that look at what they do."""

import json
from pathlib import Path
from typing import Any

from study.models import Autoencoder, load_weights


def artifact_part(folder: Path) -> tuple[str, dict[str, Any]]:
    """Which stage an artifact is of, and that part of its configuration.

    Raises:
        ValueError: the folder is no artifact.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        return config["key"].partition("-")[0], config["part"]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{folder} is no artifact: --artifact takes a folder such as runs/artifacts/critics-0123456789abcdef"
        ) from error


def open_autoencoder(folder: Path, part: dict[str, Any]) -> Autoencoder:
    """A frozen auto-encoder from its folder.

    Raises:
        ValueError: its weights are missing, or not of this network.
    """
    fields = ("bottleneck_channels", "factor", "features", "blocks", "growth", "encoder", "decoder", "bicubic_skip")
    network = Autoencoder(**{name: part[name] for name in fields}, scale_head=part["scale_head"])
    load_weights(network, folder / "weights.safetensors")
    return network.eval().requires_grad_(False)
