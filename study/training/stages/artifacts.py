"""The upstream stages: each trains one thing and leaves it, whole, in one directory named by all that determines it."""

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from study.config import (
    AutoencoderConfig,
    DataConfig,
    FidelityConfig,
    RunConfig,
    Stage,
    decoder_as_run,
    stage_part,
    to_dict,
)
from study.data import Batches
from study.files import write_json
from study.models import Autoencoder, Critics, load_weights, save_weights
from study.models.build import build_autoencoder, build_critics, build_generator
from study.record.events import ArtifactEnded, Event, ReferenceEvaluated
from study.record.paths import WEIGHTS, RunDirectory, reference_samples
from study.record.points import Spent
from study.training.artifact_store import CHECKPOINT
from study.training.context import ProgressCallback, RunContext
from study.training.evaluation import (
    Evaluation,
    evaluate_autoencoder,
    evaluate_bicubic,
    evaluate_generator,
    save_references,
)
from study.training.loop import Plan, train
from study.training.stages.critic_evaluation import evaluate_critics
from study.training.stages.critics import train_critics
from study.training.stages.graph import artifact_key, initial_weights, upstream
from study.training.state import TrainState, new_state, seeded, state_on_cpu
from study.training.steps import Step, autoencoder_step, fidelity_step

BASELINES = ("bicubic", "input")


@dataclass(frozen=True)
class Artifact:
    """A finished upstream stage.

    Attributes:
        key: `<stage>-<hash>`, the directory's name.
        weights: its EMA weights, safetensors.
        budget: what it cost: iterations, pixels_seen, device_seconds.
        reused: it was there already.
    """

    key: str
    weights: Path
    budget: dict[str, float]
    reused: bool


def ensure_artifact(
    config: RunConfig, stage: Stage, context: RunContext, tick: ProgressCallback | None = None
) -> Artifact:
    """Find the artifact of a stage, or train it, with all that it starts from; or take over the file named by `init`.

    Two processes that ask for the same one at the same time do not both train it: the second waits for the first. Those
    of a distributed train it together; critics, which learn from one image, are the first's alone.

    Raises:
        Diverged, Stopped, StorageError, ValueError: as `training.loop.train`.
    """
    assert stage != "adversarial"
    key = artifact_key(config, stage, context.train)
    store, distributed = context.artifacts, context.distributed
    if not distributed.broadcast(store.has(key)):
        for needed, name in upstream(config, stage):
            ensure_artifact(needed, name, context, tick)
        with store.only_one(key) if distributed.is_main else nullcontext():
            if not distributed.broadcast(store.has(key)):
                _train_artifact(config, stage, key, context, tick)
                return _finished(store.open(key), reused=False)
    return _finished(store.open(key), reused=True)


def load_generator(config: RunConfig, context: RunContext) -> nn.Module:
    """The run's finished fidelity generator, in eval mode on the context's device."""
    key = artifact_key(config, "fidelity", context.train)
    generator = build_generator(config.generator.fidelity_form, config.data.scale)
    load_weights(generator, context.artifacts.open(key) / WEIGHTS)
    return generator.eval().to(context.device)


def load_autoencoder(config: RunConfig, context: RunContext) -> Autoencoder:
    """The run's finished auto-encoder, frozen, in eval mode on the context's device."""
    key = artifact_key(config, "autoencoder", context.train)
    autoencoder = build_autoencoder(config.autoencoder, scale_head=config.has_scale_head)
    load_weights(autoencoder, context.artifacts.open(key) / WEIGHTS)
    return autoencoder.eval().requires_grad_(False).to(context.device).to(memory_format=torch.channels_last)


def load_critics(config: RunConfig, context: RunContext) -> Critics:
    """The run's finished critics, frozen, always in eval mode, on the context's device."""
    key = artifact_key(config, "critics", context.train)
    critics = build_critics(config.critics)
    load_weights(critics, context.artifacts.open(key) / WEIGHTS)
    return critics.to(context.device).to(memory_format=torch.channels_last)


