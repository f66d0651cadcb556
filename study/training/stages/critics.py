"""MDF's first phase: one critic a level, trained on one photograph, coarse to fine (METHODS 6.2).

SinGAN's single-image training (Shaham et al., ICCV 2019) with the task's distortion in the place of its noise. Phase 1
of MDF was never published; where its description is silent, this is what SinGAN does. Ours is where the pyramid starts:
SinGAN's coarsest generator makes an image of noise alone, which a task without noise does not have. Here the image
itself, one step smaller than the coarsest level, stands below it.
"""

import math
import time
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
from study.training.artifact_store import CHECKPOINT
from study.training.checkpoints import load_checkpoint, save_checkpoint
from study.training.context import ProgressCallback, RunContext
from study.training.loop import SYNC_INTERVAL, Diverged, Progress, Stopped

DECAY = 0.1


@dataclass
class Level:
    """The networks of one level of the pyramid, and its size (height, width) in pixels."""

    critic: Critic
    generator: CriticGenerator
    size: tuple[int, int]


def training_image(config: RunConfig, images: ImageSet) -> str:
    """The name of the photograph that a run's critics learn from.

    Raises:
        ValueError: no training image has the name that `critics.image` gives, or the image is too small.
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
    """Sizes of a pyramid's levels, coarse to fine, behind the size of the image that stands below it.

    The finest level is the image, shrunk where its longer side exceeds `largest_side`; from there, levels shrink by one
    ratio to `smallest_side` at the coarsest's shorter side (METHODS 6.2).

    Args:
        size: of the image, (height, width) in pixels.

    Returns:
        `levels` + 1 sizes.

    Raises:
        ValueError: an image so small that two levels would be of one size.
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
    config: RunConfig, key: str, context: RunContext, partial: Path, tick: ProgressCallback | None = None
) -> tuple[Critics, dict[str, float]]:
    """Train the critics of all levels; one that is stopped goes on with the level that it was at, from its start.

    Args:
        config: the run; its `critics`, and its task, which says what the images suffer.
        key: names what determines the result; a checkpoint of another key is refused.
        context: the training images, a device.
        partial: gets `checkpoint.pt` after each level.
        tick: called every few iterations.

    Returns:
        The critics, and what they cost: iterations, pixels_seen, device_seconds.

    Raises:
        Diverged: a loss that is not finite.
        Stopped: `context.stopping` said so; what the level had learned is lost.
        ValueError: see `training_image`.
        StorageError: the file system refused.
    """
    part, device = config.critics, context.device
    image = _photograph(config, context)
    sizes = pyramid_sizes((image.shape[-2], image.shape[-1]), part)
    saved = load_checkpoint(partial / CHECKPOINT, key) or {"levels": [], "device_seconds": 0.0}
    levels: list[Level] = []
    for number, size in enumerate(sizes[1:]):
        level = _new_level(number, size, levels, part)
        for network in (level.critic, level.generator):
            network.to(device)
        if number < len(saved["levels"]):
            _load(level, saved["levels"][number])
        else:
            started = time.perf_counter()
            _train_level(level, levels, image, sizes[0], config, tick, context.stopping)
            saved["levels"].append(_state(level))
            saved["device_seconds"] += time.perf_counter() - started
            save_checkpoint(partial / CHECKPOINT, key, saved)
            context.artifacts.saved(key)
        levels.append(level)
    critics = build_critics(part)
    critics.levels.load_state_dict(nn.ModuleList(level.critic for level in levels).state_dict())
    pixels = sum(height * width for height, width in sizes[1:])
    return critics, {
        "iterations": part.iterations * part.levels,
        "pixels_seen": pixels * part.iterations * part.steps,
        "device_seconds": round(saved["device_seconds"], 3),
    }


