"""Open the networks in a study's artifact folders."""

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
class OpenedAutoencoder:
    """An auto-encoder with its weights.

    Attributes:
        name: of its artifact or file.
        network: frozen, in eval mode.
        capacity: numbers that its narrowest layer can pass for each bottleneck pixel.
    """

    name: str
    network: Autoencoder
    capacity: int

    @property
    def compression(self) -> float:
        """Bottleneck numbers for each number of the image."""
        return self.network.bottleneck_channels / (3 * self.network.factor**2)


def artifact_part(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return an artifact's stage and the part of its configuration that determines it.

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
    """Open a frozen auto-encoder from its artifact folder.

    Raises:
        ValueError: its weights are missing or do not fit.
    """
    network = Autoencoder(**{name: part[name] for name in AUTOENCODER_FIELDS}, scale_head=part["scale_head"])
    load_weights(network, folder / "weights.safetensors")
    return network.eval().requires_grad_(False)


def find_autoencoders(paths: Sequence[Path]) -> list[OpenedAutoencoder]:
    """Open auto-encoders from weight files, artifact folders, or folders of artifacts; by compression ratio.

    Raises:
        ValueError: a path that is none of these, or two auto-encoders of one name.
    """
    found: list[OpenedAutoencoder] = []
    for file in dict.fromkeys(file.absolute() for path in paths for file in _weight_files(path)):
        name = file.parent.name if file.name == "weights.safetensors" else file.stem
        if any(other.name == name for other in found):
            raise ValueError(f"{file}: another auto-encoder has the name {name}; rename one of the two")
        network, _ = systems.open_autoencoder(file)
        found.append(OpenedAutoencoder(name=name, network=network, capacity=capacity_of(network)))
    return sorted(found, key=lambda each: (each.compression, each.name))


def capacity_of(network: Autoencoder) -> int:
    """Return how many numbers the narrowest layer can pass for each bottleneck pixel, skips included.

    It bounds the rank of the Jacobian: below 3 * factor^2, no weights make the auto-encoder the identity.
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
            "file, an artifact's folder, or the folder of a study's artifacts"
        )
    return inside
