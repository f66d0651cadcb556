"""The second-order degradation of Real-ESRGAN, which models how cameras and the internet degrade pictures.

Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", section 3. Two
rounds of blur, resize, noise and JPEG, then a low-pass filter. Differences from the original:

- Every image draws its own parameters from its own seed, so that the batch at step s is a function of (seed, s) alone.
  The original draws resize factors once per batch, and mixes batches in a pool of pairs for that reason.
- JPEG is libjpeg, through Pillow, with qualities rounded to whole numbers; the original uses a differentiable
  approximation on the GPU.
"""

import math
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor
from torch.nn import functional as F

from study.config import Frozen
from study.data.blur_kernels import Family, density_kernel, low_pass_kernel
from study.data.images import compress_jpeg

Range = tuple[float, float]

# The order of `Round.kernels`: family, and whether it is anisotropic.
_KERNELS: tuple[tuple[Family, bool], ...] = (
    ("gaussian", False),
    ("gaussian", True),
    ("generalized", False),
    ("generalized", True),
    ("plateau", False),
    ("plateau", True),
)
_SIZES = range(7, 22, 2)  # of kernels, in pixels
_SMALL = 13  # below this size a low-pass kernel with a low cut-off would be too small for its rings
_RESIZES = ("area", "bilinear", "bicubic")
_LUMA = (0.2989, 0.5870, 0.1140)


class Round(Frozen):
    """One round of blur, resize, noise and JPEG; values are drawn uniformly from ranges.

    Attributes:
        blur: probability of blurring.
        kernels: probabilities of Gaussian, generalised and plateau kernels, each isotropic and anisotropic.
        low_pass: probability of a low-pass filter instead.
        sigma: of the kernels, in pixels.
        generalized, plateau: shape exponents; below and above 1 are equally likely.
        directions: probabilities of enlarging, shrinking and keeping the size.
        resize: smallest and largest factor.
        gaussian: probability of Gaussian noise; otherwise it is Poisson noise.
        noise: Gaussian standard deviation, in levels of 255.
        poisson: factor on Poisson noise.
        gray: probability that the noise is the same in all colours.
        quality: of JPEG.
    """

    blur: float = Field(1.0, ge=0, le=1)
    kernels: tuple[float, float, float, float, float, float] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    low_pass: float = Field(0.1, ge=0, le=1)
    sigma: Range
    generalized: Range = (0.5, 4.0)
    plateau: Range = (1.0, 2.0)
    directions: tuple[float, float, float]
    resize: Range
    gaussian: float = Field(0.5, ge=0, le=1)
    noise: Range
    poisson: Range
    gray: float = Field(0.4, ge=0, le=1)
    quality: Range

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        for name, probabilities in (("kernels", self.kernels), ("directions", self.directions)):
            if min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-9:
                raise ValueError(f"{name} must be probabilities that sum to 1, but got {probabilities}")
        if not 0 < self.resize[0] <= 1 <= self.resize[1]:
            raise ValueError(f"resize must reach from (0, 1] to 1 or more, but got {self.resize}")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError(f"quality must be a range within 1..100, but got {self.quality}")
        return self


AESOP_FIRST = Round(
    sigma=(0.2, 3.0),
    directions=(0.2, 0.7, 0.1),
    resize=(0.2, 1.5),
    noise=(1.0, 30.0),
    poisson=(0.05, 2.0),
    quality=(50.0, 95.0),
)
AESOP_SECOND = Round(
    blur=0.8,
    sigma=(0.2, 1.5),
    directions=(0.3, 0.4, 0.3),
    resize=(0.3, 1.2),
    noise=(1.0, 20.0),
    poisson=(0.05, 2.0),
    quality=(50.0, 95.0),
)


class SecondOrder(Frozen):
    """The whole degradation; the defaults are those of AESOP's real-world variant.

    Attributes:
        sharpen: apply unsharp masking before the degradation, as Real-ESRGAN does.
        first, second: the two rounds.
        final_low_pass: probability of the last low-pass filter.
    """

    kind: Literal["second-order"] = "second-order"
    sharpen: bool = True
    first: Round = AESOP_FIRST
    second: Round = AESOP_SECOND
    final_low_pass: float = Field(0.8, ge=0, le=1)

    @classmethod
    def stock(cls) -> "SecondOrder":
        """Return the stronger degradation of Real-ESRGAN itself, which LDL uses as well."""
        first = AESOP_FIRST.model_copy(update={"resize": (0.15, 1.5), "poisson": (0.05, 3.0), "quality": (30.0, 95.0)})
        second = AESOP_SECOND.model_copy(update={"noise": (1.0, 25.0), "poisson": (0.05, 2.5), "quality": (30.0, 95.0)})
        return cls(first=first, second=second)

    def smallest_side(self, scale: int) -> int:
        """Return the smallest HR side in pixels for which every kernel fits with reflected borders."""
        reach = max(_SIZES) // 2 + 1
        return max(math.ceil(reach / self.first.resize[0]), reach * scale)


