"""The metrics by name, built once and computed per image, for trials and entry points alike."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from study.metrics.autoencoded import autoencoded_luma
from study.metrics.dists import DistsMetric
from study.metrics.fidelity import (
    SSIM_IN_TILES,
    blurred,
    blurred_scales,
    cropped_levels,
    cropped_luma,
    luma_of_levels,
    multi_scale_ssim,
    psnr,
    psnr_in_tiles,
    ssim,
)
from study.metrics.info import METRICS
from study.metrics.low_resolution import (
    LR_CROP,
    null_energy,
    shrunk_levels,
    shrunk_levels_psnr,
    shrunk_luma,
)
from study.metrics.perceptual import LpipsMetric
from study.metrics.quantise import check_pair
from study.metrics.swd import compare_projections, projections
from study.metrics.tiled import Tiled
from study.models.backbones import BackboneName
from study.models.lpips_distance import LPIPS_BACKBONES, LpipsNetwork

BACKBONE_OF: Mapping[str, BackboneName] = MappingProxyType(
    {**{f"lpips_{network}": backbone for network, backbone in LPIPS_BACKBONES.items()}, "dists": "vgg16"}
)
"""The published network that a metric requires."""

LR_METRICS = ("lr_psnr", "lr_psnr_rgb", "null_energy")
"""Metrics that require LR images made by bicubic shrinking."""

KEPT_BYTES = 512 << 20
"""Default size of an evaluator's cache of prepared HR images."""

MEMORY = 4 << 30
"""Default bytes of a metric's computation."""


class CachedImage:
    """An image (1, 3, H, W) with the conversions that several metrics share."""

    def __init__(self, image: Tensor) -> None:
        self.image = image

    @cached_property
    def levels(self) -> Tensor:
        """Cropped levels, see `cropped_levels`."""
        return cropped_levels(self.image)

    @cached_property
    def luma(self) -> Tensor:
        """Cropped luma, see `cropped_luma`."""
        return luma_of_levels(self.levels)


class Measure(NamedTuple):
    """A metric in two functions: one prepares an HR image, one compares an SR image with the result.

    `tiled` computes the same of large images; None for metrics that need the whole image.
    """

    prepare: Callable[[CachedImage], Any]
    compare: Callable[[CachedImage, Any], Tensor]
    tiled: Tiled | None = None


class Evaluator:
    """Compute metrics by name, in the given order.

    Values that depend on the HR image alone, such as its features, are computed once and cached, up to a bound. Several
    threads may call it, each with another HR image.

    Attributes:
        names: of the metrics.
        device: of the computation.
    """

    def __init__(
        self,
        names: Sequence[str],
        device: torch.device,
        *,
        backbones: Mapping[BackboneName, Path] = MappingProxyType({}),
        autoencoder: nn.Module | None = None,
        keep_bytes: int = KEPT_BYTES,
        memory: int = MEMORY,
    ) -> None:
        """Build the metrics.

        Args:
            names: of `METRICS`.
            device: of the computation.
            backbones: files of published weights, for the metrics in `BACKBONE_OF`.
            autoencoder: frozen, for `ae_psnr`.
            keep_bytes: size of the cache of prepared HR images.
            memory: bytes beside the images; metrics that would take more work in tiles, if they can (`Measure`).

        Raises:
            ValueError: an unknown name, one whose weights or auto-encoder are missing, or a file that does not fit.
        """
        self.names, self.device = tuple(names), device
        self._measures = {name: _measure(name, device, backbones, autoencoder) for name in names}
        self._cache: dict[tuple[str, str, int | None], Any] = {}
        self._cache_limit, self._cache_bytes = keep_bytes, 0
        self._cache_lock = Lock()
        self._memory = memory

    @property
    def perceptual(self) -> str:
        """The first perceptual distance, a study's second objective: LPIPS, DISTS or SWD."""
        return next(name for name in self.names if METRICS[name].direction == "minimize" and name not in LR_METRICS)

    @torch.no_grad()
    def __call__(
        self, sr: Tensor, hr: Tensor, *, shrunk_by: int | None = None, key: str | None = None
    ) -> dict[str, float]:
        """Compute all metrics of one image.

        Args:
            sr, hr: shape (1, 3, H, W), RGB, `hr` in [0, 1]; both are quantised first.
            shrunk_by: the SR factor if bicubic shrinking made the LR image; otherwise `LR_METRICS` are omitted.
            key: identifies the HR image in the cache; None not to cache it.

        Raises:
            ValueError: for shapes that differ, images too small, or `hr` outside [0, 1].
        """
        names = [name for name in self.names if name not in LR_METRICS or shrunk_by is not None]
        check_pair(sr, hr, smallest_side=max(METRICS[name].smallest_side for name in names))
        of_sr, of_hr = CachedImage(sr), CachedImage(hr)
        values = {}
        for name in names:
            measure = self._measures[name](shrunk_by)
            if measure.tiled is not None and not measure.tiled.fits(hr[0, 0].numel(), self._memory):
                values[name] = float(measure.tiled(sr, hr, self._memory))
                continue
            values[name] = float(measure.compare(of_sr, self._prepared(name, measure, of_hr, shrunk_by, key)))
        return values

    def forget(self, key: str) -> None:
        """Remove an HR image from the cache."""
        with self._cache_lock:
            for entry in [entry for entry in self._cache if entry[0] == key]:
                self._cache_bytes -= _bytes_of(self._cache.pop(entry))

    def _prepared(self, name: str, measure: Measure, hr: CachedImage, shrunk_by: int | None, key: str | None) -> Any:
        if key is None:
            return measure.prepare(hr)
        entry = (key, name, shrunk_by)
        if entry in self._cache:
            return self._cache[entry]
        prepared = measure.prepare(hr)
        size = _bytes_of(prepared)
        # A full cache keeps its entries: with images in a fixed cycle, evicting the oldest would miss every time.
        with self._cache_lock:
            if self._cache_bytes + size <= self._cache_limit:
                self._cache[entry] = prepared
                self._cache_bytes += size
        return prepared


