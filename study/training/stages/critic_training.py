"""MDF's phase 1: train one critic a level on one photograph, coarse to fine (docs/methods/mdf.md).

SinGAN's single-image training (Shaham et al., ICCV 2019) with the task's distortion in place of its noise. MDF's code
of phase 1 is not published; where the paper gives no detail, this code follows SinGAN. The pyramid starts differently:
SinGAN's coarsest generator makes an image from noise alone, which a task without noise does not have. Here the first
input is the photograph, one step smaller than the coarsest level.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from study.config import CriticsConfig, DataConfig, RunConfig
from study.data import ImageSet, to_float, to_uint8
from study.data.images import compress_jpeg
from study.data.pairs import image_to_tensor
from study.models.build import build_critics
from study.models.critics import Critic, CriticGenerator, Critics, critic_width
from study.record.points import Spent
from study.training.active_clock import ActiveClock
from study.training.artifact_store import CHECKPOINT
from study.training.checkpoints import load_checkpoint, save_checkpoint
from study.training.context import RunContext
from study.training.loop import SYNC_INTERVAL, Diverged, Progress, ProgressCallback, Stopped

DECAY = 0.1


@dataclass
class Level:
    """The networks of one level of the pyramid, and its size (height, width) in pixels."""

    critic: Critic
    generator: CriticGenerator
    size: tuple[int, int]


@dataclass(frozen=True)
class LevelImages:
    """The photograph at one level, shape (1, 3, H, W) in [-1, 1].

    Attributes:
        real: at the level's size.
        start: at the size below the coarsest level.
        reconstruction: `start` after the finished levels, without distortion, enlarged to the level's size.
    """

    real: Tensor
    start: Tensor
    reconstruction: Tensor


def total_iterations(config: CriticsConfig) -> int:
    """Return the number of iterations over all levels."""
    return config.iterations * config.levels


def training_image(config: RunConfig, images: ImageSet) -> str:
    """Return the name of the photograph that a run's critics train on.

    Raises:
        ValueError: no training image has the name given by `critics.image`, or the image is too small.
    """
    name = config.critics.image or images.names[0]
    if name not in images.names:
        some = ", ".join(images.names[:3])
        raise ValueError(
            f"critics.image must name a training image, but {name!r} is none of the {len(images.names)} "
            f"in {images.name}, such as {some}; correct it"
        )
    try:
        pyramid_sizes(images.images.shapes[images.names.index(name)], config.critics)
    except ValueError as error:
        raise ValueError(f"critics.image {name}: {error}") from None
    return name


def pyramid_sizes(size: tuple[int, int], config: CriticsConfig) -> list[tuple[int, int]]:
    """Return the sizes of a pyramid's levels, coarse to fine, after the size of the image below the coarsest level.

    The finest level is the image, shrunk if its longer side exceeds `largest_side`; from there, levels shrink by one
    ratio to `smallest_side` at the shorter side of the coarsest (docs/methods/mdf.md).

    Args:
        size: of the image, (height, width) in pixels.
        config: the number of levels, and their smallest and largest side.

    Returns:
        `levels` + 1 sizes.

    Raises:
        ValueError: the image is so small that two levels would have one size.
    """
    shrink = min(1.0, config.largest_side / max(size))
    finest = min(size) * shrink
    ratio = (config.smallest_side / finest) ** (1 / (config.levels - 1))
    shares = [shrink * ratio ** (config.levels - 1 - level) for level in range(-1, config.levels)]
    sizes = [(round(size[0] * share), round(size[1] * share)) for share in shares]
    sides = [min(size) for size in sizes]
    if any(after <= before for before, after in pairwise(sides)):
        smallest = config.smallest_side + config.levels
        raise ValueError(
            f"a pyramid of {config.levels} levels from {config.smallest_side} px needs an image whose shorter side is "
            f"about {smallest} px or more once its longer one is at most {config.largest_side}, but it is "
            f"{size[1]} x {size[0]} px; choose a larger image, or lower critics.levels or critics.smallest_side"
        )
    return sizes


def train_critics(
    config: RunConfig, key: str, context: RunContext, partial: Path, on_progress: ProgressCallback | None = None
) -> tuple[Critics, Spent]:
    """Train the critics of all levels; after an interruption, continue from the start of the interrupted level.

    Args:
        config: the run; its `critics`, and its task, which determines the distortion.
        key: names everything that determines the result; a checkpoint of another key is refused.
        context: the training images, a device.
        partial: gets `checkpoint.pt` after each level.
        on_progress: called every `SYNC_INTERVAL` iterations.

    Returns:
        The critics, and their cost: iterations, pixels_seen, device_seconds.

    Raises:
        Diverged: a loss is not finite.
        Stopped: `context.stopping` returned True; the current level's training is lost.
        ValueError: see `training_image`.
        StorageError: a checkpoint could not be written.
    """
    part = config.critics
    image = _photograph(config, context)
    sizes = pyramid_sizes((image.shape[-2], image.shape[-1]), part)
    saved = load_checkpoint(partial / CHECKPOINT, key) or {"levels": [], "device_seconds": 0.0}
    levels: list[Level] = []
    for number, size in enumerate(sizes[1:]):
        level = _new_level(number, size, levels, part)
        for network in (level.critic, level.generator):
            network.to(context.device)
        if number < len(saved["levels"]):
            _load(level, saved["levels"][number])
        else:
            with ActiveClock() as clock:
                started = clock.seconds()
                images = _level_images(level, levels, image, sizes[0])
                _train_level(level, levels, images, config, on_progress, context.stopping)
                saved["levels"].append(_state(level))
                saved["device_seconds"] += clock.seconds() - started
            save_checkpoint(partial / CHECKPOINT, key, saved)
            context.artifacts.checkpoint_saved(key)
        levels.append(level)
    critics = build_critics(part)
    critics.levels.load_state_dict(nn.ModuleList(level.critic for level in levels).state_dict())
    pixels = sum(height * width for height, width in sizes[1:])
    return critics, Spent(
        iterations=total_iterations(part),
        pixels_seen=pixels * part.iterations * part.steps,
        device_seconds=round(saved["device_seconds"], 3),
    )


def distort(images: Tensor, data: DataConfig) -> Tensor:
    """Apply the task's degradation to images in [-1, 1], shape (N, 3, H, W): none for sr, else noise or JPEG.

    Noise comes from torch's CPU generator and is not clipped.
    """
    match data.task:
        case "denoise":
            assert data.sigma is not None
            return images + 2 * data.sigma / 255 * torch.randn(images.shape).to(images)
        case "jpeg":
            assert data.quality is not None
            pixels = to_uint8((images + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
            compressed = np.stack([compress_jpeg(image, data.quality) for image in pixels])
            return to_float(torch.from_numpy(compressed).permute(0, 3, 1, 2)).to(images) * 2 - 1
    return images


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Return the mean squared deviation from 1 of the critic's gradient norm, by pixel (Gulrajani et al. 2017).

    The gradient is taken at a random mixture of two images of shape (1, 3, H, W), drawn from torch's CPU generator.
    """
    share = torch.rand(()).to(real)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(2, dim=1) - 1).square().mean()


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images (N, 3, H, W) to (height, width) by bicubic with anti-aliasing."""
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def _photograph(config: RunConfig, context: RunContext) -> Tensor:
    """Return the training image in [-1, 1], shape (1, 3, H, W), on the device."""
    name = training_image(config, context.train)
    pixels = context.train.images[context.train.names.index(name)]
    return to_float(image_to_tensor(pixels)).to(context.device) * 2 - 1


def _new_level(number: int, size: tuple[int, int], below: list[Level], config: CriticsConfig) -> Level:
    """Build a level's networks: copies of the level below if they have the same width, else random ones."""
    width = critic_width(number, config.features, config.largest_features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(config.seed, number, 0))
        level = Level(Critic(width), CriticGenerator(width), size)
    if below and width == critic_width(number - 1, config.features, config.largest_features):
        _load(level, _state(below[-1]))
    return level


