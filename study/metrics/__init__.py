"""Metrics of (sr, hr) pairs: one value per image, shape (N,), float64. `METRICS` has their conventions."""

from study.metrics.autoencoded import ae_psnr
from study.metrics.dists import DistsMetric
from study.metrics.fidelity import ms_ssim, psnr_rgb, psnr_y, ssim_y
from study.metrics.info import METRICS, MetricInfo
from study.metrics.low_resolution import lr_psnr, lr_psnr_rgb, null_energy
from study.metrics.perceptual import LpipsMetric
from study.metrics.quantise import quantise
from study.metrics.swd import swd

__all__ = [
    "METRICS",
    "DistsMetric",
    "LpipsMetric",
    "MetricInfo",
    "ae_psnr",
    "lr_psnr",
    "lr_psnr_rgb",
    "ms_ssim",
    "null_energy",
    "psnr_rgb",
    "psnr_y",
    "quantise",
    "ssim_y",
    "swd",
]
