"""The networks in a study's artifact folders, for figures that look at what they do."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config import AUTOENCODER_FIELDS
from study.evaluation import systems
from study.models import Autoencoder, load_weights
from study.models.msrresnet import MSRResNet


@dataclass(frozen=True, kw_only=True)
class Passage:
    """An auto-encoder that losses look through.

    Attributes:
        name: its artifact's, or its file's.
        network: frozen, in eval mode.
        carries: numbers that its narrowest place lets through for each bottleneck pixel.
    """

    name: str
    network: Autoencoder
    carries: int

    @property
    def compression(self) -> float:
        """Bottleneck numbers for each number of the image (METHODS 1.8.5)."""
        return self.network.bottleneck_channels / (3 * self.network.factor**2)


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
    network = Autoencoder(**{name: part[name] for name in AUTOENCODER_FIELDS}, scale_head=part["scale_head"])
    load_weights(network, folder / "weights.safetensors")
    return network.eval().requires_grad_(False)


def find_passages(paths: Sequence[Path]) -> list[Passage]:
    """Open auto-encoders by their weight files or folders, or all in a folder of artifacts; narrow bottlenecks first.

    Raises:
        ValueError: naming the file or folder, and what does not fit.
    """
    found: list[Passage] = []
    for file in dict.fromkeys(file.absolute() for path in paths for file in _weight_files(path)):
        name = file.parent.name if file.name == "weights.safetensors" else file.stem
        if any(other.name == name for other in found):
            raise ValueError(f"{file}: another auto-encoder is called {name}, too; rename one of the two")
        network, _ = systems.open_autoencoder(file)
        found.append(Passage(name=name, network=network, carries=carried_numbers(network)))
    return sorted(found, key=lambda passage: (passage.compression, passage.name))


def carried_numbers(network: Autoencoder) -> int:
    """How many numbers an auto-encoder can carry for each bottleneck pixel: in its narrowest place, skips included.

    Where that is below 3 * factor^2, it is no identity, however it is trained: its Jacobian has no larger rank.
    """
    area = network.factor**2
    encoder = 3
    if network.encoder_name == "learned":
        stem, trunk = (len(network.get_parameter(f"{name}.0.weight")) for name in ("conv_first", "conv_last"))
        encoder = min(stem * area, trunk) + 3 * network.bicubic_skip
    decoder = len(network.decoder.get_parameter("conv_first.weight")) // network.decoder.input_multiple**2
    if isinstance(network.decoder, MSRResNet) and network.bottleneck_channels >= 3:
        decoder += 3  # its bilinear skip
    return min(network.bottleneck_channels, encoder, decoder, 3 * area)


def _weight_files(path: Path) -> list[Path]:
    if not path.is_dir() or (path / "weights.safetensors").is_file():
        return [path / "weights.safetensors"] if path.is_dir() else [path]
    inside = sorted(path.glob("autoencoder-*/weights.safetensors"))
    if not inside:
        raise ValueError(
            f"{path} holds neither an auto-encoder nor folders such as autoencoder-0123456789abcdef; name a weight "
            "file, an artifact's folder, or the folder with a study's artifacts"
        )
    return inside
