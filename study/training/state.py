"""The state of a stage: all that is needed to continue it exactly."""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adam

from study.config import Optimiser, Precision
from study.record.points import Spent
from study.training.distributed import SINGLE_PROCESS, DistributedContext
from study.training.precision import autocast

Module = TypeVar("Module", bound=nn.Module)

_COUNTERS = ("iteration", "pixels_seen", "device_seconds", "peak_gib", "term_sums", "term_steps")


@dataclass
class TrainState:
    """The networks of a stage, their optimisers and its counters.

    Attributes:
        model: the trained network, a generator or an auto-encoder.
        ema: its exponential moving average, never in an optimiser; the result of the stage.
        optimiser: Adam over `model`.
        discriminators, discriminator_optimisers: by adversarial term.
        distributed: rank and world size.
        precision: of the networks' computations.
        iteration: steps done.
        pixels_seen: HR pixels over these steps.
        device_seconds: of these steps, times the number of processes; wall-clock seconds in which the main process ran
            (`active_clock`), without evaluation and start-up.
        peak_gib: peak memory of these steps (`peak_memory`); None if unknown.
        term_sums, term_steps: sums of the loss terms since they were last read, and the number of steps.
    """

    model: nn.Module
    ema: nn.Module
    optimiser: Adam
    discriminators: dict[str, nn.Module] = field(default_factory=dict)
    discriminator_optimisers: dict[str, Adam] = field(default_factory=dict)
    distributed: DistributedContext = SINGLE_PROCESS
    precision: Precision = "fp32"
    iteration: int = 0
    pixels_seen: int = 0
    device_seconds: float = 0.0
    peak_gib: float | None = None
    term_sums: dict[str, float] = field(default_factory=dict)
    term_steps: int = 0

    def autocast(self) -> AbstractContextManager[None]:
        """Return the autocast context of the networks; losses belong outside."""
        return autocast(self.precision, next(self.model.parameters()).device)

    def add_terms(self, totals: dict[str, float], steps: int) -> None:
        """Add loss terms, each summed over `steps` steps."""
        for name, total in totals.items():
            self.term_sums[name] = self.term_sums.get(name, 0.0) + total
        self.term_steps += steps

    def read_terms(self) -> dict[str, float]:
        """Return the mean of each term since the last call, and reset the sums."""
        means = {name: total / self.term_steps for name, total in self.term_sums.items()}
        self.term_sums, self.term_steps = {}, 0
        return means

    @property
    def spent(self) -> Spent:
        """The cost of the stage so far."""
        peak = None if self.peak_gib is None else round(self.peak_gib, 4)
        return Spent(self.iteration, self.pixels_seen, round(self.device_seconds, 3), peak)

    def add_peak(self, gib: float | None) -> None:
        """Raise `peak_gib` to a new peak."""
        if gib is not None:
            self.peak_gib = max(gib, self.peak_gib or 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state in types that load with `weights_only`."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        counters = {name: getattr(self, name) for name in _COUNTERS}
        return parts | {"counters": counters}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load a saved state of the same stage."""
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        for name in _COUNTERS:
            if name in saved["counters"]:  # older checkpoints lack peak_gib
                setattr(self, name, saved["counters"][name])

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"model": self.model, "ema": self.ema, "optimiser": self.optimiser}
        for name, discriminator in self.discriminators.items():
            parts[f"discriminator.{name}"] = discriminator
            parts[f"discriminator_optimiser.{name}"] = self.discriminator_optimisers[name]
        return parts


def new_state(
    model: nn.Module,
    config: Optimiser,
    *,
    discriminators: Mapping[str, nn.Module] = MappingProxyType({}),
    distributed: DistributedContext = SINGLE_PROCESS,
    precision: Precision = "fp32",
) -> TrainState:
    """Return the state at iteration 0: the EMA is a copy of the model, all networks have the same Adam.

    The networks become channels-last, in which PyTorch's convolutions are about twice as fast on a CPU.

    Args:
        model: a generator or an auto-encoder.
        config: the optimiser's hyper-parameters.
        discriminators: by adversarial term.
        distributed: rank and world size; all processes must start with the same weights.
        precision: of the networks' computations.
    """
    for module in (model, *discriminators.values()):
        module.to(memory_format=torch.channels_last)
    ema = copy.deepcopy(model).eval().requires_grad_(False)
    return TrainState(
        model=model.train(),
        ema=ema,
        optimiser=_adam(model, config),
        discriminators={name: discriminator.train() for name, discriminator in discriminators.items()},
        discriminator_optimisers={name: _adam(discriminator, config) for name, discriminator in discriminators.items()},
        distributed=distributed,
        precision=precision,
    )


def seeded(build: Callable[[], Module], seed: int) -> Module:
    """Build a network with random weights from a seed, and leave the global generator unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def state_on_cpu(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state dict on the CPU."""
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}


def set_learning_rate(state: TrainState, learning_rate: float) -> None:
    """Set the learning rate of all optimisers of a stage."""
    for optimiser in (state.optimiser, *state.discriminator_optimisers.values()):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate


@torch.no_grad()
def update_ema(state: TrainState, decay: float) -> None:
    """Update the average: ema <- decay * ema + (1 - decay) * model for parameters; buffers are copied (ESRGAN)."""
    ema: list[Tensor] = list(state.ema.parameters())
    model: list[Tensor] = list(state.model.parameters())
    torch._foreach_lerp_(ema, model, 1 - decay)
    for averaged, current in zip(state.ema.buffers(), state.model.buffers(), strict=True):
        averaged.copy_(current)


def _adam(module: nn.Module, config: Optimiser) -> Adam:
    return Adam(
        module.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        foreach=True,
    )
