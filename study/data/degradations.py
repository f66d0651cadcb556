"""Degradations, which make low-quality images; exact, and the same on every machine."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeGuard

import numpy as np
import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from study.config import DataConfig, Frozen
from study.data.bicubic import bicubic_downsample, round_levels
from study.data.images import compress_jpeg
from study.data.second_order import SecondOrder, second_order


class Bicubic(Frozen):
    """MATLAB's bicubic, on 8-bit levels in float64, rounded to 8 bit."""

    kind: Literal["bicubic"] = "bicubic"


class Noise(Frozen):
    """White Gaussian noise, independent in each pixel and colour, rounded and clipped to 8 bit."""

    kind: Literal["noise"] = "noise"
    sigma: float = Field(gt=0, le=255, description="standard deviation in levels of 255")


class Jpeg(Frozen):
    """Compression by libjpeg, through Pillow, with its default of halved chroma (4:2:0)."""

    kind: Literal["jpeg"] = "jpeg"
    quality: int = Field(ge=1, le=100)


class Given(Frozen):
    """Low-quality images that are stored with the HR images, used unchanged."""

    kind: Literal["given"] = "given"


Degradation = Annotated[Bicubic | Noise | Jpeg | SecondOrder | Given, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Degradation] = TypeAdapter(Degradation)
_FORMS = "bicubic, noise:SIGMA (such as noise:25), jpeg:QUALITY (such as jpeg:40), second-order"


def parse_degradation(text: str) -> Degradation:
    """Parse a degradation of the command line: `bicubic`, `noise:25`, `jpeg:40` or `second-order`.

    Raises ValueError, with these forms, for anything else.
    """
    kind, _, value = text.partition(":")
    fields = {"noise": "sigma", "jpeg": "quality"}
    plain = kind in ("bicubic", "second-order") and not value
    if not plain and not (kind in fields and re.fullmatch(r"\d+(\.\d+)?", value)):
        raise ValueError(f"a degradation must be one of {_FORMS}, but got {text!r}")
    try:
        return _ADAPTER.validate_python({"kind": kind} | ({} if plain else {fields[kind]: float(value)}))
    except ValueError as error:
        raise ValueError(f"{text}: {fields[kind]} is out of range; sigma is in (0, 255], quality in 1..100") from error


def degradation_of(data: DataConfig) -> Bicubic | Noise | Jpeg | SecondOrder:
    """Return the degradation that makes the low-quality images of a run."""
    match data.task:
        case "denoise":
            return Noise(sigma=data.sigma or 0)
        case "jpeg":
            return Jpeg(quality=data.quality or 0)
    match data.degradation:
        case "bicubic":
            return Bicubic()
        case "aesop-real":
            return SecondOrder()
        case "real-esrgan":
            return SecondOrder.stock()


def is_drawn_anew(degradation: Degradation) -> TypeGuard[Noise | SecondOrder]:
    """Return whether training draws it anew for each patch; the others are applied once, to whole images."""
    return isinstance(degradation, Noise | SecondOrder)


def degrade_patches(hr: Tensor, scale: int, degradation: Noise | SecondOrder, *, seeds: Sequence[int]) -> Tensor:
    """Make low-quality patches on the device of the patches, each with its own seed.

    Args:
        hr: patches on 8-bit levels, shape (N, 3, H, W), in [0, 1].
        scale: 1 for noise.
        degradation: one that is drawn anew for each patch.
        seeds: of the random numbers, 0..2**64-1, one per patch.

    Returns:
        Shape (N, 3, H/scale, W/scale), on 8-bit levels, in [0, 1].
    """
    if isinstance(degradation, SecondOrder):
        return second_order(hr, degradation, scale, seeds=seeds)
    size = hr[0].numel()
    drawn = np.stack([normals(seed, size).astype(np.float32) for seed in seeds])
    noise = torch.from_numpy(drawn).to(hr.device).view(hr.shape)
    return (hr * 255 + degradation.sigma * noise + 0.5).floor_().clamp_(0, 255).div_(255)


def degrade(hr: np.ndarray, scale: int, degradation: Degradation, *, seed: int) -> np.ndarray:
    """Make the low-quality version of an image.

    Noise and JPEG apply to the image after bicubic shrinking and rounding to 8 bit; at scale 1 to the image itself.

    Args:
        hr: (H, W, 3) uint8, sides multiples of the scale.
        scale: 1..8.
        degradation: any but `Given`.
        seed: of the random numbers, 0..2**64-1; the same seed gives the same image.

    Returns:
        (H/scale, W/scale, 3) uint8.
    """
    match degradation:
        case Bicubic():
            return shrink(hr, scale)
        case Noise(sigma=sigma):
            return _noisy(shrink(hr, scale), sigma, seed)
        case Jpeg(quality=quality):
            return compress_jpeg(shrink(hr, scale), quality)
        case SecondOrder():
            image = torch.from_numpy(hr.transpose(2, 0, 1)[None].copy()).float().div_(255)
            lq = second_order(image, degradation, scale, seeds=[seed])
            return lq[0].mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        case Given():
            raise ValueError("given low-quality images cannot be made")


def shrink(hr: np.ndarray, scale: int) -> np.ndarray:
    """Shrink an (H, W, 3) uint8 image by MATLAB's bicubic and round it to 8 bit.

    The resize uses the levels 0..255, not [0, 1]: for scales 1, 2, 4 and 8 every product and sum is then exact
    in float64, so that a tie rounds the same way on every machine.
    """
    if scale == 1:
        return hr
    levels = torch.from_numpy(hr.transpose(2, 0, 1)[None].copy()).double()
    return round_levels(bicubic_downsample(levels, scale))[0].permute(1, 2, 0).numpy()


def _noisy(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = normals(seed, image.size).reshape(image.shape)
    return np.clip(np.floor(image + sigma * noise + 0.5), 0, 255).astype(np.uint8)


def normals(seed: int, count: int) -> np.ndarray:
    """Return standard normal numbers by Box and Muller from raw words of Philox, which no version of numpy changes.

    seed: the key, 0..2**64-1. Returns shape (count,), float64.
    """
    pairs = -(-count // 2)
    words = np.random.Philox(key=seed).random_raw(2 * pairs)
    uniform = (np.asarray(words, np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53  # in [0, 1)
    radius = np.sqrt(-2 * np.log1p(-uniform[:pairs]))
    angle = 2 * np.pi * uniform[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
