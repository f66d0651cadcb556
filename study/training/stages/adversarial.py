"""The adversarial stage: a trial's own last one. It trains the perceptual generator and yields points."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from study.config import DataConfig, RunConfig, to_dict
from study.data import Batches
from study.files import write_atomically, write_json
from study.losses import build_perceptual
from study.losses.custom import load_custom_loss
from study.losses.generator_loss import ADVERSARIAL_TERMS, GeneratorLoss
from study.losses.gradient import LOSS_PADDING
from study.losses.guidance import GuidanceInputs
from study.models import SPSRGenerator, load_weights, save_weights
from study.models.build import build_discriminator, build_generator
from study.record.events import PointEvaluated, read_event, write_event
from study.record.paths import TrialDirectory, point_samples
from study.record.points import Spent, TrialPoint
from study.training.context import ProgressCallback, RunContext
from study.training.evaluation import evaluate_generator, evaluation_spacing
from study.training.loop import Plan, train
from study.training.precision import autocast
from study.training.stages.artifacts import load_autoencoder, load_critics, load_generator
from study.training.stages.graph import artifact_key
from study.training.state import TrainState, new_state, seeded, state_on_cpu
from study.training.steps import Step, adversarial_step

GRADIENT_MARGIN = 2 * (LOSS_PADDING - 1)  # by how much gradient maps are larger than the patch


def train_adversarial(
    config: RunConfig,
    context: RunContext,
    directory: TrialDirectory,
    report: Callable[[PointEvaluated], None],
    tick: ProgressCallback | None = None,
) -> None:
    """Train and evaluate the perceptual generator; its upstream artifacts must be finished.

    Started again in the same directory, it goes on from the last checkpoint. Every point is on disk before it is
    reported, and is reported again by a run that was started again: the receiver keeps one of each iteration.

    Args:
        config: the run.
        context: images, artifacts, metrics.
        directory: the trial's own; gets `checkpoint.pt` while it trains, and for each point its EMA weights, numbers
            and sample crops under `points/`.
        report: called for each point, in the order of iterations; in a distributed, by the first process alone.
        tick: called every few iterations.

    Raises:
        Diverged, Stopped, StorageError, ValueError: as `training.loop.train`.
    """
    key = artifact_key(config, "adversarial", context.train)
    if context.distributed.is_main:
        _claim(directory, key, config)
        for path in sorted(directory.points.glob("*.json")):
            report(_read_point(path))
    if context.distributed.broadcast(directory.done.exists()):
        return
    plan = Plan(
        stage="adversarial",
        key=key,
        budget=config.budget,
        optimiser=config.optimiser,
        checkpoint=directory.checkpoint,
        checkpoint_every=config.eval_schedule.checkpoint_every,
        evaluate_every=evaluation_spacing(config, context.val),
        seed=config.seed,
    )

    def make_point(state: TrainState, terms: dict[str, float]) -> None:
        report(_save_point(directory, state, terms, context, config.data))

    train(
        *prepare_adversarial(config, context),
        plan,
        evaluate=make_point,
        tick=tick,
        stopping=context.stopping,
    )
    if context.distributed.is_main:
        write_json(directory.done, {"key": key})
        directory.checkpoint.unlink(missing_ok=True)  # only now is it no longer needed


def prepare_adversarial(config: RunConfig, context: RunContext) -> tuple[TrainState, Step, Batches]:
    """What `training.loop.train` needs to train a perceptual generator from the start."""
    batches = context.batches(config.data, config.budget, config.seed)
    return _adversarial_state(config, context), _adversarial(config, context), batches


def is_exportable(config: RunConfig) -> bool:
    """Whether other tools have the run's generator: none knows our heads, or the bilinear skip but for MSRResNet's."""
    generator = config.generator
    return generator.has_native_head and not generator.adds_skip


def export_generator(config: RunConfig, weights: Path, target: Path) -> Path:
    """Write a run's generator from a point's weights for other tools, under the names that they know.

    Raises:
        ValueError: the weights are not those of the run's generator, or the generator is one that no other tool has.
        StorageError: the file system refused.
    """
    if not is_exportable(config):
        raise ValueError(
            f"{weights} belongs to a generator with generator.bilinear_skip or generator.head, which no other tool "
            "has: its weights would give wrong images there; use it from here, or train without"
        )
    generator = build_generator(config.generator, config.data.scale)
    load_weights(generator, weights)
    save_weights(generator, target, layout="basicsr")
    return target


def _claim(directory: TrialDirectory, key: str, config: RunConfig) -> None:
    """Name what a trial's directory belongs to; ValueError if that is something else."""
    path = directory.config
    owner = json.loads(path.read_text())["key"] if path.exists() else key
    if owner != key:
        raise ValueError(
            f"{directory.root} holds a run of {owner}, but this configuration is {key}; name another directory, "
            "or go back to the configuration that it was started with"
        )
    write_json(path, {"key": key, "config": to_dict(config)})


