"""The fidelity stage: a generator trained with pixel L1, from which the others start."""

from pathlib import Path

from torch import nn

from study.config import RunConfig
from study.data import Batches
from study.models.build import build_generator
from study.training.context import RunContext
from study.training.evaluation import Evaluation, evaluate_generator
from study.training.stages.spec import StageSpec
from study.training.state import TrainState, new_state, seeded
from study.training.steps import Step, fidelity_step


def load_generator(config: RunConfig, context: RunContext) -> nn.Module:
    """Return the run's finished fidelity generator, in eval mode on the context's device."""
    return FIDELITY.load(config, context)


def _network(config: RunConfig) -> nn.Module:
    return build_generator(config.generator.fidelity_form, config.data.scale)


def _prepare(config: RunConfig, context: RunContext) -> tuple[TrainState, Step, Batches]:
    fidelity = config.fidelity
    model = seeded(lambda: _network(config), fidelity.seed).to(context.device)
    state = new_state(model, fidelity.optimiser, distributed=context.distributed, precision=config.precision)
    return state, fidelity_step, context.batches(config.data, fidelity.budget, fidelity.seed)


def _evaluate(config: RunConfig, context: RunContext, samples: Path) -> Evaluation:
    return evaluate_generator(
        load_generator(config, context), context.val_pairs(config.data), context.evaluator, samples
    )


FIDELITY = StageSpec(
    name="fidelity",
    upstream=lambda config: [],
    iterations=lambda config: config.fidelity.budget.iterations,
    budget_field="fidelity.budget",
    init_field="generator.init",
    yields_points=False,
    network=_network,
    prepare=_prepare,
    evaluate=_evaluate,
)
