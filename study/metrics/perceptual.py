"""LPIPS as a metric (Zhang et al., CVPR 2018); requires published weights, unlike `study.metrics.swd`."""

from pathlib import Path

import torch
from torch import Tensor

from study.metrics.quantise import check_pair, quantise
from study.metrics.tiled import Tile, mean, sum_and_count
from study.models.backbones import AlwaysEval
from study.models.lpips_distance import LAYER_STEPS, SMALLEST_SIDE, LpipsDistance, LpipsNetwork


class LpipsMetric(AlwaysEval):
    """Learned perceptual distance, version 0.1, of 8-bit RGB images, not cropped.

    Lower is better; identical images give 0.

    Args:
        path: ImageNet weights of the backbone, as `study.models.backbones.find_backbone` gives it.
        network: "alex" is what papers report.

    Raises:
        ValueError: if the file does not fit the backbone.
        ImportError: if the `lpips` package is missing.
    """

    def __init__(self, path: Path, *, network: LpipsNetwork = "alex") -> None:
        super().__init__()
        self._network = network
        # Channels last halves the time of AlexNet and of SqueezeNet on a CPU (measured).
        self.distance = LpipsDistance(path, network=network).to(memory_format=torch.channels_last)
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
    def prepare(self, hr: Tensor) -> list[Tensor]:
        """Compute the features of HR images, shape (N, 3, H, W), for `compare`."""
        return self.distance.describe(_quantised(hr))

    @torch.no_grad()
    def compare(self, sr: Tensor, prepared: list[Tensor]) -> Tensor:
        """Compute the distance of images (N, 3, H, W) from prepared ones: shape (N,), float64."""
        return self.distance.compare(_quantised(sr), prepared).double()

    @torch.no_grad()
    def sums(self, sr: Tensor, hr: Tensor, tile: Tile) -> list[Tensor]:
        """Return the sum and count of each layer's distances in a tile; images (1, 3, h, w) with its margin."""
        maps = self.distance.maps(_quantised(sr), _quantised(hr))
        steps = LAYER_STEPS[self._network]
        return [sum_and_count(tile.own(map_, step=step)) for map_, step in zip(maps, steps, strict=True)]

    def finish(self, totals: list[Tensor]) -> Tensor:
        """Return the distance from the totals of `sums`: shape (1,)."""
        return torch.stack([mean(total) for total in totals]).sum(dim=0)


def _quantised(images: Tensor) -> Tensor:
    return quantise(images).contiguous(memory_format=torch.channels_last)
