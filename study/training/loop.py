"""The training loop of all stages with batches: schedule, EMA, checks, checkpoints, evaluations."""

import errno
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from study.config import Budget, LossConfig, Optimiser, learning_rate_at
from study.data import Batches, feed
from study.files import StorageError
from study.training.active_clock import ActiveClock
from study.training.checkpoints import load_checkpoint, save_checkpoint
from study.training.peak_memory import PeakMemory
from study.training.state import TrainState, set_learning_rate, update_ema
from study.training.steps import LOGGED, Step

# Losses stay on the device and are read this often: each read makes the CPU wait for the device.
SYNC_INTERVAL = 25

# The mean L1 of two images in [0, 1] cannot exceed this.
DIVERGED_ABOVE = 1.0


class Diverged(RuntimeError):
    """Training diverged; the message names the term, its value and the iteration."""


class Stopped(RuntimeError):
    """Training stopped on request; it continues from its checkpoint when it is started again."""


@dataclass(frozen=True)
class Progress:
    """How far a stage is, and the mean of its terms since the last report."""

    stage: str
    iteration: int
    iterations: int
    terms: dict[str, float]


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class Plan:
    """The budget and schedule of a stage, its checkpoint, and when it is evaluated.

    Attributes:
        stage: for messages and progress.
        key: names everything that determines the result; a checkpoint of another key is refused.
        evaluate_every: iterations between calls of `evaluate`; 0 for the last iteration only, always evaluated.
        seed: of the networks' random draws during training.
        extends: keys of the shorter runs that this one continues.
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
    extends: tuple[str, ...] = ()
    on_saved: Callable[[], None] = lambda: None


def train(
    state: TrainState,
    step: Step,
    batches: Batches,
    plan: Plan,
    *,
    evaluate: Callable[[TrainState, dict[str, float]], None] | None = None,
    on_progress: ProgressCallback | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Train to the end of the budget, from the checkpoint if there is one.

    Args:
        state: a new state; the checkpoint is loaded into it.
        step: the training step.
        batches: a pure function of the iteration, so that a resumed run gets the same batches as an unbroken one.
        plan: budget, schedule, checkpoint.
        evaluate: called in the main process with the state and the terms' means since the last call. The checkpoint is
            written after it returns, so that an evaluation that was killed is repeated.
        on_progress: called at least every `SYNC_INTERVAL` iterations.
        stopping: called as often; once the main process's returns True, training stops.

    Raises:
        Diverged: a term or weight is not finite, or the mean L1 exceeds `DIVERGED_ABOVE`; neither saved nor evaluated.
        Stopped: `stopping` returned True before the end; the current state is saved.
        StorageError: a checkpoint could not be written; the one before it is intact. Or the processes of a group read
            different ones.
        ValueError: the checkpoint belongs to another configuration.
    """
    saved = load_checkpoint(plan.checkpoint, plan.key, extends=plan.extends)
    if saved is not None:
        state.load_state_dict(saved)
    if state.distributed.broadcast(state.iteration) != state.iteration:
        raise StorageError(
            errno.ESTALE, "this process reads another checkpoint than the main one; try again", str(plan.checkpoint)
        )
    device = next(state.model.parameters()).device
    steps = range(state.iteration, plan.budget.iterations)
    batches_of_rank = feed(batches, steps, device, rank=state.distributed.rank, ranks=state.distributed.size)
    forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with forked, ActiveClock() as clock, batches_of_rank as incoming:
        while state.iteration < plan.budget.iterations:
            terms = _run_until(_next_stop(state.iteration, plan), state, step, incoming, plan, clock)
            if on_progress is not None:
                on_progress(Progress(plan.stage, state.iteration, plan.budget.iterations, terms))
            stop = state.distributed.broadcast(stopping()) and state.iteration < plan.budget.iterations
            _evaluate_and_save(state, plan, evaluate, stop=stop)
            if stop:
                raise Stopped(f"{plan.stage} was asked to stop after iteration {state.iteration}")


def _evaluate_and_save(
    state: TrainState,
    plan: Plan,
    evaluate: Callable[[TrainState, dict[str, float]], None] | None,
    *,
    stop: bool,
) -> None:
    """Do what is due after an iteration; `stop` makes a checkpoint due."""
    evaluate_now = _is_due(state.iteration, plan.evaluate_every, plan.budget.iterations)
    save = evaluate_now or stop or _is_due(state.iteration, plan.checkpoint_every, plan.budget.iterations)
    if save:
        _check_weights(state, plan)
    means = state.read_terms() if evaluate_now else {}
    if evaluate is not None and evaluate_now and state.distributed.is_main:
        evaluate(state, means)
    if save and state.distributed.is_main:
        save_checkpoint(plan.checkpoint, plan.key, state.state_dict())
        plan.on_saved()


