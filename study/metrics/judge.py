"""The metrics that a study is judged by, built once and asked per image."""

from pathlib import Path

import torch
from torch import Tensor

from study.metrics.fidelity import psnr_y, ssim_y
from study.metrics.low_resolution import lr_psnr, null_energy
from study.metrics.perceptual import LpipsMetric
from study.metrics.swd import swd


class Judge:
    """PSNR-Y, SSIM-Y and one perceptual distance: LPIPS (AlexNet) with published weights, else SWD, under its own name.

    For information, LR-PSNR and the null-space energy where low-quality images were made by bicubic shrinking.

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
    def __call__(self, sr: Tensor, hr: Tensor, *, shrunk_by: int | None = None) -> dict[str, float]:
        """Judge one image.

        Args:
            sr, hr: shape (1, 3, H, W), RGB, `hr` in [0, 1]; both are quantised first.
            shrunk_by: the SR factor where bicubic shrinking made the LR image; adds what only then has a meaning.
        """
        values = {"psnr_y": psnr_y(sr, hr), "ssim_y": ssim_y(sr, hr)}
        values[self.perceptual] = swd(sr, hr) if self._lpips is None else self._lpips(sr, hr)
        if shrunk_by is not None:
            values |= {"lr_psnr": lr_psnr(sr, hr, shrunk_by), "null_energy": null_energy(sr, shrunk_by)}
        return {name: float(value) for name, value in values.items()}