def make_artifact(
    config: RunConfig, stage: Stage, context: RunContext, run_dir: RunDirectory, tick: ProgressCallback | None = None
) -> tuple[Event, ...]:
    """Find or train an artifact and evaluate it for a study.

    Returns:
        That it ended and, of a fidelity generator, that it was evaluated as a reference. Of several processes, the first
        alone evaluates; the others return nothing.

    Raises:
        Diverged, Stopped, StorageError, ValueError: as `training.loop.train`.
    """
    artifact = ensure_artifact(config, stage, context, tick)
    if not context.distributed.is_main:
        return ()
    evaluation = evaluate_artifact(config, stage, context, run_dir.reference(artifact.key))
    ended = ArtifactEnded(
        key=artifact.key,
        stage=stage,
        config=to_dict(config),
        state="COMPLETE",
        metrics=evaluation.metrics,
        spent=Spent(**dict[str, Any](artifact.budget)),
        reused=artifact.reused,
    )
    return (ended, reference_event(artifact.key, "fidelity", evaluation)) if stage == "fidelity" else (ended,)


def reference_event(name: str, kind: Literal["bicubic", "input", "fidelity"], evaluation: Evaluation) -> Event:
    """Return that a reference was evaluated."""
    return ReferenceEvaluated(
        name=name, kind=kind, metrics=evaluation.metrics, images=evaluation.images, samples=reference_samples(name)
    )


def evaluate_artifact(config: RunConfig, stage: Stage, context: RunContext, samples: Path) -> Evaluation:
    """Evaluate a finished artifact on the held-out images.

    That is a generator's output, of which `samples` gets crops; what comes through an auto-encoder; or how well critics
    tell distorted images from clean ones, which has metrics of its own (`critic_evaluation.py`).
    """
    if stage == "critics":
        return evaluate_critics(load_critics(config, context), config, context)
    test = context.val_pairs(config.data)
    if stage == "autoencoder":
        return evaluate_autoencoder(load_autoencoder(config, context), test, context.evaluator)
    return evaluate_generator(load_generator(config, context), test, context.evaluator, samples)


def evaluate_baseline(data: DataConfig, context: RunContext, run_dir: RunDirectory) -> Event:
    """Evaluate what needs no training; its crops, and the windows of HR and LQ that all samples show, are saved."""
    test, name = context.val_pairs(data), baseline_name(data)
    save_references(run_dir.reference("hr").parent, test)
    evaluation = evaluate_bicubic(test, context.evaluator, context.device, run_dir.reference(name))
    return reference_event(name, name, evaluation)


def baseline_name(data: DataConfig) -> Literal["bicubic", "input"]:
    """What stands for no training: `bicubic` interpolation, or the `input` itself where it is not to be enlarged."""
    return "bicubic" if data.scale > 1 else "input"


def empty_network(config: RunConfig, stage: Stage) -> nn.Module:
    """The network of an upstream stage, with weights that mean nothing."""
    if stage == "fidelity":
        return build_generator(config.generator.fidelity_form, config.data.scale)
    if stage == "critics":
        return build_critics(config.critics)
    return build_autoencoder(config.autoencoder, scale_head=config.has_scale_head)


def _train_artifact(
    config: RunConfig, stage: Stage, key: str, context: RunContext, tick: ProgressCallback | None
) -> None:
    partial = context.artifacts.workplace(key)
    given, is_main = initial_weights(config, stage), context.distributed.is_main
    budget: dict[str, float] = {}
    if given is not None:
        budget = _take_over(config, stage, Path(given), partial) if is_main else {}
    elif stage != "critics":
        budget = _train_in_batches(config, stage, key, context, partial, tick)
    elif is_main:
        critics, budget = train_critics(config, key, context, partial, tick)
        save_weights(critics, partial / WEIGHTS, layout="plain")
    if is_main:
        _publish(config, stage, key, budget, context, partial)
    context.distributed.broadcast(True)  # nobody goes on before it is there


