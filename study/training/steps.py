"""One step of each stage: a function of the state and a batch that updates the networks and returns its loss terms."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from study.losses.gradient import discriminated_map
from study.losses.objective import ADVERSARIAL_TERMS, Judged, Logits, Objective
from study.losses.pixel import pixel_loss
from study.models import Autoencoder, SPSRGenerator
from study.training.state import TrainState
from study.training.team import Team

# (state, low-quality batch, HR batch) -> unweighted terms by name, detached scalars on the device
Step = Callable[[TrainState, Tensor, Tensor], dict[str, Tensor]]

# The images that an adversarial term's discriminator judges.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "adversarial": lambda images: images,
    "gradient_adversarial": discriminated_map,
}
# The discriminators' own losses, as they are logged.
LOGGED = {"adversarial": "discriminator", "gradient_adversarial": "gradient_discriminator"}


def fidelity_step(state: TrainState, low: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Descend pixel L1 (METHODS 2.1)."""
    loss = pixel_loss(state.model(low), hr).mean()
    _descend(state.team, state.optimiser, loss)
    return {"pixel": loss.detach()}


def autoencoder_step(*, bottleneck_weight: float = 0.0, scale_weight: float = 0.0, frozen_until: int = 0) -> Step:
    """Make the step of the auto-encoder: L1(A(x), x) + w * L1(E(x)'s colours, y) (METHODS 1.3).

    Its low-quality batch y is the crop of the bicubic LR image at the auto-encoder's factor. With a scale head, the sum
    also has v * L1(b(x), |A(x) - x|), where the error is a constant (1.6).

    Args:
        bottleneck_weight: w; at 0 the term is not computed.
        scale_weight: v; 0 without a scale head.
        frozen_until: in so many first iterations the decoder does not train.
    """

    def step(state: TrainState, low: Tensor, hr: Tensor) -> dict[str, Tensor]:
        autoencoder = state.model
        assert isinstance(autoencoder, Autoencoder)
        if frozen_until:
            autoencoder.decoder.requires_grad_(state.iteration >= frozen_until)
        bottleneck = autoencoder.encode(hr)
        weights = {"pixel": 1.0, "bottleneck": bottleneck_weight, "scale": scale_weight}
        if scale_weight > 0:
            mean, scale = autoencoder.decode_distribution(bottleneck)
            terms = {"pixel": pixel_loss(mean, hr).mean()}
            terms["scale"] = pixel_loss(scale, (mean.detach() - hr).abs()).mean()
        else:
            terms = {"pixel": pixel_loss(autoencoder.decode(bottleneck), hr).mean()}
        if bottleneck_weight > 0:
            terms["bottleneck"] = pixel_loss(bottleneck[:, :3], low).mean()
        _descend(state.team, state.optimiser, torch.stack([weights[name] * term for name, term in terms.items()]).sum())
        return {name: term.detach() for name, term in terms.items()}

    return step


def adversarial_step(objective: Objective, *, fusion_until: float = 0.0) -> Step:
    """Make the step of the perceptual generator: G, then each D on the same SR images (METHODS 3.3).

    Args:
        objective: the sum.
        fusion_until: SPSR's fusion layers train alone in steps below this number, counted from 1 (METHODS 4.2).
    """

    def step(state: TrainState, low: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if fusion_until:
            _choose_layers(state.model, fusion_only=state.iteration + 1 < fusion_until)
        sr, terms = _generator_step(state, objective, low, hr)
        for name in state.discriminators:
            terms[LOGGED[name]] = _discriminator_step(state, objective, name, sr, hr)
        # Not part of the sum: what tells a diverged generator from a slow one, whatever the terms are.
        terms["pixel"] = pixel_loss(sr, hr).mean()
        return terms

    return step


def _generator_step(
    state: TrainState, objective: Objective, low: Tensor, hr: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    judged = _generate(state, objective, low, hr)
    if objective.uses("artifact"):
        with torch.no_grad():
            judged.ema_sr = state.ema(low)
    with _frozen(*state.discriminators.values()):
        for name in filter(objective.uses, ADVERSARIAL_TERMS):
            judged.logits[name] = _judge(state.discriminators[name], VIEWS[name], judged, objective.compares_reals)
        loss, terms = objective(judged)
        _descend(state.team, state.optimiser, loss)
    return judged.sr.detach(), terms


def _generate(state: TrainState, objective: Objective, low: Tensor, hr: Tensor) -> Judged:
    if objective.uses("branch"):
        sr, branch = state.model(low, with_branch=True)
        return Judged(sr, hr, low, branch=branch)
    return Judged(state.model(low), hr, low)


def _judge(discriminator: nn.Module, view: Callable[[Tensor], Tensor], judged: Judged, compares_reals: bool) -> Logits:
    """Ask a discriminator, reals first; they pass without graph."""
    real = None
    if compares_reals:
        with torch.no_grad():
            real = discriminator(view(judged.hr))
    return Logits(fake=discriminator(view(judged.sr)), real=real)


def _discriminator_step(state: TrainState, objective: Objective, name: str, sr: Tensor, hr: Tensor) -> Tensor:
    discriminator, view = state.discriminators[name], VIEWS[name]
    # Real and fake batches go through separately: batch norm must not mix their statistics.
    loss = objective.discriminator_loss(discriminator(view(hr)), discriminator(view(sr))).mean()
    _descend(state.team, state.discriminator_optimisers[name], loss)
    return loss.detach()


def _choose_layers(generator: nn.Module, *, fusion_only: bool) -> None:
    assert isinstance(generator, SPSRGenerator)
    for part in (generator.trunk, generator.branch):
        part.requires_grad_(not fusion_only)


def _descend(team: Team, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    team.average_gradients(parameter for group in optimiser.param_groups for parameter in group["params"])
    optimiser.step()


@contextmanager
def _frozen(*modules: nn.Module) -> Iterator[None]:
    """Keep parameters out of the graph for a while; gradients still pass through the modules to their inputs."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)