def study_evaluator(alexnet: Path | None, device: torch.device) -> Evaluator:
    """Build the metrics of a study: PSNR-Y, SSIM-Y and LPIPS, or SWD without AlexNet's weights.

    LR-PSNR and the null-space energy are added for LR images made by bicubic shrinking; no study selects on them.

    Args:
        alexnet: file with the published AlexNet weights, if there is one.
        device: of the computation.
    """
    perceptual = "swd" if alexnet is None else "lpips_alex"
    backbones: dict[BackboneName, Path] = {} if alexnet is None else {"alexnet": alexnet}
    return Evaluator(("psnr_y", "ssim_y", perceptual, "lr_psnr", "null_energy"), device, backbones=backbones)


def check_names(names: Collection[str]) -> None:
    """Raise ValueError for an unknown metric, listing the known ones."""
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(f"metrics must be among {', '.join(METRICS)}, but got {', '.join(unknown)}")


def _measure(
    name: str, device: torch.device, backbones: Mapping[BackboneName, Path], autoencoder: nn.Module | None
) -> Callable[[int | None], Measure]:
    """Build a metric as a function of the factor by which LR images were shrunk."""
    check_names([name])
    if name in LR_METRICS:
        return lambda shrunk_by: _LR_MEASURES[name](shrunk_by or 1)
    measure = _plain_measure(name, device, backbones, autoencoder)
    return lambda shrunk_by: measure


def _plain_measure(
    name: str, device: torch.device, backbones: Mapping[BackboneName, Path], autoencoder: nn.Module | None
) -> Measure:
    if name in BACKBONE_OF:
        if BACKBONE_OF[name] not in backbones:
            raise ValueError(f"{name} needs the published weights of {BACKBONE_OF[name]}, which were not given")
        metric = _network_metric(name, backbones[BACKBONE_OF[name]]).to(device)
        return Measure(
            lambda hr: metric.prepare(hr.image),
            lambda sr, prepared: metric.compare(sr.image, prepared),
            Tiled(*_NETWORK_TILES[name], metric.sums, metric.finish),
        )
    if name == "ae_psnr":
        if autoencoder is None:
            raise ValueError("ae_psnr needs an auto-encoder, which was not given")
        frozen = autoencoder.to(device)
        return Measure(
            lambda hr: autoencoded_luma(hr.image, frozen),
            lambda sr, luma: psnr(autoencoded_luma(sr.image, frozen), luma),
        )
    return _WITHOUT_NETWORK[name]


def _network_metric(name: str, path: Path) -> LpipsMetric | DistsMetric:
    if name == "dists":
        return DistsMetric(path)
    network: LpipsNetwork = next(network for network in LPIPS_BACKBONES if name == f"lpips_{network}")
    return LpipsMetric(path, network=network)


# Bytes per pixel and margin; the margin covers the receptive field of the deepest features.
_NETWORK_TILES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"lpips_alex": (100, 96), "lpips_vgg": (1090, 144), "lpips_squeeze": (280, 144), "dists": (1430, 144)}
)

_WITHOUT_NETWORK: Mapping[str, Measure] = MappingProxyType(
    {
        "psnr_y": Measure(lambda hr: hr.luma, lambda sr, luma: psnr(sr.luma, luma), psnr_in_tiles(cropped_luma)),
        "ssim_y": Measure(lambda hr: blurred(hr.luma), lambda sr, prepared: ssim(sr.luma, prepared), SSIM_IN_TILES),
        "swd": Measure(lambda hr: projections(hr.image), lambda sr, prepared: compare_projections(sr.image, prepared)),
        "psnr_rgb": Measure(
            lambda hr: hr.levels, lambda sr, levels: psnr(sr.levels, levels), psnr_in_tiles(cropped_levels)
        ),
        "ms_ssim": Measure(
            lambda hr: blurred_scales(hr.luma), lambda sr, prepared: multi_scale_ssim(sr.luma, prepared)
        ),
    }
)

_LR_MEASURES: Mapping[str, Callable[[int], Measure]] = MappingProxyType(
    {
        "lr_psnr": lambda scale: Measure(
            lambda hr: shrunk_luma(hr.image, scale),
            lambda sr, luma: psnr(shrunk_luma(sr.image, scale), luma),
            psnr_in_tiles(partial(shrunk_luma, scale=scale), step=scale, border=scale * LR_CROP),
        ),
        "lr_psnr_rgb": lambda scale: Measure(
            lambda hr: shrunk_levels(hr.image, scale),
            lambda sr, levels: shrunk_levels_psnr(shrunk_levels(sr.image, scale), levels),
        ),
        "null_energy": lambda scale: Measure(lambda hr: None, lambda sr, _: null_energy(sr.image, scale)),
    }
)


def _bytes_of(values: Any) -> int:
    """Sum the bytes of all tensors in nested lists and dataclasses."""
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    if is_dataclass(values):
        return sum(_bytes_of(getattr(values, field.name)) for field in fields(values))
    return sum(_bytes_of(value) for value in values) if isinstance(values, list) else 0
