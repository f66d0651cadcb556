"""The adversarial stage: a trial's last stage, which trains the perceptual generator and yields points."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from study.config import DataConfig, RunConfig, check_extension, from_dict, reduced, stage_key, to_dict
from study.data import Batches
from study.files import DamagedError, read_checked_json, write_checked_json, write_json
from study.losses import build_perceptual
from study.losses.custom import load_custom_loss
from study.losses.generator_loss import ADVERSARIAL_TERMS, GeneratorLoss
from study.losses.gradient import LOSS_PADDING
from study.losses.guidance import GuidanceInputs
from study.models import SPSRGenerator, load_weights, save_weights
from study.models.build import build_discriminator, build_generator
from study.record.events import PointEvaluated
from study.record.paths import TrialDirectory, point_samples
from study.record.point_files import read_point, write_point
from study.record.points import TrialPoint
from study.training.checkpoints import remove_checkpoints
from study.training.context import RunContext
from study.training.evaluation import evaluate_generator, evaluation_spacing
from study.training.loop import Plan, ProgressCallback, train
from study.training.precision import autocast
from study.training.stages.autoencoder import load_autoencoder
from study.training.stages.critics import load_critics
from study.training.stages.fidelity import load_generator
from study.training.stages.spec import StageSpec
from study.training.state import TrainState, new_state, seeded, state_on_cpu
from study.training.steps import Step, adversarial_step

log = logging.getLogger(__name__)

GRADIENT_MARGIN = 2 * (LOSS_PADDING - 1)  # how many pixels gradient maps are larger than the patch


def train_adversarial(
    config: RunConfig,
    context: RunContext,
    directory: TrialDirectory,
    report: Callable[[PointEvaluated], None],
    on_progress: ProgressCallback | None = None,
) -> None:
    """Train and evaluate the perceptual generator; its upstream artifacts must be finished.

    A second call with the same directory continues from the last checkpoint, also to a longer budget where the shorter
    one trained the same iterations (`config.check_extension`). A point is stored before it is reported; a continued run
    reports its stored points again, so the receiver must ignore iterations that it already has. If one of them is
    damaged, training starts again, with a warning.

    Args:
        config: the run.
        context: images, artifacts, metrics.
        directory: the trial's; holds `checkpoint.pt`, which stays after the end, and for each point its EMA weights,
            numbers and sample crops under `points/`.
        report: called for each point, in the order of iterations, in the main process only.
        on_progress: called every few iterations.

    Raises:
        Diverged, Stopped, StorageError, ValueError: as `training.loop.train`.
    """
    key = stage_key(config, "adversarial", context.train.fingerprint)
    if context.distributed.is_main:
        _claim(directory, key, config, context.train.fingerprint)
        for point in _stored_points(directory, config.budget.iterations):
            report(point)
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
        extends=tuple(read_checked_json(directory.config).get("extends", ())),
    )
    evaluate = lambda state, terms: report(_save_point(directory, state, terms, context, config.data))  # noqa: E731
    state, step, batches = prepare_adversarial(config, context)
    train(state, step, batches, plan, evaluate=evaluate, on_progress=on_progress, stopping=context.stopping)
    if context.distributed.is_main:
        write_json(directory.done, {"key": key})


def prepare_adversarial(config: RunConfig, context: RunContext) -> tuple[TrainState, Step, Batches]:
    """Return the arguments of `training.loop.train` for a perceptual generator at iteration 0."""
    batches = context.batches(config.data, config.budget, config.seed)
    return _initial_state(config, context), _step(config, context), batches


def is_exportable(config: RunConfig) -> bool:
    """Return whether other tools have the run's generator: without our heads, and a bilinear skip in MSRResNet only."""
    generator = config.generator
    return generator.has_native_head and not generator.adds_skip