@torch.no_grad()
def second_order(hr: Tensor, config: SecondOrder, scale: int, *, seeds: Sequence[int]) -> Tensor:
    """Degrade images, each with the random parameters of its seed.

    Args:
        hr: RGB in [0, 1], (N, 3, H, W) float32, on any device; sides multiples of the scale.
        config: the degradation.
        scale: HR pixels per low-quality pixel.
        seeds: one per image, 0..2**64-1. Random numbers are drawn on the CPU and are the same for all devices.

    Returns:
        (N, 3, H/scale, W/scale) float32 in [0, 1], on the grid of 8-bit levels.

    Raises:
        ValueError: an image is too small for the kernels, a side is no multiple of the scale, or a seed is missing.
    """
    height, width = hr.shape[-2:]
    if len(seeds) != len(hr):
        raise ValueError(f"each image needs a seed, but got {len(hr)} images and {len(seeds)} seeds")
    if height % scale or width % scale:
        raise ValueError(f"HR sides must be multiples of the scale {scale}, but got {width} x {height} px")
    if min(height, width) < config.smallest_side(scale):
        rule = f"needs HR images of at least {config.smallest_side(scale)} px a side"
        raise ValueError(f"the second-order degradation {rule}, but got {width} x {height} px")
    images = usm_sharpen(hr) if config.sharpen else hr
    return torch.cat(
        [_degrade(images[index : index + 1], config, scale, _Draws(seed)) for index, seed in enumerate(seeds)]
    )