def _run_until(
    stop: int,
    state: TrainState,
    step: Step,
    incoming: Iterator[tuple[Tensor, Tensor]],
    plan: Plan,
    clock: ActiveClock,
) -> dict[str, float]:
    """Train up to iteration `stop`; return the mean of each term."""
    sums: dict[str, Tensor] = {}
    history: list[dict[str, Tensor]] = []
    first = state.iteration
    started = clock.seconds()
    memory = PeakMemory(next(state.model.parameters()).device)
    for iteration in range(first, stop):
        lq, hr = (images.contiguous(memory_format=torch.channels_last) for images in next(incoming))
        state.iteration = iteration
        _seed_networks(plan.seed, iteration, state.distributed.rank)
        set_learning_rate(state, learning_rate_at(plan.optimiser, iteration, plan.budget.iterations))
        history.append(step(state, lq, hr))
        for name, term in history[-1].items():
            sums[name] = sums[name] + term if name in sums else term
        update_ema(state, plan.optimiser.ema_decay)
    totals = {name: float(total) for name, total in sums.items()}  # waits for the device
    totals = state.distributed.average(totals, next(state.model.parameters()).device)
    _check(totals, history, state, plan)
    state.add_terms(totals, stop - first)
    state.iteration = stop
    state.pixels_seen += (stop - first) * plan.budget.pixels_per_step
    state.add_peak(memory.read())
    state.device_seconds += (clock.seconds() - started) * state.distributed.size
    return {name: total / (stop - first) for name, total in totals.items()}


def _seed_networks(seed: int, iteration: int, rank: int = 0) -> None:
    """Seed the networks' random draws, such as SwinIR's drop-path, as a function of seed, iteration and rank."""
    digest = hashlib.sha256(f"{seed}:{iteration}{f':{rank}' if rank else ''}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:4], "big"))  # PyTorch's CPU generator uses 32 bits


def _next_stop(iteration: int, plan: Plan) -> int:
    intervals = [SYNC_INTERVAL, plan.checkpoint_every, plan.evaluate_every]
    stops = [(iteration // every + 1) * every for every in intervals if every]
    return min([*stops, plan.budget.iterations])


def _is_due(iteration: int, every: int, iterations: int) -> bool:
    return iteration == iterations or (every > 0 and iteration % every == 0)


def _check(totals: dict[str, float], history: list[dict[str, Tensor]], state: TrainState, plan: Plan) -> None:
    """Raise Diverged, naming the first iteration and term, if a term is not finite or the mean L1 is too large."""
    steps = len(history)
    if all(map(math.isfinite, totals.values())) and totals["pixel"] <= DIVERGED_ABOVE * steps:
        return
    device, at, name, value = next(state.model.parameters()).device, steps, "pixel", totals["pixel"]
    for step in reversed(range(steps)):  # all processes see the same averages
        terms = state.distributed.average({name: float(term) for name, term in history[step].items()}, device)
        wrong = [name for name, value in terms.items() if not math.isfinite(value)]
        wrong += ["pixel"] if DIVERGED_ABOVE < terms["pixel"] < math.inf else []
        if wrong:
            at, name, value = step + 1, wrong[0], terms[wrong[0]]
    rule = ", more than any two images in [0, 1] can differ" if math.isfinite(value) else ""
    raise Diverged(
        f"{plan.stage}: the {name} term is {value:.3g} at iteration {state.iteration + 1 - steps + at}{rule}; "
        f"{_remedy(state, plan, name)}"
    )


def _remedy(state: TrainState, plan: Plan, term: str) -> str:
    """Return what to change so that training does not diverge, with the present values."""
    part, optimiser = "" if plan.stage == "adversarial" else f"{plan.stage}.", plan.optimiser
    weight = {LOGGED[name]: name for name in LOGGED}.get(term, term)
    fields = [f"lower {part}optimiser.learning_rate ({optimiser.learning_rate:g})"]
    fields += [f"lower loss.{weight}"] if plan.stage == "adversarial" and weight in LossConfig.model_fields else []
    fields += ["set precision to fp32"] if state.precision != "fp32" else []
    return f"{', '.join(fields)}, or raise {part}optimiser.warmup ({optimiser.warmup})"


def _check_weights(state: TrainState, plan: Plan) -> None:
    # A step's terms are computed before its update: they show the effect of an infinite gradient one step too late.
    for name, network in {"model": state.model, **state.discriminators}.items():
        norms = torch.stack(torch._foreach_norm([weight.detach() for weight in network.parameters()]))
        if not torch.isfinite(norms).all():
            network_name = "model" if name == "model" else f"{name} term's discriminator"
            raise Diverged(
                f"{plan.stage}: the weights of the {network_name} are not finite after iteration {state.iteration}; "
                f"{_remedy(state, plan, name)}"
            )


def pick_device() -> torch.device:
    """Return the current GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
