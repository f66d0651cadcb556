"""DISTS (Ding et al., "Image quality assessment: unifying structure and texture similarity", 2020)."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.metrics.quantise import check_pair, quantise
from study.metrics.tiled import Tile
from study.models.backbones import ImageNetModule, load_features

SMALLEST_SIDE = 32
"""Of images: below it, the deepest features would be one pixel, whose variance is 0."""

STEPS = (1, 2, 4, 8, 16)
"""Pixels from one value of each stage to the next."""

CHANNELS = (3, 64, 128, 256, 512, 512)
_EPSILON = 1e-6


@dataclass(frozen=True)
class Moments:
    """One stage's features (N, C, h, w) minus their mean over the image, that mean, and their variance (N, C)."""

    centred: Tensor
    mean: Tensor
    variance: Tensor


class DistsMetric(ImageNetModule):
    """Distance of structure and texture in VGG-16's features of 8-bit RGB images, not resized and not cropped.

    Lower is better; identical images give 0. The channel weights are those of the paper's authors.

    Args:
        path: ImageNet weights of VGG-16, as `study.models.backbones.find_backbone` gives it.

    Raises:
        ValueError: if the file does not fit VGG-16.
        ImportError: if the `torchmetrics` package, which has the channel weights, is missing.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.stages = _stages(load_features("vgg16", path))
        alpha, beta = _channel_weights()
        whole = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha / whole)
        self.register_buffer("beta", beta / whole)
        self.requires_grad_(False).to(memory_format=torch.channels_last)
        self.eval()

    @torch.no_grad()
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Compute the distance of each pair.

        Args:
            sr, hr: RGB images in [0, 1], shape (N, 3, H, W), sides of at least 32; quantised to 8 bits here.

        Returns:
            Shape (N,), float64.

        Raises:
            ValueError: for shapes that differ, images too small, or `hr` outside [0, 1].
        """
        check_pair(sr, hr, smallest_side=SMALLEST_SIDE)
        return self.compare(sr, self.prepare(hr))

    @torch.no_grad()
    def prepare(self, hr: Tensor) -> list[Moments]:
        """Compute the moments of HR images, shape (N, 3, H, W), for `compare`."""
        images = quantise(hr).contiguous(memory_format=torch.channels_last)
        features, moments = self.normalised(images), [_moments(images)]
        for stage in self.stages:
            features = stage(features)
            moments.append(_moments(features))
        return moments

    @torch.no_grad()
    def compare(self, sr: Tensor, prepared: list[Moments]) -> Tensor:
        """Compute the distance of images (N, 3, H, W) from prepared ones: shape (N,), float64."""
        stages = []
        for x, y in zip(self.prepare(sr), prepared, strict=True):
            covariance = (x.centred * y.centred).mean(dim=(2, 3)).double()
            stages.append((x.mean, y.mean, x.variance, y.variance, covariance))
        return self._distance(stages)

    @torch.no_grad()
    def sums(self, sr: Tensor, hr: Tensor, tile: Tile) -> list[Tensor]:
        """Return the sums of each stage's features, squares and products in a tile, and their number: (6, 1, C)."""
        features = quantise(torch.cat([sr, hr])).contiguous(memory_format=torch.channels_last)
        sums = [_power_sums(tile.own(features))]
        features = self.normalised(features)
        for stage, step in zip(self.stages, STEPS, strict=True):
            features = stage(features)
            sums.append(_power_sums(tile.own(features, step=step)))
        return sums

    def finish(self, totals: list[Tensor]) -> Tensor:
        """Return the distance from the totals of `sums`: shape (1,)."""
        stages = []
        for total in totals:
            x, y, xx, yy, xy = total[1:] / total[0]
            stages.append((x, y, (xx - x**2).clamp(min=0), (yy - y**2).clamp(min=0), xy - x * y))
        return self._distance(stages)

    def _distance(self, stages: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]) -> Tensor:
        """Combine the means of SR and HR, their variances and the covariance of each stage, shape (N, C)."""
        textures, structures = [], []
        for x, y, variance_x, variance_y, covariance in stages:
            textures.append((2 * x * y + _EPSILON) / (x**2 + y**2 + _EPSILON))
            structures.append((2 * covariance + _EPSILON) / (variance_x + variance_y + _EPSILON))
        of_textures = torch.cat(textures, dim=1) @ self.get_buffer("alpha")
        return 1 - of_textures - torch.cat(structures, dim=1) @ self.get_buffer("beta")


class L2Pool(nn.Module):
    """Root of a 3x3 Hann-weighted mean of squares at every second pixel; replaces max-pooling."""

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        window = torch.hann_window(5, periodic=False)[1:-1]
        kernel = torch.outer(window, window)
        self.register_buffer("kernel", (kernel / kernel.sum()).repeat(channels, 1, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Pool (N, C, H, W), sides halved and rounded up."""
        pooled = F.conv2d(features.square(), self.kernel, stride=2, padding=1, groups=len(self.kernel))
        return (pooled + 1e-12).sqrt()


def _moments(features: Tensor) -> Moments:
    mean = features.mean(dim=(2, 3), keepdim=True)
    centred = features - mean
    return Moments(centred, mean[:, :, 0, 0].double(), centred.square().mean(dim=(2, 3)).double())


def _power_sums(features: Tensor) -> Tensor:
    """Return the count, sums, squares' sums and products' sum of SR's and HR's features (2, C, h, w): (6, 1, C)."""
    total = lambda values: values.sum(dim=(1, 2), dtype=torch.float64)  # noqa: E731
    x, y = features
    count = torch.full_like(total(x), x[0].numel())
    return torch.stack([count, total(x), total(y), total(x * x), total(y * y), total(x * y)])[:, None]


def _stages(features: nn.Sequential) -> nn.ModuleList:
    """Split VGG-16's layers up to relu5_3 before each pooling, which becomes an L2 pooling."""
    stages: list[nn.Sequential] = [nn.Sequential()]
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            stages.append(nn.Sequential(L2Pool(CHANNELS[len(stages)])))
        else:
            stages[-1].append(layer)
    return nn.ModuleList(stages[:5])


@lru_cache(maxsize=1)
def _channel_weights() -> tuple[Tensor, Tensor]:
    """Load the authors' weights of texture and of structure, one per channel of all stages, float64: shape (1475,)."""
    spec = find_spec("torchmetrics")  # does not import the package
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("DISTS needs the weights inside the `torchmetrics` package: pip install 'torchmetrics>=1.7'")
    path = Path(spec.submodule_search_locations[0]) / "functional" / "image" / "dists_models" / "weights.pt"
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ImportError(f"this `torchmetrics` has no {path.name} for DISTS: install torchmetrics>=1.7") from error
    return weights["alpha"].flatten().double(), weights["beta"].flatten().double()
