"""The auto-encoder stage: AESOP's auto-encoder, whose decoder starts from a fidelity generator."""

from pathlib import Path

import torch

from study.config import RunConfig, decoder_as_run
from study.data import Batches
from study.models import Autoencoder
from study.models.build import build_autoencoder
from study.training.context import RunContext
from study.training.evaluation import Evaluation, evaluate_autoencoder
from study.training.stages.fidelity import load_generator
from study.training.stages.spec import StageSpec, Upstream
from study.training.state import TrainState, new_state, seeded, state_on_cpu
from study.training.steps import Step, autoencoder_step


def load_autoencoder(config: RunConfig, context: RunContext) -> Autoencoder:
    """Return the run's finished auto-encoder, frozen, in eval mode on the context's device."""
    autoencoder = AUTOENCODER.load(config, context)
    assert isinstance(autoencoder, Autoencoder)
    return autoencoder.requires_grad_(False).to(memory_format=torch.channels_last)


def _network(config: RunConfig) -> Autoencoder:
    return build_autoencoder(config.autoencoder, scale_head=config.has_scale_head)


def _upstream(config: RunConfig) -> Upstream:
    return [] if config.autoencoder.init is not None else [(decoder_as_run(config), "fidelity")]


def _prepare(config: RunConfig, context: RunContext) -> tuple[TrainState, Step, Batches]:
    part = config.autoencoder
    step = autoencoder_step(
        bottleneck_weight=part.bottleneck_weight if part.trains_bottleneck else 0.0,
        scale_weight=part.scale_weight if config.has_scale_head else 0.0,
        frozen_until=round(part.frozen_decoder * part.budget.iterations),
    )
    model = _initial_network(config, context).to(context.device)
    state = new_state(model, part.optimiser, distributed=context.distributed, precision=config.precision)
    return state, step, context.clean_batches(part.factor, part.budget, part.seed)


def _initial_network(config: RunConfig, context: RunContext) -> Autoencoder:
    """Build a random encoder and a decoder with the weights of its fidelity generator."""
    autoencoder = seeded(lambda: _network(config), config.autoencoder.seed)
    autoencoder.load_fidelity(state_on_cpu(load_generator(decoder_as_run(config), context)))
    return autoencoder


def _evaluate(config: RunConfig, context: RunContext, samples: Path) -> Evaluation:
    del samples  # its output is close to the HR image: a crop would show nothing
    return evaluate_autoencoder(load_autoencoder(config, context), context.val_pairs(config.data), context.evaluator)


AUTOENCODER = StageSpec(
    name="autoencoder",
    upstream=_upstream,
    iterations=lambda config: config.autoencoder.budget.iterations,
    budget_field="autoencoder.budget",
    init_field="autoencoder.init",
    yields_points=False,
    network=_network,
    prepare=_prepare,
    evaluate=_evaluate,
)