def distort(images: Tensor, data: DataConfig) -> Tensor:
    """Do to images in [-1, 1] what the task has to undo: nothing for sr, noise for denoise, compression for jpeg.

    What is random is drawn from torch's CPU generator. Shape (N, 3, H, W), and so is the result; noise is not clipped.
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
    """How far the critic's slope is from 1 between two images, by pixel: a scalar (METHODS 6.2; Gulrajani et al. 2017).

    real, fake: images, shape (1, 3, H, W). The mixture is drawn from torch's CPU generator.
    """
    share = torch.rand(()).to(real)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.norm(2, dim=1) - 1).square().mean()


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images (N, 3, H, W) to (height, width) by bicubic with anti-aliasing."""
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def _photograph(config: RunConfig, context: RunContext) -> Tensor:
    """The training image in [-1, 1], shape (1, 3, H, W), on the device."""
    name = training_image(config, context.train)
    pixels = context.train.images[context.train.names.index(name)]
    return to_float(image_to_tensor(pixels)).to(context.device) * 2 - 1


def _new_level(number: int, size: tuple[int, int], below: list[Level], config: CriticsConfig) -> Level:
    """A level's networks: those of the level below where they are as wide, else random ones."""
    width = critic_width(number, config.features, config.largest_features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(config.seed, number, 0))
        level = Level(Critic(width), CriticGenerator(width), size)
    if below and width == critic_width(number - 1, config.features, config.largest_features):
        _load(level, _state(below[-1]))
    return level


def _train_level(
    level: Level,
    below: list[Level],
    image: Tensor,
    lowest: tuple[int, int],
    config: RunConfig,
    tick: ProgressCallback | None,
    stopping: Callable[[], bool],
) -> None:
    part, number = config.critics, len(below)
    real, start = resize(image, level.size), resize(image, lowest)
    reconstruction = resize(_climb(start, below, None), level.size)
    optimisers = [Adam(net.parameters(), part.learning_rate, part.betas) for net in (level.critic, level.generator)]
    sums: dict[str, Tensor] = {}
    with _as_training(level, _seed(part.seed, number, 1)):
        for iteration in range(part.iterations):
            _set_rate(optimisers, part, iteration)
            terms = _iterate(level, below, real, start, reconstruction, config, optimisers)
            sums = {name: sums.get(name, 0) + value for name, value in terms.items()}
            if (iteration + 1) % SYNC_INTERVAL == 0 or iteration + 1 == part.iterations:
                _report(sums, iteration, number, part, tick)
                sums = {}
                if stopping():
                    raise Stopped(f"critics were asked to stop in level {number}")


def _iterate(
    level: Level,
    below: list[Level],
    real: Tensor,
    start: Tensor,
    reconstruction: Tensor,
    config: RunConfig,
    optimisers: list[Adam],
) -> dict[str, Tensor]:
    """One iteration: some steps of the critic, each on a new draw, then as many of the generator on the last one."""
    part, data = config.critics, config.data
    for _ in range(part.steps):
        with torch.no_grad():
            enlarged = reconstruction if data.task == "sr" else resize(_climb(start, below, data), level.size)
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
    """Let the finished levels' generators add detail, one after the other; without distortion where `data` is None."""
    with torch.no_grad():
        for level in levels:
            enlarged = resize(image, level.size)
            image = level.generator(enlarged if data is None else distort(enlarged, data))
    return image


@contextmanager
def _as_training(level: Level, seed: int) -> Iterator[None]:
    """Train a level's networks with draws that depend on the seed alone; freeze them after it."""
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
    sums: dict[str, Tensor], iteration: int, number: int, config: CriticsConfig, tick: ProgressCallback | None
) -> None:
    steps = (iteration % SYNC_INTERVAL) + 1
    terms = {name: float(value) / steps for name, value in sums.items()}
    done = number * config.iterations + iteration + 1
    for name, value in terms.items():
        if not math.isfinite(value):
            raise Diverged(f"critics: the {name} term is {value} before iteration {iteration + 1} of level {number}")
    if tick is not None:
        tick(Progress("critics", done, config.iterations * config.levels, terms))


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


def _seed(seed: int, number: int, what: int) -> int:
    """Seeds that differ by level and by what they are for."""
    return (seed * 1_000_003 + 2 * number + what) % 2**32