def export_generator(config: RunConfig, weights: Path, target: Path) -> Path:
    """Write a point's weights to `target` for other tools, under BasicSR's parameter names.

    Raises:
        ValueError: the weights do not fit the run's generator, or no other tool has this generator.
        StorageError: the file could not be written.
    """
    if not is_exportable(config):
        raise ValueError(
            f"{weights} belongs to a generator with generator.bilinear_skip or generator.head, which no other tool "
            "has: its weights would give wrong images there; evaluate with this project, or train without these fields"
        )
    generator = _network(config)
    load_weights(generator, weights)
    save_weights(generator, target, layout="basicsr")
    return target


def _claim(directory: TrialDirectory, key: str, config: RunConfig, data: str) -> None:
    """Write the run's key and configuration into a trial's directory, and the keys of shorter runs that it extends.

    ValueError if the directory belongs to another run.
    """
    stored: dict[str, Any] = {"key": key}
    try:
        stored = read_checked_json(directory.config) if directory.config.exists() else stored
    except DamagedError as error:
        log.warning("%s; it is written again", error)
    extends = stored.get("extends", [])
    if stored["key"] != key:
        _check_extends(directory, key, config, stored, data)
        extends = [*extends, stored["key"]]
        directory.done.unlink(missing_ok=True)  # before the new key: a trial that is done has all its points
    write_checked_json(directory.config, {"key": key, "config": to_dict(config), "extends": extends})


def _check_extends(directory: TrialDirectory, key: str, config: RunConfig, stored: dict[str, Any], data: str) -> None:
    """Check that a run continues the one of a trial's directory; ValueError says why not."""
    before = from_dict(stored["config"])
    if stage_key(reduced(config, before), "adversarial", data) != stored["key"]:
        raise ValueError(
            f"{directory} belongs to {stored['key']}, but this configuration is {key}; name another directory, "
            "or use the configuration that it was started with"
        )
    check_extension(before, config)


def _stored_points(directory: TrialDirectory, iterations: int) -> list[PointEvaluated]:
    """Return the stored points; if one is damaged, those before it, and remove the state that came after them."""
    points: list[PointEvaluated] = []
    try:
        for path in sorted(directory.points.glob("*.json")):
            points.append(read_point(path))
        if directory.done.exists() and (not points or points[-1].point.iteration < iterations):
            raise DamagedError(f"{directory.points} has lost its last points")
    except DamagedError as error:
        log.warning("%s; trial %d is trained again", error, directory.trial)
        directory.done.unlink(missing_ok=True)
        remove_checkpoints(directory.checkpoint)
    return points


def _network(config: RunConfig) -> nn.Module:
    return build_generator(config.generator, config.data.scale)


def _initial_state(config: RunConfig, context: RunContext) -> TrainState:
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
    return new_state(
        _initial_generator(config, context),
        config.optimiser,
        discriminators=discriminators,
        distributed=context.distributed,
        precision=config.precision,
    )


def _initial_generator(config: RunConfig, context: RunContext) -> nn.Module:
    """Return the fidelity generator, SPSR's network with it as the trunk, or a network with random weights."""
    if config.start == "scratch":
        return seeded(lambda: _network(config), config.seed).to(context.device)
    fidelity = load_generator(config, context)
    if config.generator.name != "spsr":
        return fidelity
    generator = seeded(lambda: _network(config), config.seed)
    assert isinstance(generator, SPSRGenerator)
    generator.load_fidelity(state_on_cpu(fidelity))
    return generator.to(context.device)


def _step(config: RunConfig, context: RunContext) -> Step:
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
        custom=load_custom_loss(loss.custom, context.custom_losses) if loss.custom and loss.uses_custom else None,
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
        spent=state.spent,
        samples=point_samples(point),
    )
    save_weights(state.ema, directory.weights(state.iteration), layout="plain")
    # Last: a point counts as stored once this file exists.
    write_point(directory.numbers(state.iteration), event)
    return event


ADVERSARIAL = StageSpec(
    name="adversarial",
    upstream=lambda config: [(config, stage) for stage in config.stages if stage != "adversarial"],
    iterations=lambda config: config.budget.iterations,
    budget_field="budget",
    init_field=None,
    yields_points=True,
    network=_network,
    prepare=prepare_adversarial,
)
