"""LPIPS (Zhang et al., CVPR 2018), version 0.1, from a local backbone file: loss and metric."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from study.models.backbones import AlwaysEval, BackboneName, load_features

LpipsNetwork = Literal["alex", "vgg", "squeeze"]

LPIPS_BACKBONES: Mapping[LpipsNetwork, BackboneName] = MappingProxyType(
    {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet"}
)
# How many values of a layer's features are compared at a time: larger layers are taken in bands of rows. On the CPU, a
# band that stays in its cache takes two thirds of the time (measured); on a GPU, each band costs its launches.
_BAND_VALUES = {"cpu": 1 << 18, "other": 1 << 24}
SMALLEST_SIDE = 32  # below, AlexNet's pooling runs out of pixels


class LpipsDistance(AlwaysEval):
    """The published distance: the `lpips` package's layers and linear heads, the caller's backbone weights.

    The layers' distances are combined here rather than by the package, because its square root has an
    infinite slope, hence NaN gradients, wherever all channels of a layer are 0.

    Args:
        path: ImageNet weights of the network's backbone (`LPIPS_BACKBONES`), as `find_backbone` gives it.
        network: "alex" is the one that papers report; "squeeze" is a cheap training loss.

    Raises:
        ValueError: if the file does not fit the backbone.
        ImportError: if the `lpips` package is missing.
    """

    def __init__(self, path: Path, *, network: LpipsNetwork = "alex") -> None:
        super().__init__()
        if network not in LPIPS_BACKBONES:
            raise ValueError(f"network must be one of {sorted(LPIPS_BACKBONES)}, but got {network!r}")
        published = _untrained_lpips(network)
        self.scaling = published.get_submodule("scaling_layer")
        self.backbone = published.get_submodule("net")
        self._slices = [part for name, part in self.backbone.named_children() if name.startswith("slice")]
        self.heads = nn.ModuleList(published.get_submodule("lins").children())
        _load_backbone(self.backbone, load_features(LPIPS_BACKBONES[network], path))
        self.requires_grad_(False)
        self.eval()

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Measure the distance of each pair; lower is closer.

        Args:
            sr, hr: RGB images, shape (N, 3, H, W), `hr` in [0, 1] and `sr` about there; not clamped, sides of
                at least 32. The gradient goes to `sr` alone.

        Returns:
            Shape (N,), at least float32; 0 for equal images.

        Raises:
            ValueError: if the shapes differ or an image is too small.
        """
        _check_images(sr, hr)
        with torch.no_grad():
            targets = self.describe(hr)
        return self.compare(sr, targets)

    def describe(self, images: Tensor) -> list[Tensor]:
        """Features of the compared layers, of unit length over the channels; images as for `forward`."""
        return self._of_layers(images, lambda _, features: _described(features))

    def compare(self, sr: Tensor, targets: list[Tensor]) -> Tensor:
        """The distance of images from others that were described before: shape (N,)."""
        compute = lambda number, features: _layer_distance(features, targets[number], self.heads[number])  # noqa: E731
        return torch.stack(self._of_layers(sr, compute)).sum(dim=0)

    def _of_layers(self, images: Tensor, compute: Callable[[int, Tensor], Tensor]) -> list[Tensor]:
        """Compute something of each compared layer's number and features.

        Nothing holds features longer than the next layer needs: of a 4K image, all of them would take two gigabytes.
        """
        held, results = [self.scaling(2 * images - 1)], []
        for number, part in enumerate(self._slices):
            for layer in part.children():
                held.append(layer(held.pop()))
            results.append(compute(number, held[0]))
        return results


def _layer_distance(features: Tensor, target: Tensor, head: nn.Module) -> Tensor:
    """The weighted square distance of one layer's features (N, C, h, w), averaged over its pixels: (N,)."""
    (weights,) = (weight.flatten() for weight in head.parameters())
    sums = []
    for band, expected in zip(_bands(features), _bands(target), strict=True):
        band = _at_least_float32(band)
        off = (band * _inverse_length(band)).sub_(expected)  # computed as in _described: 0 for equal images
        with torch.autocast(off.device.type, enabled=False):
            sums.append((off.square().movedim(1, -1) @ weights).sum(dim=(1, 2)))
    return torch.stack(sums).sum(dim=0) / features[0, 0].numel()


def _described(features: Tensor) -> Tensor:
    """One layer's features of unit length, without graph."""
    described = torch.empty_like(features, dtype=torch.promote_types(features.dtype, torch.float32))
    for band, place in zip(_bands(features), _bands(described), strict=True):
        band = _at_least_float32(band)
        torch.mul(band, _inverse_length(band), out=place)
    return described


def _bands(features: Tensor) -> tuple[Tensor, ...]:
    """Features in bands of rows, so that what is computed of them takes little memory; small ones in one."""
    values = _BAND_VALUES.get(features.device.type, _BAND_VALUES["other"])
    return features.split(max(1, values // features[..., 0, :].numel()), dim=2)


def _inverse_length(features: Tensor) -> Tensor:
    """What makes each pixel's features (N, C, h, w) of unit length: (N, 1, h, w); 1e-10 is the published epsilon.

    The norm's slope at 0 is 0 in torch, where that of a root of a sum would be infinite.
    """
    return 1 / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def _at_least_float32(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _check_images(sr: Tensor, hr: Tensor) -> None:
    if sr.ndim != 4 or sr.shape[1] != 3 or sr.shape != hr.shape or min(sr.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(
            f"LPIPS needs two RGB batches (N, 3, H, W) of one shape with sides of at least {SMALLEST_SIDE} "
            f"pixels, but got {tuple(sr.shape)} and {tuple(hr.shape)}; use larger images"
        )


def _untrained_lpips(network: LpipsNetwork) -> nn.Module:
    """The package's module with its own heads and a random backbone, so that it downloads nothing."""
    # The random backbone must not shift the caller's random numbers; torchvision warns of how it is called.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import lpips
        except ImportError as error:
            raise ImportError(f"LPIPS needs the `lpips` package: pip install lpips ({error})") from error
        module: nn.Module = lpips.LPIPS(net=network, version="0.1", pretrained=True, pnet_rand=True, verbose=False)
    return module


def _load_backbone(slices: nn.Module, features: nn.Sequential) -> None:
    """Fill the package's `slice{k}.{index}.*`, where index counts the layers of torchvision's `features`."""
    known = features.state_dict()
    slices.load_state_dict({name: known[name.split(".", maxsplit=1)[1]] for name in slices.state_dict()})