def _level_images(level: Level, below: list[Level], image: Tensor, lowest: tuple[int, int]) -> LevelImages:
    start = resize(image, lowest)
    return LevelImages(resize(image, level.size), start, resize(_climb(start, below, None), level.size))


def _train_level(
    level: Level,
    below: list[Level],
    images: LevelImages,
    config: RunConfig,
    on_progress: ProgressCallback | None,
    stopping: Callable[[], bool],
) -> None:
    part, number = config.critics, len(below)
    optimisers = [Adam(net.parameters(), part.learning_rate, part.betas) for net in (level.critic, level.generator)]
    sums: dict[str, Tensor] = {}
    with _training_mode(level, _seed(part.seed, number, 1)):
        for iteration in range(part.iterations):
            _set_rate(optimisers, part, iteration)
            terms = _iterate(level, below, images, config, optimisers)
            sums = {name: sums.get(name, 0) + value for name, value in terms.items()}
            if (iteration + 1) % SYNC_INTERVAL == 0 or iteration + 1 == part.iterations:
                _report(sums, iteration, number, part, on_progress)
                sums = {}
                if stopping():
                    raise Stopped(f"critics were asked to stop in level {number}")


def _iterate(
    level: Level, below: list[Level], images: LevelImages, config: RunConfig, optimisers: list[Adam]
) -> dict[str, Tensor]:
    """Do `critics.steps` steps of the critic, each on a new draw, then as many of the generator on the last draw."""
    part, data = config.critics, config.data
    real, reconstruction = images.real, images.reconstruction
    for _ in range(part.steps):
        with torch.no_grad():
            enlarged = reconstruction if data.task == "sr" else resize(_climb(images.start, below, data), level.size)
            distorted = distort(enlarged, data)
            fake = level.generator(distorted)
        penalty = gradient_penalty(level.critic, real, fake)
        loss = level.critic(fake).mean() - level.critic(real).mean()
        _backward_and_step(optimisers[0], loss + part.penalty * penalty)
    level.critic.requires_grad_(False)
    for _ in range(part.steps):
        fake = level.generator(distorted)
        rebuilt = fake if data.task == "sr" else level.generator(reconstruction)
        error = F.mse_loss(rebuilt, real)
        _backward_and_step(optimisers[1], part.reconstruction * error - level.critic(fake).mean())
    level.critic.requires_grad_(True)
    return {"critic": loss.detach(), "penalty": penalty.detach(), "reconstruction": error.detach()}


