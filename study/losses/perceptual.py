"""The perceptual loss: the distance of two images in the features of a frozen ImageNet network."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import PerceptualLayers
from study.losses.pixel import check_same_shape
from study.models.backbones import BackboneName, ImageNetModule, load_features
from study.models.layers import at_least_float32
from study.models.lpips_distance import LPIPS_BACKBONES, LpipsDistance

# The index of each layer in torchvision's VGG-19 `features`.
VGG19_INDEX: Mapping[str, int] = MappingProxyType(
    {"conv1_2": 2, "conv2_2": 7, "conv3_4": 16, "conv4_4": 25, "conv5_4": 34}
)

# The ends of MDF's four blocks in torchvision's VGG-16 `features`, and the size to which images are resized.
VGG16_BLOCKS = (0, 4, 9, 16, 23)
VGG16_SIDES = (224, 224)


def layers_by_index(layers: PerceptualLayers) -> dict[int, float]:
    """Return the weights above 0 of VGG-19's layers, by index in `features`."""
    weights: dict[str, float] = layers.model_dump()
    return {VGG19_INDEX[name]: weight for name, weight in weights.items() if weight > 0}


VGG19_LAYERS: Mapping[int, float] = MappingProxyType(layers_by_index(PerceptualLayers()))
"""The five layers of AESOP and LDL; docs/methods/esrgan.md."""


class PerceptualLoss(ImageNetModule):
    """Weighted L1 distance of VGG features before their ReLU (Wang et al. 2018, section 3.3; docs/methods/esrgan.md).

    Args:
        features: a stack of layers such as `load_features("vgg19", path)`, which is frozen here. Its ReLUs must not
            work in place (`load_features` ensures it): they would overwrite the features.
        layers: weight of each layer by its index in the stack.

    Raises:
        ValueError: if `layers` is empty or has an index outside the stack.
    """

    def __init__(self, features: nn.Sequential, *, layers: Mapping[int, float] = VGG19_LAYERS) -> None:
        super().__init__()
        if not layers or min(layers) < 0 or max(layers) >= len(features):
            raise ValueError(
                f"layers must name at least one of the {len(features)} layers (0 to {len(features) - 1}), "
                f"but got {sorted(layers)}"
            )
        self.layers = dict(layers)
        # Layers after the last compared one would only cost time.
        self.features = features[: max(layers) + 1].requires_grad_(False)
        self.eval()

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Sum the layers' weighted mean absolute differences.

        Args:
            sr, hr: RGB images, shape (N, 3, H, W), `hr` in [0, 1]; neither resized nor clamped. The gradient
                goes to `sr` alone.

        Returns:
            Shape (N,), at least float32; 0 for equal images.

        Raises:
            ValueError: if the shapes differ.
        """
        check_same_shape(sr, hr)
        with torch.no_grad():
            targets = self._extract(hr)
        distances = [
            weight * (at_least_float32(found) - at_least_float32(target)).abs().mean(dim=(1, 2, 3))
            for found, target, weight in zip(self._extract(sr), targets, self._weights(), strict=True)
        ]
        return torch.stack(distances).sum(dim=0)

    def _weights(self) -> list[float]:
        return [self.layers[index] for index in sorted(self.layers)]

    def _extract(self, images: Tensor) -> list[Tensor]:
        """Return the features of the compared layers, shallow to deep."""
        features = self.normalised(images)
        found = []
        for index, layer in enumerate(self.features):
            features = layer(features)
            if index in self.layers:
                found.append(features)
        return found


class ResizedPerceptualLoss(ImageNetModule):
    """MDF's VGG term: MSE of VGG-16 features of images resized to 224 x 224, mean of four blocks; docs/methods/mdf.md.

    Args:
        features: VGG-16's stack, such as `load_features("vgg16", path)`; frozen here.
    """

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(features[start:stop] for start, stop in pairwise(VGG16_BLOCKS))
        self.requires_grad_(False).eval()

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Average the blocks' mean squared differences.

        Args:
            sr, hr: RGB images, shape (N, 3, H, W), `hr` in [0, 1]; not clamped. The gradient goes to `sr` alone.

        Returns:
            Shape (N,), at least float32; 0 for equal images.

        Raises:
            ValueError: if the shapes differ.
        """
        check_same_shape(sr, hr)
        with torch.no_grad():
            targets = self._extract(hr)
        distances = [
            (at_least_float32(found) - at_least_float32(target)).square().mean(dim=(1, 2, 3))
            for found, target in zip(self._extract(sr), targets, strict=True)
        ]
        return torch.stack(distances).mean(dim=0)

    def _extract(self, images: Tensor) -> list[Tensor]:
        """Return the features after each block's last ReLU."""
        resized = F.interpolate(images, size=VGG16_SIDES, mode="bilinear", align_corners=False)
        features = self.normalised(resized)
        found = []
        for block in self.blocks:
            features = block(features)
            found.append(features)
        return found


def build_perceptual(
    name: BackboneName,
    path: Path,
    layers: PerceptualLayers = PerceptualLayers(),  # noqa: B008  # frozen
) -> nn.Module:
    """Build the perceptual term of a backbone, a module called as `loss(sr, hr)` -> (N,).

    VGG-19 gives the feature loss of the AESOP comparison, VGG-16 that of MDF's. The small networks have no published
    feature loss; their term is LPIPS, whose layer weights were fitted to human judgements.

    Args:
        path: the backbone's weights, as `find_backbone` gives it.
        layers: the weights of VGG-19's layers; not used by other networks.

    Raises:
        ValueError: if the file does not fit the backbone.
        ImportError: if the term is LPIPS and the `lpips` package is missing.
    """
    if name == "vgg19":
        return PerceptualLoss(load_features(name, path), layers=layers_by_index(layers))
    if name == "vgg16":
        return ResizedPerceptualLoss(load_features(name, path))
    network = next(network for network, backbone in LPIPS_BACKBONES.items() if backbone == name)
    return LpipsDistance(path, network=network)
