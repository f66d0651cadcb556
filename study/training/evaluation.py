"""A set of weights against the held-out images: metrics per image, their means, and crops to look at."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from study.config import RunConfig
from study.data import ImageSet, Pairs, bicubic_upsample, to_uint8
from study.files import write_atomically
from study.metrics.evaluator import Evaluator
from study.models.tiling import Upscaler, memory_bound

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
    test: Pairs,
    evaluator: Evaluator,
    device: torch.device,
    samples: Path | None = None,
) -> Evaluation:
    """Evaluator what `upscale` makes of the low-quality test images.

    Args:
        upscale: images (1, 3, h, w) in [0, 1] to (1, 3, h * scale, w * scale); called without graph.
        test: held-out pairs.
        evaluator: the metrics.
        device: where `upscale` expects its input.
        samples: folder for a PNG crop of each result (`sample_window`); None to keep none.

    Raises:
        ValueError: an output that is not finite.
    """
    images = {}
    for index, name in enumerate(test.names):
        lq, hr = (image.to(device) for image in test.tensors(index))
        with torch.no_grad():
            sr = upscale(lq)
        if not torch.isfinite(sr).all():
            raise ValueError(f"the output for image {name} is not finite")
        images[name] = evaluator(sr, hr, shrunk_by=test.scale if test.exact else None, key=test.hr.digests[index])
        if samples is not None:
            save_sample(samples / f"{name}.png", _to_pixels(sr), sample_window(test.hr[index]))
    return Evaluation(mean_over_images(images), images)


def evaluate_generator(
    generator: nn.Module, test: Pairs, evaluator: Evaluator, samples: Path | None = None
) -> Evaluation:
    """Evaluator a generator in eval mode; see `evaluate`.

    It is laid out channels-last as in training: another layout sums in another order, and flips a rounding now and
    then, so that the same weights would be worth 1e-4 dB more or less by who asks.
    """
    device = next(generator.parameters()).device
    upscale = Upscaler(generator.eval().to(memory_format=torch.channels_last), test.scale, bound=memory_bound(device))
    return evaluate(upscale, test, evaluator, device, samples)


def evaluation_spacing(config: RunConfig, test: ImageSet) -> int:
    """How many iterations lie between points, so that evaluation costs a bounded share of a run.

    The eval_schedule's `evaluate_every`, or the smallest multiple of it with which no more HR pixels are evaluated than
    `evaluate_share` of those trained on; the last iteration is always evaluated. Counted in pixels, so that a run has
    its points at the same iterations on every machine.
    """
    eval_schedule, budget = config.eval_schedule, config.budget
    pixels = sum(height * width for height, width in test.images.shapes)
    trained = budget.iterations * budget.batch * budget.patch**2
    allowed = max(1, int(eval_schedule.evaluate_share * trained / pixels))
    times = -(-budget.iterations // eval_schedule.evaluate_every)
    # Of the points that the eval_schedule asks for, every so manieth.
    return eval_schedule.evaluate_every * -(-times // allowed)


def spacing_note(config: RunConfig, test: ImageSet) -> list[str]:
    """What a reader has to know where there are fewer points than the eval_schedule asks for, as zero or one sentence."""
    spacing = evaluation_spacing(config, test)
    if spacing == config.eval_schedule.evaluate_every:
        return []
    return [
        f"Points are {spacing} iterations apart, not {config.eval_schedule.evaluate_every}: the {len(test)} held-out images "
        "are large beside what a trial trains on. For more, raise eval_schedule.evaluate_share or name a smaller --val."
    ]


def evaluate_bicubic(
    test: Pairs, evaluator: Evaluator, device: torch.device, samples: Path | None = None
) -> Evaluation:
    """Evaluator the low-quality images, enlarged by bicubic to their HR images' size: the baseline of every generator."""
    return evaluate(lambda lq: bicubic_upsample(lq, test.scale), test, evaluator, device, samples)


def evaluate_autoencoder(autoencoder: nn.Module, test: Pairs, evaluator: Evaluator) -> Evaluation:
    """Evaluator how well the held-out HR images come through the auto-encoder."""
    device = next(autoencoder.parameters()).device
    images = {}
    for index, name in enumerate(test.names):
        hr = test.tensors(index)[1].to(device)
        with torch.no_grad():
            images[name] = evaluator(autoencoder(hr), hr, key=test.hr.digests[index])
    return Evaluation(mean_over_images(images), images)


def mean_over_images(images: dict[str, dict[str, float]]) -> dict[str, float]:
    """The plain average of each metric over the images of a set (METHODS 7)."""
    names = next(iter(images.values())).keys()
    return {name: float(np.mean([values[name] for values in images.values()])) for name in names}


def save_references(folder: Path, test: Pairs) -> None:
    """Save the windows that samples show, of the HR and of the low-quality images: `hr/NAME.png`, `lq/NAME.png`."""
    for name, hr, lq in zip(test.names, test.hr, test.lq, strict=True):
        top, left, side = sample_window(hr)
        save_sample(folder / "hr" / f"{name}.png", hr, (top, left, side))
        scaled = (top // test.scale, left // test.scale, side // test.scale)
        save_sample(folder / "lq" / f"{name}.png", lq, scaled)


def sample_window(hr: np.ndarray) -> tuple[int, int, int]:
    """Choose the window of an image with the most fine detail: (top, left, side) in HR pixels, multiples of 12.

    Fine detail is the mean absolute difference of neighbouring pixels, which is where super-resolution shows.
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
    """Save an image, shape (H, W, 3) uint8, as a PNG that is whole or absent."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def _to_pixels(images: Tensor) -> np.ndarray:
    return to_uint8(images.clamp(0, 1))[0].permute(1, 2, 0).cpu().numpy()