def _climb(image: Tensor, levels: list[Level], data: DataConfig | None) -> Tensor:
    """Apply the generators of finished levels in turn, on distorted images unless `data` is None."""
    with torch.no_grad():
        for level in levels:
            enlarged = resize(image, level.size)
            image = level.generator(enlarged if data is None else distort(enlarged, data))
    return image


@contextmanager
def _training_mode(level: Level, seed: int) -> Iterator[None]:
    """Put a level's networks into training mode, with random draws from the seed alone; freeze them afterwards."""
    for network in (level.critic, level.generator):
        network.train().requires_grad_(True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
    for network in (level.critic, level.generator):
        network.eval().requires_grad_(False)


def _set_rate(optimisers: list[Adam], config: CriticsConfig, iteration: int) -> None:
    fallen = iteration >= round(config.decay_at * config.iterations)
    for optimiser in optimisers:
        optimiser.param_groups[0]["lr"] = config.learning_rate * (DECAY if fallen else 1)


def _report(
    sums: dict[str, Tensor], iteration: int, number: int, config: CriticsConfig, on_progress: ProgressCallback | None
) -> None:
    steps = (iteration % SYNC_INTERVAL) + 1
    terms = {name: float(value) / steps for name, value in sums.items()}
    done = number * config.iterations + iteration + 1
    for name, value in terms.items():
        if not math.isfinite(value):
            raise Diverged(
                f"critics: the {name} term is {value} in the {steps} iterations up to {iteration + 1} of level "
                f"{number}; lower critics.learning_rate ({config.learning_rate:g})"
            )
    if on_progress is not None:
        on_progress(Progress("critics", done, total_iterations(config), terms))


def _backward_and_step(optimiser: Adam, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _state(level: Level) -> dict[str, Any]:
    parts = {"critic": level.critic, "generator": level.generator}
    return {name: {key: value.cpu() for key, value in part.state_dict().items()} for name, part in parts.items()}


def _load(level: Level, state: dict[str, Any]) -> None:
    level.critic.load_state_dict(state["critic"])
    level.generator.load_state_dict(state["generator"])
    for network in (level.critic, level.generator):
        network.eval().requires_grad_(False)


def _seed(seed: int, number: int, purpose: int) -> int:
    """Return a seed that differs by level and by purpose: 0 for initial weights, 1 for training."""
    return (seed * 1_000_003 + 2 * number + purpose) % 2**32
