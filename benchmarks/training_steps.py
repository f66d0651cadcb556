"""A study's training steps on random patches, from random weights, timed in turns."""

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from study.config import PerceptualNetwork, RunConfig
from study.cost.measurement import give_random_upstream
from study.data import ImageSet
from study.metrics.evaluator import study_evaluator
from study.models.backbones import find_backbone
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.peak_memory import PeakMemory
from study.training.stages.adversarial import prepare_adversarial
from study.training.state import TrainState, set_learning_rate, update_ema

_BACKBONES: tuple[PerceptualNetwork, ...] = ("vgg19", "squeezenet")


class StepCost(NamedTuple):
    """Median seconds of a step, and its peak memory beyond what was allocated before, GiB (NaN: unknown)."""

    seconds: float
    gib: float


def noise_context(folder: Path, device: torch.device, weights: Path | None = None) -> RunContext:
    """Return a context with one image of noise, and random weights for networks whose weights are not found."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    images = ImageSet.loaded("noise", ("noise",), (noise,))
    backbones = {name: find_backbone(name, weights) or _random_network(folder, name) for name in _BACKBONES}
    return RunContext(
        images, images, ArtifactFolder(folder / "artifacts"), study_evaluator(None, device), backbones, device
    )


def _random_network(folder: Path, name: PerceptualNetwork) -> Path:
    """Write a torchvision network with random weights, which is as fast as a trained one; return the file."""
    from torchvision import models

    path = folder / f"{name}_features.pth"
    if not path.exists():
        build = {"vgg19": models.vgg19, "squeezenet": models.squeezenet1_1}[name]
        torch.save(build(weights=None).features.state_dict(), path)
    return path


def prepare_step(config: RunConfig, context: RunContext) -> tuple[TrainState, Callable[[], None]]:
    """Return the state of a run's adversarial stage, and a function that trains one step."""
    give_random_upstream(config, "adversarial", context)
    state, step, _ = prepare_adversarial(config, context)
    budget, scale = config.budget, config.data.scale
    hr = torch.rand(budget.batch, 3, budget.patch, budget.patch, device=context.device)
    lq = torch.rand(budget.batch, 3, budget.patch // scale, budget.patch // scale, device=context.device)
    hr, lq = (images.contiguous(memory_format=torch.channels_last) for images in (hr, lq))
    set_learning_rate(state, 0.0)  # random weights would diverge; the work is the same
    state.iteration = budget.iterations - 1  # after the share in which layers are frozen

    def train() -> None:
        step(state, lq, hr)
        update_ema(state, config.optimiser.ema_decay)

    return state, train


def in_turns(steps: Mapping[str, Callable[[], None]], turns: int, device: torch.device) -> dict[str, StepCost]:
    """Time all steps in turns, so that changes of the machine's speed affect all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()  # warm-up: algorithms and caches
    for _ in range(turns):
        for name, step in steps.items():
            seconds[name].append(_seconds(step, device))
    return {name: StepCost(statistics.median(seconds[name]), _memory(step, device)) for name, step in steps.items()}


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _memory(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    else:
        # Otherwise memory that was freed before would be reused and not counted.
        ctypes.CDLL(None).malloc_trim(0)
    memory = PeakMemory(device)
    before = memory.read()
    step()
    peak = memory.read()
    return float("nan") if before is None or peak is None else peak - before
