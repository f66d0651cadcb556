"""LPIPS (Zhang et al., CVPR 2018), version 0.1, from a local backbone file: loss and metric."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from study.models.backbones import AlwaysEval, BackboneName, load_features
from study.models.layers import at_least_float32

LpipsNetwork = Literal["alex", "vgg", "squeeze"]

LPIPS_BACKBONES: Mapping[LpipsNetwork, BackboneName] = MappingProxyType(
    {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet"}
)
LAYER_STEPS: Mapping[LpipsNetwork, tuple[int, ...]] = MappingProxyType(
    {"alex": (4, 8, 16, 16, 16), "vgg": (1, 2, 4, 8, 16), "squeeze": (2, 4, 8, 16, 16, 16, 16)}
)
"""Pixels from one value of each compared layer to the next."""

# Values of a layer's features that are compared at a time: larger layers have bands of rows. On the CPU, bands
# that fit the cache need two thirds of the time (measured); on a GPU, each band costs kernel launches.
_BAND_VALUES = {"cpu": 1 << 18, "other": 1 << 24}
SMALLEST_SIDE = 32  # below, AlexNet's pooling runs out of pixels


class LpipsDistance(AlwaysEval):
    """The published distance, with the `lpips` package's layers and linear heads and the caller's backbone weights.

    The layers' distances are combined here, because the package's square root has an infinite slope, hence NaN
    gradients, wherever all channels of a layer are 0.

    Args:
        path: ImageNet weights of the network's backbone (`LPIPS_BACKBONES`), as `find_backbone` gives it.
        network: "alex" is what papers report; "squeeze" is a cheap training loss.

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
        """Return the compared layers' features, of unit length over the channels; images as for `forward`."""
        return self._of_layers(images, lambda _, features: _described(features))

    def compare(self, sr: Tensor, targets: list[Tensor]) -> Tensor:
        """Return the distance of images from the images of `describe`'s result: shape (N,)."""
        compute = lambda number, features: _layer_distance(features, targets[number], self.heads[number])  # noqa: E731
        return torch.stack(self._of_layers(sr, compute)).sum(dim=0)

    def maps(self, sr: Tensor, hr: Tensor) -> list[Tensor]:
        """Return what `forward` averages: the square distance of each compared layer at its pixels, (N, h, w)."""
        targets = self.describe(hr)
        compute = lambda number, features: torch.cat(_distances(features, targets[number], self.heads[number]), dim=1)  # noqa: E731
        return self._of_layers(sr, compute)

    def _of_layers(self, images: Tensor, compute: Callable[[int, Tensor], Tensor]) -> list[Tensor]:
        """Call `compute` with each compared layer's number and features.

        Features are freed after the next layer: those of a 4K image would need two gigabytes together.
        """
        held, results = [self.scaling(2 * images - 1)], []
        for number, part in enumerate(self._slices):
            for layer in part.children():
                held.append(layer(held.pop()))
            results.append(compute(number, held[0]))
        return results


def _layer_distance(features: Tensor, target: Tensor, head: nn.Module) -> Tensor:
    """Return the weighted square distance of one layer's features (N, C, h, w), averaged over pixels: (N,)."""
    sums = [band.sum(dim=(1, 2)) for band in _distances(features, target, head)]
    return torch.stack(sums).sum(dim=0) / features[0, 0].numel()


def _distances(features: Tensor, target: Tensor, head: nn.Module) -> list[Tensor]:
    """Return the weighted square distance of one layer's features at each pixel, in bands of rows (N, rows, w)."""
    (weights,) = (weight.flatten() for weight in head.parameters())
    bands = []
    for band, expected in zip(_bands(features), _bands(target), strict=True):
        band = at_least_float32(band)
        off = (band * _inverse_length(band)).sub_(expected)  # computed as in _described: 0 for equal images
        with torch.autocast(off.device.type, enabled=False):
            bands.append(off.square().movedim(1, -1) @ weights)
    return bands


def _described(features: Tensor) -> Tensor:
    """Return one layer's features of unit length, without graph."""
    described = torch.empty_like(features, dtype=torch.promote_types(features.dtype, torch.float32))
    for band, place in zip(_bands(features), _bands(described), strict=True):
        band = at_least_float32(band)
        torch.mul(band, _inverse_length(band), out=place)
    return described


def _bands(features: Tensor) -> tuple[Tensor, ...]:
    """Split features into bands of rows to bound the memory of temporaries; small ones are one band."""
    values = _BAND_VALUES.get(features.device.type, _BAND_VALUES["other"])
    return features.split(max(1, values // features[..., 0, :].numel()), dim=2)


def _inverse_length(features: Tensor) -> Tensor:
    """Return 1 / (length + 1e-10), with the published epsilon, of each pixel's features (N, C, h, w): (N, 1, h, w).

    torch's norm has the slope 0 at 0, where the root of a sum of squares has an infinite one.
    """
    return 1 / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def _check_images(sr: Tensor, hr: Tensor) -> None:
    if sr.ndim != 4 or sr.shape[1] != 3 or sr.shape != hr.shape or min(sr.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(
            f"LPIPS needs two RGB batches (N, 3, H, W) of one shape with sides of at least {SMALLEST_SIDE} "
            f"pixels, but got {tuple(sr.shape)} and {tuple(hr.shape)}; use larger images"
        )


def _untrained_lpips(network: LpipsNetwork) -> nn.Module:
    """Build the package's module with its heads and a random backbone, without a download."""
    # The random backbone must not advance the caller's random state; torchvision warns about lpips' arguments.
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
