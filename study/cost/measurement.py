"""Measure the cost of a stage on this machine, by a few of its steps from random weights."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from study.config import RunConfig, Stage
from study.config import replace as with_values
from study.data import Batches
from study.data.feed import feed
from study.files import write_json
from study.models import save_weights
from study.record.paths import BUDGET, WEIGHTS
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.evaluation import evaluate_generator
from study.training.stages.artifacts import ensure_artifact
from study.training.stages.graph import STAGES, artifact_key, needs_of
from study.training.state import TrainState, set_learning_rate, update_ema
from study.training.steps import Step

STEPS = 3
ITERATIONS_ALONE = 2  # of a stage that trains without batches


@dataclass(frozen=True)
class Cost:
    """The cost of a stage.

    Attributes:
        seconds: of one step.
        peak_bytes: the process's peak GPU memory; 0 on a CPU.
        checkpoint_bytes, weights_bytes: on disk.
        image_seconds: to evaluate one held-out image of the mean size; 0 unless the stage yields a trial's points.
    """

    seconds: float
    peak_bytes: int = 0
    checkpoint_bytes: int = 0
    weights_bytes: int = 0
    image_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def measure(config: RunConfig, stage: Stage, context: RunContext) -> Cost:
    """Train a stage for a few steps in a temporary folder, from upstream networks with random weights.

    Args:
        config: the run; its images must be those of the context.
        stage: one of its stages.
        context: images, networks, a device. Its artifacts are neither used nor changed.

    Raises:
        torch.OutOfMemoryError: the stage does not fit the GPU.
    """
    spec = STAGES[stage]
    devices = [context.device] if context.device.type == "cuda" else []
    with TemporaryDirectory(prefix="aesop-measure-") as folder, torch.random.fork_rng(devices=devices):
        isolated = replace(context, artifacts=ArtifactFolder(Path(folder)))
        if spec.prepare is None:
            return _measure_alone(config, stage, isolated)
        give_random_upstream(config, stage, isolated)
        on_gpu = context.device.type == "cuda"
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        state, step, batches = spec.prepare(config, isolated)
        seconds = _seconds_a_step(state, step, batches, context.device)
        return Cost(
            seconds=seconds,
            peak_bytes=torch.cuda.max_memory_reserved() if on_gpu else 0,
            checkpoint_bytes=_bytes_in(state.state_dict()),
            weights_bytes=_bytes_in(state.ema.state_dict()),
            image_seconds=_seconds_an_image(state.ema, config, isolated) if spec.yields_points else 0.0,
        )


def give_random_upstream(config: RunConfig, stage: Stage, context: RunContext) -> None:
    """Store networks with random weights as the artifacts upstream of a stage."""
    for need in needs_of(config, stage, lambda run, name: artifact_key(run, name, context.train)):
        if not context.artifacts.has(need.key):
            target = context.artifacts.partial_dir(need.key)
            save_weights(STAGES[need.stage].network(need.config), target / WEIGHTS, layout="plain")
            write_json(target / BUDGET, {})
            context.artifacts.publish(need.key)


def _seconds_a_step(state: TrainState, step: Step, batches: Batches, device: torch.device) -> float:
    set_learning_rate(state, 0.0)  # training from random weights could diverge; a step costs the same
    taken = []
    with feed(batches, range(STEPS + 1), device) as incoming:
        for lq, hr in incoming:
            started = time.perf_counter()
            step(state, lq.contiguous(memory_format=torch.channels_last), hr)
            update_ema(state, 0.999)
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])  # the first step also selects algorithms and fills caches


def _seconds_an_image(generator: nn.Module, config: RunConfig, context: RunContext) -> float:
    """Time the evaluation of the image whose size is nearest to the mean, and scale by pixels."""
    pairs = context.val_pairs(config.data)
    sizes = [height * width for height, width in context.val.images.shapes]
    mean = sum(sizes) / len(sizes)
    index = min(range(len(sizes)), key=lambda number: abs(sizes[number] - mean))
    started = time.perf_counter()
    evaluate_generator(generator, pairs.only(index), context.evaluator)
    return (time.perf_counter() - started) * mean / sizes[index]


def _measure_alone(config: RunConfig, stage: Stage, context: RunContext) -> Cost:
    short = with_values(config, {f"{STAGES[stage].budget_field}.iterations": ITERATIONS_ALONE})
    made = ensure_artifact(short, stage, context)
    size = made.weights.stat().st_size
    seconds = made.spent.device_seconds / made.spent.iterations
    return Cost(seconds, checkpoint_bytes=3 * size, weights_bytes=size)


def _bytes_in(values: Any) -> int:
    """Return the bytes of all tensors in nested containers."""
    if isinstance(values, torch.Tensor):
        return values.numel() * values.element_size()
    if isinstance(values, Mapping):
        return sum(map(_bytes_in, values.values()))
    return sum(map(_bytes_in, values)) if isinstance(values, list | tuple) else 0