def _publish(
    config: RunConfig, stage: Stage, key: str, budget: dict[str, float], context: RunContext, partial: Path
) -> None:
    """Put a finished artifact in its place, whole."""
    write_json(
        partial / "config.json",
        {"key": key, "data": context.train.fingerprint, "part": stage_part(config, stage)},
    )
    write_json(partial / "budget.json", budget)
    context.artifacts.publish(key)


def _take_over(config: RunConfig, stage: Stage, given: Path, partial: Path) -> dict[str, float]:
    """Make an artifact of a file that a person gave."""
    module = empty_network(config, stage)
    load_weights(module, given)
    save_weights(module, partial / WEIGHTS, layout="plain")
    return {"iterations": 0, "pixels_seen": 0, "device_seconds": 0.0}


def prepare_upstream(config: RunConfig, stage: Stage, context: RunContext) -> tuple[TrainState, Step, Batches]:
    """What `training.loop.train` needs to train a fidelity generator or an auto-encoder from the start."""
    if stage == "fidelity":
        fidelity = config.fidelity
        model: nn.Module = seeded(lambda: empty_network(config, "fidelity"), fidelity.seed)
        state = new_state(
            model.to(context.device), fidelity.optimiser, distributed=context.distributed, precision=config.precision
        )
        return state, fidelity_step, context.batches(config.data, fidelity.budget, fidelity.seed)
    part = config.autoencoder
    step = autoencoder_step(
        bottleneck_weight=part.bottleneck_weight if part.trains_bottleneck else 0.0,
        scale_weight=part.scale_weight if config.has_scale_head else 0.0,
        frozen_until=round(part.frozen_decoder * part.budget.iterations),
    )
    state = new_state(
        _new_autoencoder(config, context).to(context.device),
        part.optimiser,
        distributed=context.distributed,
        precision=config.precision,
    )
    return state, step, context.clean_batches(part.factor, part.budget, part.seed)


def _train_in_batches(
    config: RunConfig, stage: Stage, key: str, context: RunContext, partial: Path, tick: ProgressCallback | None
) -> dict[str, float]:
    """Train a fidelity generator or an auto-encoder and leave its averaged weights; returns what it cost."""
    part = config.fidelity if stage == "fidelity" else config.autoencoder
    plan = _upstream_plan(stage, key, part, partial, config, context)
    state, step, batches = prepare_upstream(config, stage, context)
    train(state, step, batches, plan, tick=tick, stopping=context.stopping)
    if context.distributed.is_main:
        save_weights(state.ema, partial / WEIGHTS, layout="plain")
    return state.spent


def _upstream_plan(
    stage: Stage,
    key: str,
    part: FidelityConfig | AutoencoderConfig,
    partial: Path,
    config: RunConfig,
    context: RunContext,
) -> Plan:
    return Plan(
        stage=stage,
        key=key,
        budget=part.budget,
        optimiser=part.optimiser,
        checkpoint=partial / CHECKPOINT,
        checkpoint_every=config.eval_schedule.checkpoint_every,
        seed=part.seed,
        on_saved=lambda: context.artifacts.saved(key),
    )


def _new_autoencoder(config: RunConfig, context: RunContext) -> Autoencoder:
    build = lambda: build_autoencoder(config.autoencoder, scale_head=config.has_scale_head)  # noqa: E731
    autoencoder = seeded(build, config.autoencoder.seed)
    autoencoder.load_fidelity(state_on_cpu(load_generator(decoder_as_run(config), context)))
    return autoencoder


def _finished(directory: Path, *, reused: bool) -> Artifact:
    budget = json.loads((directory / "budget.json").read_text())
    return Artifact(directory.name, directory / WEIGHTS, budget, reused)