def usm_sharpen(images: Tensor, *, weight: float = 0.5, radius: int = 50, threshold: float = 10.0) -> Tensor:
    """Sharpen edges by unsharp masking with a soft mask, as Real-ESRGAN's `USMSharp`.

    Args:
        images: RGB in [0, 1], (N, 3, H, W) with sides above radius/2.
        weight: of the added detail.
        radius: the blur's window, in pixels; its sigma is 0.3 ((size - 1) / 2 - 1) + 0.8.
        threshold: in levels of 255; weaker detail is not sharpened.

    Returns:
        The same shape, in [0, 1] where the input is.
    """
    size = radius + 1 - radius % 2
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    line = torch.exp(-((torch.arange(size, dtype=torch.float64) - size // 2) ** 2) / (2 * sigma**2))
    line = (line / line.sum()).to(images)

    def blurred(planes: Tensor) -> Tensor:
        return _filter_lines(planes, line)

    detail = images - blurred(images)
    mask = blurred((detail.abs() * 255 > threshold).to(images))
    sharp = (images + weight * detail).clamp(0, 1)
    return mask * sharp + (1 - mask) * images


class _Draws:
    """The random decisions of one image, in order."""

    def __init__(self, seed: int) -> None:
        # torch's generator uses 32 bits of a seed: combine them with the others.
        self.generator = Generator().manual_seed((seed ^ seed >> 32) & 0xFFFFFFFF)

    def uniform(self, bounds: Range) -> float:
        share = float(torch.rand((), generator=self.generator, dtype=torch.float64))
        return bounds[0] + (bounds[1] - bounds[0]) * share

    def chance(self, probability: float) -> bool:
        return self.uniform((0, 1)) < probability

    def choose(self, probabilities: Sequence[float]) -> int:
        at, last = self.uniform((0, 1)), len(probabilities) - 1
        return next((index for index in range(last) if at < sum(probabilities[: index + 1])), last)

    def size(self) -> int:
        return _SIZES[self.choose([1 / len(_SIZES)] * len(_SIZES))]

    def resize_mode(self) -> str:
        return _RESIZES[self.choose([1 / 3] * 3)]

    def normals(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator).to(like)

    def poisson(self, rates: Tensor) -> Tensor:
        return torch.poisson(rates.cpu(), generator=self.generator).to(rates)


def _degrade(image: Tensor, config: SecondOrder, scale: int, draws: _Draws) -> Tensor:
    height, width = image.shape[-2:]
    out = _filter(image, _draw_kernel(config.first, draws)) if draws.chance(config.first.blur) else image
    out = _resize(out, _draw_factor(config.first, draws), (height, width), draws)
    out = _jpeg(_add_noise(out, config.first, draws), config.first, draws)

    if draws.chance(config.second.blur):
        out = _filter(out, _draw_kernel(config.second, draws))
    out = _resize(out, _draw_factor(config.second, draws) / scale, (height, width), draws)
    out = _add_noise(out, config.second, draws)

    small = (height // scale, width // scale)
    kernel = _draw_low_pass(draws, math.pi / 3) if draws.chance(config.final_low_pass) else None
    if draws.chance(0.5):
        out = _jpeg(_finish(out, small, kernel, draws), config.second, draws)
    else:
        out = _finish(_jpeg(out, config.second, draws), small, kernel, draws)
    return (out * 255).round().clamp(0, 255) / 255


def _finish(image: Tensor, size: tuple[int, int], kernel: Tensor | None, draws: _Draws) -> Tensor:
    out = _interpolate(image, size, draws.resize_mode())
    return out if kernel is None else _filter(out, kernel)


def _draw_kernel(config: Round, draws: _Draws) -> Tensor:
    if draws.chance(config.low_pass):
        return _draw_low_pass(draws, math.pi / 5)
    family, both_axes = _KERNELS[draws.choose(config.kernels)]
    size = draws.size()
    first = draws.uniform(config.sigma)
    second, rotation = (draws.uniform(config.sigma), draws.uniform((-math.pi, math.pi))) if both_axes else (first, 0.0)
    beta = 1.0
    if family != "gaussian":
        low, high = config.generalized if family == "generalized" else config.plateau
        beta = draws.uniform((low, 1.0)) if draws.chance(0.5) else draws.uniform((1.0, high))
    return density_kernel(family, size, (first, second), rotation, beta)


def _draw_low_pass(draws: _Draws, lowest: float) -> Tensor:
    size = draws.size()
    return low_pass_kernel(size, draws.uniform((math.pi / 3 if size < _SMALL else lowest, math.pi)))


def _draw_factor(config: Round, draws: _Draws) -> float:
    match draws.choose(config.directions):
        case 0:
            return draws.uniform((1.0, config.resize[1]))
        case 1:
            return draws.uniform((config.resize[0], 1.0))
        case _:
            return 1.0


def _resize(image: Tensor, factor: float, of: tuple[int, int], draws: _Draws) -> Tensor:
    """Resize to a factor of the (height, width) `of`, rounded down."""
    return _interpolate(image, (int(of[0] * factor), int(of[1] * factor)), draws.resize_mode())


def _interpolate(image: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize without anti-aliasing, as the original does on purpose."""
    return F.interpolate(image, size=size, mode=mode)


def _add_noise(image: Tensor, config: Round, draws: _Draws) -> Tensor:
    gaussian = draws.chance(config.gaussian)
    gray = draws.chance(config.gray)
    if gaussian:
        noise = draws.normals(image[:, :1] if gray else image) * (draws.uniform(config.noise) / 255)
    else:
        noise = _poisson_noise(_to_gray(image) if gray else image, draws) * draws.uniform(config.poisson)
    return (image + noise).clamp(0, 1)


def _poisson_noise(image: Tensor, draws: _Draws) -> Tensor:
    """Draw shot noise; photons at full brightness: the number of different levels, rounded up to a power of two."""
    levels = (image.clamp(0, 1) * 255).round() / 255
    photons = 2.0 ** math.ceil(math.log2(len(torch.unique(levels))))
    return draws.poisson(levels * photons) / photons - levels


def _to_gray(image: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA).to(image).view(1, 3, 1, 1)
    return (image * weights).sum(dim=1, keepdim=True)


def _jpeg(image: Tensor, config: Round, draws: _Draws) -> Tensor:
    levels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    pixels = compress_jpeg(levels[0].permute(1, 2, 0).cpu().numpy(), round(draws.uniform(config.quality)))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]).to(image) / 255


def _filter(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlate each plane of (1, C, H, W) with a kernel, the image reflected at its borders."""
    reach = kernel.shape[0] // 2
    padded = F.pad(image, [reach] * 4, mode="reflect")
    return F.conv2d(padded.transpose(0, 1), kernel.to(image)[None, None]).transpose(0, 1)


def _filter_lines(images: Tensor, line: Tensor) -> Tensor:
    """Correlate each plane of (N, C, H, W) with a separable kernel, the image reflected at its borders."""
    reach = len(line) // 2
    planes = F.pad(images.flatten(0, 1)[:, None], [reach] * 4, mode="reflect")
    planes = F.conv2d(F.conv2d(planes, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))
    return planes.view(images.shape)
