"""The metrics that a study is judged by, built once and asked per image."""

from pathlib import Path

import torch
from torch import Tensor

from study.metrics.fidelity import psnr_y, ssim_y
from study.metrics.perceptual import LpipsMetric
from study.metrics.swd import swd


class Judge:
    """PSNR-Y, SSIM-Y and one perceptual distance: LPIPS (AlexNet) with published weights, else SWD, under its own name.

    Attributes:
        perceptual: name of the perceptual metric, `lpips` or `swd`.
    """

    def __init__(self, alexnet: Path | None, device: torch.device) -> None:
        """Build the metrics.

        Args:
            alexnet: file with the published AlexNet weights; None where there are none.
            device: where to compute.
        """
        self._lpips = LpipsMetric(alexnet).to(device) if alexnet is not None else None
        self.perceptual = "swd" if self._lpips is None else "lpips"

    @torch.no_grad()
    def __call__(self, sr: Tensor, hr: Tensor) -> dict[str, float]:
        """Judge one image: `sr` and `hr` of shape (1, 3, H, W), RGB, `hr` in [0, 1]; both are quantised first."""
        values = {"psnr_y": psnr_y(sr, hr), "ssim_y": ssim_y(sr, hr)}
        values[self.perceptual] = swd(sr, hr) if self._lpips is None else self._lpips(sr, hr)
        return {name: float(value) for name, value in values.items()}
