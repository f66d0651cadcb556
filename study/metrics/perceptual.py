"""LPIPS as a metric (Zhang et al., CVPR 2018); requires published weights, unlike `study.metrics.swd`."""

from pathlib import Path

import torch
from torch import Tensor

from study.metrics.quantise import check_pair, quantise
from study.models.backbones import AlwaysEval
from study.models.lpips_distance import SMALLEST_SIDE, LpipsDistance, LpipsNetwork


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


def _quantised(images: Tensor) -> Tensor:
    return quantise(images).contiguous(memory_format=torch.channels_last)
