"""What each metric is: names, direction, convention and source, for tables and axes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricInfo:
    """A metric and its convention.

    Attributes:
        label: short name, for an axis or a column.
        direction: which values are better.
        colour: the channels that are compared.
        smallest_side: of images, in HR pixels.
        range: possible values; identical images give the better end.
        text: one line for readers.
        source: paper, or page of the documentation.
        unit: empty for a pure number.
        crop: HR pixels that are left out along each side.
        decimals: in a table.
    """

    label: str
    direction: Literal["maximize", "minimize"]
    colour: Literal["luma", "RGB"]
    smallest_side: int
    range: tuple[float, float]
    text: str
    source: str
    unit: str = ""
    crop: int = 0
    decimals: int = 4


_INFINITE = float("inf")

# fmt: off
METRICS: Mapping[str, MetricInfo] = MappingProxyType({
    "psnr_y": MetricInfo(
        label="PSNR-Y", direction="maximize", unit="dB", colour="luma", crop=4, range=(0, 80), smallest_side=9,
        decimals=3, text="peak signal-to-noise ratio on luma, border cropped", source="docs/methods/metrics.md"),
    "ssim_y": MetricInfo(
        label="SSIM-Y", direction="maximize", colour="luma", crop=4, range=(-1, 1), smallest_side=19,
        text="structural similarity on luma, border cropped", source="Wang et al. 2004"),
    "lpips_alex": MetricInfo(
        label="LPIPS (AlexNet)", direction="minimize", colour="RGB", range=(0, _INFINITE), smallest_side=32,
        text="LPIPS 0.1 with published AlexNet weights, RGB", source="Zhang et al. 2018"),
    "lpips_vgg": MetricInfo(
        label="LPIPS (VGG-16)", direction="minimize", colour="RGB", range=(0, _INFINITE), smallest_side=32,
        text="LPIPS 0.1 with published VGG-16 weights, RGB", source="Zhang et al. 2018"),
    "lpips_squeeze": MetricInfo(
        label="LPIPS (SqueezeNet)", direction="minimize", colour="RGB", range=(0, _INFINITE), smallest_side=32,
        text="LPIPS 0.1 with published SqueezeNet weights, RGB", source="Zhang et al. 2018"),
    "dists": MetricInfo(
        label="DISTS", direction="minimize", colour="RGB", range=(0, 1), smallest_side=32,
        text="structure and texture distance of VGG-16 features at full size, published weights, RGB",
        source="Ding et al. 2020"),
    "ae_psnr": MetricInfo(
        label="AE-PSNR", direction="maximize", unit="dB", colour="luma", crop=4, range=(0, 80), smallest_side=9,
        decimals=3, text="PSNR on luma of both auto-encoded images, border cropped", source="Lee et al. 2025"),
    "lr_psnr": MetricInfo(
        label="LR-PSNR", direction="maximize", unit="dB", colour="luma", crop=4, range=(0, 80), smallest_side=12,
        decimals=3, text="PSNR on luma of both images shrunk by bicubic, border cropped",
        source="docs/methods/metrics.md"),
    "lr_psnr_rgb": MetricInfo(
        label="LR-PSNR (NTIRE)", direction="maximize", unit="dB", colour="RGB", range=(0, 80), smallest_side=4,
        decimals=3, text="PSNR on RGB of both images shrunk by bicubic and rounded to 8 bit, nothing cropped",
        source="NTIRE 2021 challenge on learning the SR space"),
    "swd": MetricInfo(
        label="SWD x1000", direction="minimize", colour="RGB", range=(0, _INFINITE), smallest_side=16,
        decimals=2, text="sliced Wasserstein distance of Laplacian-pyramid patches, RGB, no learned weights",
        source="Karras et al. 2018"),
    "psnr_rgb": MetricInfo(
        label="PSNR-RGB", direction="maximize", unit="dB", colour="RGB", crop=4, range=(0, 80), smallest_side=9,
        decimals=3, text="peak signal-to-noise ratio on RGB, border cropped", source="docs/methods/metrics.md"),
    "ms_ssim": MetricInfo(
        label="MS-SSIM-Y", direction="maximize", colour="luma", crop=4, range=(0, 1), smallest_side=169,
        text="multi-scale structural similarity on luma, five scales, border cropped", source="Wang et al. 2003"),
    "null_energy": MetricInfo(
        label="null energy", direction="minimize", colour="RGB", range=(0, 255**2), smallest_side=4,
        decimals=2, text="mean square, in levels of 255, of the part of the image that bicubic shrinking removes",
        source="docs/methods/metrics.md"),
})
"""Every metric by name, in the order of tables."""
# fmt: on
