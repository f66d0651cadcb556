"""Evaluate weights on the held-out images: metrics per image, their means, and sample crops."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from study.config import DataConfig, RunConfig
from study.data import ImageSet, Pairs, bicubic_upsample, to_uint8
from study.files import write_atomically
from study.metrics.evaluator import Evaluator
from study.models.tiling import Upscaler, memory_bound
from study.record.events import ReferenceEvaluated
from study.record.paths import HR, LQ, RunDirectory, reference_samples
from study.training.context import RunContext

SAMPLE_SIDE = 96  # HR pixels; a multiple of 12, so that the LR window is exact at every scale


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one set of weights.

    Attributes:
        metrics: mean over the held-out images, by metric name.
        images: the same per image, by image and metric name.
    """

    metrics: dict[str, float]
    images: dict[str, dict[str, float]]


def evaluate(
    upscale: Callable[[Tensor], Tensor],
    pairs: Pairs,
    evaluator: Evaluator,
    device: torch.device,
    samples: Path | None = None,
) -> Evaluation:
    """Evaluate the outputs of `upscale` for the low-quality images.

    Args:
        upscale: maps images (1, 3, h, w) in [0, 1] to (1, 3, h * scale, w * scale); called without graph.
        pairs: held-out pairs.
        evaluator: the metrics.
        device: the device of `upscale`'s input.
        samples: folder for a PNG crop of each result (`sample_window`); None for no crops.

    Raises:
        ValueError: an output is not finite.
    """
    images = {}
    for index, name in enumerate(pairs.names):
        lq, hr = (image.to(device) for image in pairs.tensors(index))
        with torch.no_grad():
            sr = upscale(lq)
        if not torch.isfinite(sr).all():
            raise ValueError(f"the output for image {name} is not finite")
        images[name] = evaluator(sr, hr, shrunk_by=pairs.scale if pairs.exact else None, key=pairs.hr.digests[index])
        if samples is not None:
            save_sample(samples / f"{name}.png", _to_pixels(sr), sample_window(pairs.hr[index]))
    return Evaluation(mean_over_images(images), images)


def evaluate_generator(
    generator: nn.Module, pairs: Pairs, evaluator: Evaluator, samples: Path | None = None
) -> Evaluation:
    """Evaluate a generator in eval mode; see `evaluate`.

    It is channels-last as in training: another layout sums in another order, which changes PSNR by up to 1e-4 dB.
    """
    device = next(generator.parameters()).device
    upscale = Upscaler(generator.eval().to(memory_format=torch.channels_last), pairs.scale, bound=memory_bound(device))
    return evaluate(upscale, pairs, evaluator, device, samples)


