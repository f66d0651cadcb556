"""What a reader of a table or an axis needs to know of each metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricInfo:
    """What a metric is, and by which convention it is taken."""

    name: str
    label: str
    """Short, for an axis or a column."""
    direction: Literal["maximize", "minimize"]
    unit: str
    """Empty where the number has none."""
    text: str
    """One line for people."""
    colour: Literal["luma", "RGB"]
    crop: int
    """HR pixels that are left out along each side."""
    range: tuple[float, float]
    """What it can be; the value of identical images is the better end."""
    smallest_side: int
    """Of images that it can be taken of, in HR pixels."""
    source: str
    decimals: int = 4
    """In a table."""


def _info(name: str, label: str, direction: Literal["maximize", "minimize"], **rest: object) -> MetricInfo:
    return MetricInfo(name=name, label=label, direction=direction, **rest)  # type: ignore[arg-type]


_INFINITE = float("inf")

_ALL = (
    _info(
        "psnr_y",
        "PSNR-Y",
        "maximize",
        unit="dB",
        text="peak signal-to-noise ratio on luma, border cropped",
        colour="luma",
        crop=4,
        range=(0, 80),
        smallest_side=9,
        source="METHODS 7.1",
        decimals=3,
    ),
    _info(
        "ssim_y",
        "SSIM-Y",
        "maximize",
        unit="",
        text="structural similarity on luma, border cropped",
        colour="luma",
        crop=4,
        range=(-1, 1),
        smallest_side=19,
        source="METHODS 7.2; Wang et al. 2004",
    ),
    _info(
        "lpips_alex",
        "LPIPS (AlexNet)",
        "minimize",
        unit="",
        text="LPIPS 0.1 with published AlexNet weights, RGB",
        colour="RGB",
        crop=0,
        range=(0, _INFINITE),
        smallest_side=32,
        source="METHODS 7.3; Zhang et al. 2018",
    ),
    _info(
        "lpips_vgg",
        "LPIPS (VGG-16)",
        "minimize",
        unit="",
        text="LPIPS 0.1 with published VGG-16 weights, RGB",
        colour="RGB",
        crop=0,
        range=(0, _INFINITE),
        smallest_side=32,
        source="METHODS 7.3; Zhang et al. 2018",
    ),
    _info(
        "lpips_squeeze",
        "LPIPS (SqueezeNet)",
        "minimize",
        unit="",
        text="LPIPS 0.1 with published SqueezeNet weights, RGB",
        colour="RGB",
        crop=0,
        range=(0, _INFINITE),
        smallest_side=32,
        source="METHODS 7.3; Zhang et al. 2018",
    ),
    _info(
        "dists",
        "DISTS",
        "minimize",
        unit="",
        text="structure and texture distance of VGG-16 features at full size, published weights, RGB",
        colour="RGB",
        crop=0,
        range=(0, 1),
        smallest_side=32,
        source="METHODS 7.4; Ding et al. 2020",
    ),
    _info(
        "ae_psnr",
        "AE-PSNR",
        "maximize",
        unit="dB",
        text="PSNR on luma of both images behind one auto-encoder, border cropped",
        colour="luma",
        crop=4,
        range=(0, 80),
        smallest_side=9,
        source="METHODS 7.6; Lee et al. 2025",
        decimals=3,
    ),
    _info(
        "lr_psnr",
        "LR-PSNR",
        "maximize",
        unit="dB",
        text="PSNR on luma of both images shrunk by bicubic, border cropped",
        colour="luma",
        crop=4,
        range=(0, 80),
        smallest_side=12,
        source="METHODS 7.6, the proposed form",
        decimals=3,
    ),
    _info(
        "lr_psnr_rgb",
        "LR-PSNR (NTIRE)",
        "maximize",
        unit="dB",
        text="PSNR on RGB of both images shrunk by bicubic and rounded to 8 bit, nothing cropped",
        colour="RGB",
        crop=0,
        range=(0, 80),
        smallest_side=4,
        source="METHODS 7.6, the form of NTIRE 2021",
        decimals=3,
    ),
    _info(
        "swd",
        "SWD x1000",
        "minimize",
        unit="",
        text="sliced Wasserstein distance of Laplacian-pyramid patches, RGB, no learned weights",
        colour="RGB",
        crop=0,
        range=(0, _INFINITE),
        smallest_side=16,
        source="Karras et al. 2018; docs/architecture.md",
        decimals=2,
    ),
    _info(
        "psnr_rgb",
        "PSNR-RGB",
        "maximize",
        unit="dB",
        text="peak signal-to-noise ratio on RGB, border cropped",
        colour="RGB",
        crop=4,
        range=(0, 80),
        smallest_side=9,
        source="METHODS 7.1, on RGB",
        decimals=3,
    ),
    _info(
        "ms_ssim",
        "MS-SSIM-Y",
        "maximize",
        unit="",
        text="multi-scale structural similarity on luma, five scales, border cropped",
        colour="luma",
        crop=4,
        range=(0, 1),
        smallest_side=169,
        source="Wang et al. 2003",
    ),
    _info(
        "null_energy",
        "null energy",
        "minimize",
        unit="",
        text="mean square, in levels of 255, of the part of the image that bicubic shrinking does not see",
        colour="RGB",
        crop=0,
        range=(0, 255**2),
        smallest_side=4,
        source="METHODS 5",
        decimals=2,
    ),
)

METRICS: Mapping[str, MetricInfo] = MappingProxyType({info.name: info for info in _ALL})
"""Every metric by name, in the order of tables."""