def _adversarial_state(config: RunConfig, context: RunContext) -> TrainState:
    loss, patch = config.loss, config.budget.patch
    build = {
        "adversarial": lambda: build_discriminator(config.discriminator, patch),
        "gradient_adversarial": lambda: build_discriminator(config.discriminator, patch, margin=GRADIENT_MARGIN),
    }
    discriminators = {
        name: context.distributed.synchronised(seeded(build[name], config.seed + offset).to(context.device))
        for offset, name in enumerate(ADVERSARIAL_TERMS)
        if loss.weights[name] > 0
    }
    generator = _new_generator(config, context)
    return new_state(
        generator,
        config.optimiser,
        discriminators=discriminators,
        distributed=context.distributed,
        precision=config.precision,
    )


def _new_generator(config: RunConfig, context: RunContext) -> nn.Module:
    """The perceptual generator at its start: the fidelity generator, a network with it inside, or a new one."""
    build = lambda: seeded(lambda: build_generator(config.generator, config.data.scale), config.seed)  # noqa: E731
    if config.start == "scratch":
        return build().to(context.device)
    fidelity = load_generator(config, context)
    if config.generator.name != "spsr":
        return fidelity
    generator = build()
    assert isinstance(generator, SPSRGenerator)
    generator.load_fidelity(state_on_cpu(fidelity))
    return generator.to(context.device)


def _adversarial(config: RunConfig, context: RunContext) -> Step:
    loss = config.loss
    perceptual = None
    if loss.perceptual > 0:
        path = context.backbones[loss.perceptual_network]
        perceptual = build_perceptual(loss.perceptual_network, path, loss.perceptual_layers)
        perceptual = perceptual.to(context.device).to(memory_format=torch.channels_last)
    guidance_inputs = GuidanceInputs(
        autoencoder=load_autoencoder(config, context) if loss.uses_autoencoder else None,
        critics=load_critics(config, context) if loss.uses_critics else None,
        used_levels=config.critics.used_levels,
        scale=config.data.scale,
        custom=None
        if loss.custom is None or not loss.uses_custom
        else load_custom_loss(loss.custom, context.custom_losses),
    )
    generator_loss = GeneratorLoss(
        loss,
        guidance_inputs,
        perceptual=perceptual,
        mean=context.distributed.mean,
        autocast=lambda: autocast(config.precision, context.device),
    )
    return adversarial_step(generator_loss, fusion_until=config.fusion_share * config.budget.iterations)


def _save_point(
    directory: TrialDirectory, state: TrainState, terms: dict[str, float], context: RunContext, data: DataConfig
) -> PointEvaluated:
    point = TrialPoint(directory.trial, state.iteration)
    samples = directory.samples(state.iteration)
    evaluation = evaluate_generator(state.ema, context.val_pairs(data), context.evaluator, samples)
    event = PointEvaluated(
        point=point,
        metrics=evaluation.metrics,
        images=evaluation.images,
        terms=terms,
        spent=Spent(**dict[str, Any](state.spent)),
        samples=point_samples(point),
    )
    save_weights(state.ema, directory.weights(state.iteration), layout="plain")
    write_atomically(directory.numbers(state.iteration), write_event(event).encode())  # last: then it is complete
    return event


def _read_point(path: Path) -> PointEvaluated:
    event = read_event(path.read_text())
    assert isinstance(event, PointEvaluated)
    return event
