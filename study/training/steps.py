"""One step of each stage: a function of the state and a batch that updates the networks and returns its loss terms."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from study.losses.adversarial import relativistic_discriminator_loss
from study.losses.objective import Judged, Objective
from study.losses.pixel import pixel_loss
from study.models import Autoencoder
from study.training.state import TrainState

# (state, low-quality batch, HR batch) -> unweighted terms by name, detached scalars on the device
Step = Callable[[TrainState, Tensor, Tensor], dict[str, Tensor]]


def fidelity_step(state: TrainState, low: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Descend pixel L1 (METHODS 2.1)."""
    loss = pixel_loss(state.model(low), hr).mean()
    _descend(state.optimiser, loss)
    return {"pixel": loss.detach()}


def autoencoder_step(bottleneck_weight: float) -> Step:
    """Make the step of the auto-encoder: L1(A(x), x) + w * L1(E(x)'s colours, y) (METHODS 1.3).

    Its low-quality batch y is the crop of the bicubic LR image at the auto-encoder's factor.

    Args:
        bottleneck_weight: w; at 0 the second term is not computed.
    """

    def step(state: TrainState, low: Tensor, hr: Tensor) -> dict[str, Tensor]:
        assert isinstance(state.model, Autoencoder)
        bottleneck = state.model.encode(hr)
        terms = {"pixel": pixel_loss(state.model.decode(bottleneck), hr).mean()}
        loss = terms["pixel"]
        if bottleneck_weight > 0:
            terms["bottleneck"] = pixel_loss(bottleneck[:, :3], low).mean()
            loss = loss + bottleneck_weight * terms["bottleneck"]
        _descend(state.optimiser, loss)
        return {name: term.detach() for name, term in terms.items()}

    return step


def adversarial_step(objective: Objective) -> Step:
    """Make the step of the perceptual generator: G, then D on the same SR images (METHODS 3.3)."""

    def step(state: TrainState, low: Tensor, hr: Tensor) -> dict[str, Tensor]:
        sr, terms = _generator_step(state, objective, low, hr)
        if state.discriminator is not None:
            terms["discriminator"] = _discriminator_step(state, sr, hr)
        # Not part of the sum: what tells a diverged generator from a slow one, whatever the terms are.
        terms["pixel"] = pixel_loss(sr, hr).mean()
        return terms

    return step


def _generator_step(
    state: TrainState, objective: Objective, low: Tensor, hr: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    sr = state.model(low)
    judged = Judged(sr, hr)
    if objective.uses("artifact"):
        with torch.no_grad():
            judged.ema_sr = state.ema(low)
    if state.discriminator is not None:
        with torch.no_grad():
            judged.real_logits = state.discriminator(hr)
        with _frozen(state.discriminator):
            judged.fake_logits = state.discriminator(sr)
    loss, terms = objective(judged)
    _descend(state.optimiser, loss)
    return sr.detach(), terms


def _discriminator_step(state: TrainState, sr: Tensor, hr: Tensor) -> Tensor:
    assert state.discriminator is not None
    assert state.discriminator_optimiser is not None
    # Real and fake batches go through separately: batch norm must not mix their statistics.
    loss = relativistic_discriminator_loss(state.discriminator(hr), state.discriminator(sr)).mean()
    _descend(state.discriminator_optimiser, loss)
    return loss.detach()


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Keep a module's parameters out of the graph for a while; gradients still pass through it to its input."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
