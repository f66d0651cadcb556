"""Metrics: each measures (sr, hr) pairs and returns one value per image, shape (N,), float64.

What each means stands with its function. Whoever averages, does so over the images of a set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from study.metrics.fidelity import psnr_y, ssim_y
from study.metrics.low_resolution import lr_psnr, null_energy
from study.metrics.perceptual import LpipsMetric
from study.metrics.quantise import quantise
from study.metrics.swd import swd


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricInfo:
    """What a reader of a table or an axis needs to know of a metric."""

    name: str
    label: str
    """Short, for an axis or a column."""
    direction: Literal["maximize", "minimize"]
    unit: str
    """Empty where the number has none."""
    text: str
    """One line for people."""


METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            MetricInfo(
                name="psnr_y",
                label="PSNR-Y",
                direction="maximize",
                unit="dB",
                text="peak signal-to-noise ratio on luma, border cropped",
            ),
            MetricInfo(
                name="ssim_y",
                label="SSIM-Y",
                direction="maximize",
                unit="",
                text="structural similarity on luma, border cropped",
            ),
            MetricInfo(
                name="lr_psnr",
                label="LR-PSNR",
                direction="maximize",
                unit="dB",
                text="PSNR on luma of both images shrunk by bicubic, border cropped",
            ),
            MetricInfo(
                name="null_energy",
                label="null energy",
                direction="minimize",
                unit="",
                text="mean square, in levels of 255, of the part of the image that bicubic shrinking does not see",
            ),
            MetricInfo(
                name="lpips",
                label="LPIPS (AlexNet)",
                direction="minimize",
                unit="",
                text="LPIPS 0.1 with published weights, RGB",
            ),
            MetricInfo(
                name="swd",
                label="SWD x1000",
                direction="minimize",
                unit="",
                text="sliced Wasserstein distance of Laplacian-pyramid patches, RGB, no learned weights",
            ),
        )
    }
)

__all__ = ["METRICS", "LpipsMetric", "MetricInfo", "lr_psnr", "null_energy", "psnr_y", "quantise", "ssim_y", "swd"]