def evaluation_spacing(config: RunConfig, val: ImageSet) -> int:
    """Return the number of iterations between points, such that evaluation costs a bounded share of a run.

    It is the smallest multiple of `evaluate_every` with which the number of evaluated HR pixels is at most
    `evaluate_share` of the trained ones; the last iteration is always evaluated. The share is of pixels, not seconds,
    so that a run has its points at the same iterations on every machine.
    """
    schedule, budget = config.eval_schedule, config.budget
    pixels = sum(height * width for height, width in val.images.shapes)
    trained = budget.iterations * budget.pixels_per_step
    allowed = max(1, int(schedule.evaluate_share * trained / pixels))
    times = -(-budget.iterations // schedule.evaluate_every)
    return schedule.evaluate_every * -(-times // allowed)  # every n-th evaluation point


def spacing_note(config: RunConfig, val: ImageSet) -> list[str]:
    """Return a sentence if points are further apart than `eval_schedule.evaluate_every`, else nothing."""
    spacing, wanted = evaluation_spacing(config, val), config.eval_schedule.evaluate_every
    if spacing == wanted:
        return []
    return [
        f"Points are {spacing} iterations apart, not {wanted}: the {len(val)} held-out images have many pixels "
        "compared with a trial's training. For more points, raise eval_schedule.evaluate_share or name a smaller --val."
    ]


def evaluate_bicubic(
    pairs: Pairs, evaluator: Evaluator, device: torch.device, samples: Path | None = None
) -> Evaluation:
    """Evaluate the low-quality images, enlarged by bicubic to the size of their HR images."""
    return evaluate(lambda lq: bicubic_upsample(lq, pairs.scale), pairs, evaluator, device, samples)


def evaluate_baseline(data: DataConfig, context: RunContext, run_dir: RunDirectory) -> ReferenceEvaluated:
    """Evaluate the baseline without training; save its crops and those of the HR and LQ images."""
    pairs, name = context.val_pairs(data), baseline_name(data)
    save_references(run_dir.reference(HR).parent, pairs)
    evaluation = evaluate_bicubic(pairs, context.evaluator, context.device, run_dir.reference(name))
    return reference_event(name, name, evaluation)


def reference_event(
    name: str, kind: Literal["bicubic", "input", "fidelity"], evaluation: Evaluation
) -> ReferenceEvaluated:
    """Return that a reference was evaluated."""
    return ReferenceEvaluated(
        name=name, kind=kind, metrics=evaluation.metrics, images=evaluation.images, samples=reference_samples(name)
    )


def baseline_name(data: DataConfig) -> Literal["bicubic", "input"]:
    """Return the name of the baseline: `bicubic` interpolation, or the `input` at scale 1."""
    return "bicubic" if data.scale > 1 else "input"


def evaluate_autoencoder(autoencoder: nn.Module, pairs: Pairs, evaluator: Evaluator) -> Evaluation:
    """Evaluate the auto-encoder's reconstructions of the held-out HR images."""
    device = next(autoencoder.parameters()).device
    images = {}
    for index, name in enumerate(pairs.names):
        hr = pairs.tensors(index)[1].to(device)
        with torch.no_grad():
            images[name] = evaluator(autoencoder(hr), hr, key=pairs.hr.digests[index])
    return Evaluation(mean_over_images(images), images)


def mean_over_images(images: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over images, not over pixels."""
    names = next(iter(images.values())).keys()
    return {name: float(np.mean([values[name] for values in images.values()])) for name in names}


def save_references(folder: Path, pairs: Pairs) -> None:
    """Save the sample windows of the HR and of the low-quality images: `hr/NAME.png`, `lq/NAME.png`."""
    for name, hr, lq in zip(pairs.names, pairs.hr, pairs.lq, strict=True):
        top, left, side = sample_window(hr)
        save_sample(folder / HR / f"{name}.png", hr, (top, left, side))
        scaled = (top // pairs.scale, left // pairs.scale, side // pairs.scale)
        save_sample(folder / LQ / f"{name}.png", lq, scaled)


def sample_window(hr: np.ndarray) -> tuple[int, int, int]:
    """Return the window with the largest mean absolute difference of neighbouring pixels: (top, left, side).

    These are HR pixels, multiples of 12. Methods of super-resolution differ most in such fine detail.
    """
    height, width = hr.shape[:2]
    side = min(SAMPLE_SIDE, height // 12 * 12, width // 12 * 12)
    gray = hr.astype(np.float64).mean(axis=2)
    detail = np.zeros_like(gray)
    detail[1:, :] += np.abs(np.diff(gray, axis=0))
    detail[:, 1:] += np.abs(np.diff(gray, axis=1))
    corners = [(top, left) for top in range(0, height - side + 1, 12) for left in range(0, width - side + 1, 12)]
    total = np.pad(detail.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))  # summed-area table

    def inside(corner: tuple[int, int]) -> float:
        top, left = corner
        bottom, right = top + side, left + side
        return float(total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left])

    top, left = max(corners, key=inside)
    return top, left, side


def save_sample(path: Path, pixels: np.ndarray, window: tuple[int, int, int]) -> None:
    """Save a square window of an image, shape (H, W, 3) uint8, as PNG."""
    top, left, side = window
    save_png(path, pixels[top : top + side, left : left + side])


def save_png(path: Path, pixels: np.ndarray) -> None:
    """Save an image, shape (H, W, 3) uint8, as PNG, atomically."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def _to_pixels(images: Tensor) -> np.ndarray:
    return to_uint8(images.clamp(0, 1))[0].permute(1, 2, 0).cpu().numpy()
