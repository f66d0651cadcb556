"""The one loop that runs any step: schedule, EMA, checks, checkpoints, points."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from study.config import Budget, Optimiser
from study.data import Batches, feed
from study.training.checkpoints import load_checkpoint, save_checkpoint
from study.training.peak_memory import PeakMemory
from study.training.state import TrainState, learning_rate_at, set_learning_rate, update_ema
from study.training.steps import Step

# Losses stay on the device and are read this often: each read makes the CPU wait for the device.
SYNC_INTERVAL = 25

# On images in [0, 1] no output within range is ever further off than this, mean L1.
DIVERGED_ABOVE = 1.0


class Diverged(RuntimeError):
    """Training went where no result can come from; the message names the term, its value and the iterations."""


class Stopped(RuntimeError):
    """Training was asked to stop, and did; started again, it goes on from the checkpoint that it left."""


@dataclass(frozen=True)
class Progress:
    """A sign of life: where a stage is, and the mean of its terms since the last one."""

    stage: str
    iteration: int
    iterations: int
    terms: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """How a stage is run: its budget and schedule, where its checkpoint is, when it is looked at.

    Attributes:
        stage: for messages and ticks.
        key: names everything that determines the result; a checkpoint of another key is refused.
        evaluate_every: iterations between calls of `evaluate`; 0 for never. The last iteration is always evaluated.
        seed: of what the networks draw while they train.
        on_saved: called after each checkpoint.
    """

    stage: str
    key: str
    budget: Budget
    optimiser: Optimiser
    checkpoint: Path
    checkpoint_every: int
    evaluate_every: int = 0
    seed: int = 0
    on_saved: Callable[[], None] = lambda: None


def train(
    state: TrainState,
    step: Step,
    batches: Batches,
    plan: Plan,
    *,
    evaluate: Callable[[TrainState, dict[str, float]], None] | None = None,
    tick: Callable[[Progress], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Train to the end of the budget, from the checkpoint if there is one.

    Args:
        state: a new state; the checkpoint's is loaded into it.
        step: what to do with a batch.
        batches: a pure function of the iteration, so that a resumed run sees what an unbroken one would.
        plan: budget, schedule, checkpoint, eval_schedule.
        evaluate: called with the state and the terms' means since the last call, at the eval_schedule and at the end. The
            checkpoint is written after it returns, so a killed evaluation is done again and never lost.
        tick: called every few iterations.
        stopping: asked as often whether to stop; of a distributed, the first process's answer counts.

    Raises:
        Diverged: a term is not finite, or the output is off by more than any image can be. No checkpoint and no
            evaluation ever sees such a state.
        Stopped: `stopping` said so before the end; the checkpoint is of this moment.
        StorageError: a checkpoint could not be written; the one before it is whole.
        ValueError: the checkpoint there belongs to another configuration.
    """
    saved = load_checkpoint(plan.checkpoint, plan.key)
    if saved is not None:
        state.load_state_dict(saved)
    device = next(state.model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    steps = range(state.iteration, plan.budget.iterations)
    distributed = state.distributed
    incoming_of_team = feed(batches, steps, device, rank=distributed.rank, ranks=distributed.size)
    with torch.random.fork_rng(devices=devices), incoming_of_team as incoming:
        _train(state, step, incoming, plan, evaluate, tick, stopping)


def _train(
    state: TrainState,
    step: Step,
    incoming: Iterator[tuple[Tensor, Tensor]],
    plan: Plan,
    evaluate: Callable[[TrainState, dict[str, float]], None] | None,
    tick: Callable[[Progress], None] | None,
    stopping: Callable[[], bool],
) -> None:
    while state.iteration < plan.budget.iterations:
        stop = _next_stop(state.iteration, plan)
        terms = _run_until(stop, state, step, incoming, plan)
        _check(terms, state.iteration, plan.stage)
        if tick is not None:
            tick(Progress(plan.stage, state.iteration, plan.budget.iterations, terms))
        due = _due(state.iteration, plan.evaluate_every, plan.budget.iterations)
        stop_here = state.distributed.broadcast(stopping()) and state.iteration < plan.budget.iterations
        save = due or stop_here or _due(state.iteration, plan.checkpoint_every, plan.budget.iterations)
        if save:
            _check_weights(state, plan.stage)
        means = state.read_terms() if due else {}
        if evaluate is not None and due and state.distributed.is_main:
            evaluate(state, means)
        if save and state.distributed.is_main:
            save_checkpoint(plan.checkpoint, plan.key, state.state_dict())
            plan.on_saved()
        if stop_here:
            raise Stopped(f"{plan.stage} was asked to stop after iteration {state.iteration}")


def _run_until(
    stop: int, state: TrainState, step: Step, incoming: Iterator[tuple[Tensor, Tensor]], plan: Plan
) -> dict[str, float]:
    sums: dict[str, Tensor] = {}
    first = state.iteration
    started = time.perf_counter()
    memory = PeakMemory(next(state.model.parameters()).device)
    for iteration in range(first, stop):
        lq, hr = (images.contiguous(memory_format=torch.channels_last) for images in next(incoming))
        state.iteration = iteration
        _seed_networks(plan.seed, iteration, state.distributed.rank)
        set_learning_rate(state, learning_rate_at(plan.optimiser, iteration, plan.budget.iterations))
        for name, term in step(state, lq, hr).items():
            sums[name] = sums[name] + term if name in sums else term
        update_ema(state, plan.optimiser.ema_decay)
    totals = {name: float(total) for name, total in sums.items()}  # waits for the device
    totals = state.distributed.average(totals, next(state.model.parameters()).device)
    state.add_terms(totals, stop - first)
    state.iteration = stop
    state.pixels_seen += (stop - first) * plan.budget.pixels_per_step
    state.add_peak(memory.read())
    state.device_seconds += (time.perf_counter() - started) * state.distributed.size
    return {name: total / (stop - first) for name, total in totals.items()}


def _seed_networks(seed: int, iteration: int, rank: int = 0) -> None:
    """What networks draw in a step, such as SwinIR's drop-path, is a function of (seed, step), as the batch is.

    In a distributed each process draws for its own items, so that these draws depend on the distributed's size.
    """
    digest = hashlib.sha256(f"{seed}:{iteration}{f':{rank}' if rank else ''}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:4], "big"))  # PyTorch's CPU generator heeds 32 bits


def _next_stop(iteration: int, plan: Plan) -> int:
    intervals = [SYNC_INTERVAL, plan.checkpoint_every, plan.evaluate_every]
    stops = [(iteration // every + 1) * every for every in intervals if every]
    return min([*stops, plan.budget.iterations])


def _due(iteration: int, every: int, iterations: int) -> bool:
    return iteration == iterations or (every > 0 and iteration % every == 0)


def _check(terms: dict[str, float], iteration: int, stage: str) -> None:
    for name, value in terms.items():
        if not math.isfinite(value):
            raise Diverged(
                f"{stage}: the {name} term is {value} within the {SYNC_INTERVAL} iterations before {iteration}"
            )
    if terms["pixel"] > DIVERGED_ABOVE:
        raise Diverged(
            f"{stage}: the mean absolute error is {terms['pixel']:.3g} before iteration {iteration}, more than any "
            f"two images in [0, 1] can differ; a lower learning rate or adversarial weight helps"
        )


def _check_weights(state: TrainState, stage: str) -> None:
    # A step's terms are from before its update: what an infinite gradient did would show one step too late.
    for name, network in {"model": state.model, **state.discriminators}.items():
        norms = torch.stack(torch._foreach_norm([weight.detach() for weight in network.parameters()]))
        if not torch.isfinite(norms).all():
            what = "model" if name == "model" else f"{name} term's discriminator"
            raise Diverged(
                f"{stage}: the weights of the {what} are not finite after iteration {state.iteration}; "
                "a lower learning rate or adversarial weight helps"
            )


def pick_device() -> torch.device:
    """The first GPU this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
