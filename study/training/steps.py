"""The training step of each stage: a function that updates the networks and returns the loss terms."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from study.losses.generator_loss import ADVERSARIAL_TERMS, GeneratorLoss, Logits, LossInputs
from study.losses.gradient import discriminated_map
from study.losses.pixel import pixel_loss
from study.models import Autoencoder, SPSRGenerator
from study.models.layers import at_least_float32
from study.training.distributed import DistributedContext
from study.training.state import TrainState

# (state, low-quality batch, HR batch) -> unweighted terms by name, detached scalars on the device
Step = Callable[[TrainState, Tensor, Tensor], dict[str, Tensor]]

# What an adversarial term's discriminator gets of an image.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "adversarial": lambda images: images,
    "gradient_adversarial": discriminated_map,
}
# The names of the discriminators' losses among the terms.
LOGGED = {"adversarial": "discriminator", "gradient_adversarial": "gradient_discriminator"}


def fidelity_step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Do one step on pixel L1."""
    with state.autocast():
        sr = state.model(lq)
    loss = pixel_loss(sr, hr).mean()
    _backward_and_step(state.distributed, state.optimiser, loss)
    return {"pixel": loss.detach()}


def autoencoder_step(*, bottleneck_weight: float = 0.0, scale_weight: float = 0.0, frozen_until: int = 0) -> Step:
    """Return the auto-encoder's step on L1(A(x), x) + w * L1(first three channels of E(x), y) (docs/methods/aesop.md).

    The low-quality batch y is the crop of the bicubic LR image at the auto-encoder's factor. With a scale head, the sum
    also contains v * L1(b(x), |A(x) - x|) without a gradient into the error (docs/methods/aesop-ablations.md).

    Args:
        bottleneck_weight: w; at 0 the term is not computed.
        scale_weight: v; 0 without a scale head.
        frozen_until: the number of first iterations in which the decoder is frozen.
    """

    def step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        autoencoder = state.model
        assert isinstance(autoencoder, Autoencoder)
        if frozen_until:
            autoencoder.decoder.requires_grad_(state.iteration >= frozen_until)
        with state.autocast():
            bottleneck = autoencoder.encode(hr)
            decoded = (
                autoencoder.decode_distribution(bottleneck) if scale_weight > 0 else autoencoder.decode(bottleneck)
            )
        weights = {"pixel": 1.0, "bottleneck": bottleneck_weight, "scale": scale_weight}
        if isinstance(decoded, tuple):
            mean, scale = decoded
            terms = {"pixel": pixel_loss(mean, hr).mean()}
            terms["scale"] = pixel_loss(scale, (mean.detach() - hr).abs()).mean()
        else:
            terms = {"pixel": pixel_loss(decoded, hr).mean()}
        if bottleneck_weight > 0:
            terms["bottleneck"] = pixel_loss(bottleneck[:, :3], lq).mean()
        _backward_and_step(
            state.distributed,
            state.optimiser,
            torch.stack([weights[name] * term for name, term in terms.items()]).sum(),
        )
        return {name: term.detach() for name, term in terms.items()}

    return step


def adversarial_step(generator_loss: GeneratorLoss, *, fusion_until: float = 0.0) -> Step:
    """Return the step of the perceptual generator G and its discriminators (docs/methods/esrgan.md).

    It gives the same numbers as a step of G followed by a step of each discriminator. A discriminator's weights are the
    same in both, so one forward pass of each batch serves both (ESRGAN's trainer does five). The gradient of the sum is
    accumulated at the SR image, term by term, so that only one term's graph is in memory.

    Args:
        generator_loss: the weighted sum.
        fusion_until: only SPSR's fusion layers train in steps below this number, counted from 1 (docs/methods/spsr.md).
    """

    def step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if fusion_until:
            _choose_layers(state.model, fusion_only=state.iteration + 1 < fusion_until)
        outputs = _generate(state, generator_loss, lq)
        # The terms' gradients accumulate at copies of the outputs; one backward pass continues into the generator.
        sr, *branch = (output.detach().requires_grad_() for output in outputs)
        inputs = LossInputs(sr, hr, lq, branch=branch[0] if branch else None)
        if generator_loss.uses("ldl"):
            with torch.no_grad(), state.autocast():
                inputs.ema_sr = state.ema(lq)
        terms: dict[str, Tensor] = {}
        for name in generator_loss.weights:
            if name in ADVERSARIAL_TERMS:
                terms |= _gan_step(state, generator_loss, name, inputs)
            else:
                terms[name] = generator_loss.add_gradient(name, inputs)
        _step_from_copies(state, outputs, [sr, *branch])
        # Not part of the sum: shows whether the generator has diverged, whatever the terms are.
        terms["pixel"] = pixel_loss(sr.detach(), hr).mean()
        return terms

    return step


def _generate(state: TrainState, generator_loss: GeneratorLoss, lq: Tensor) -> tuple[Tensor, ...]:
    """Return the SR images and, if the loss uses it, the gradient branch's output, with graph."""
    with state.autocast():
        outputs = state.model(lq, with_branch=True) if generator_loss.uses("branch") else (state.model(lq),)
    return tuple(at_least_float32(output) for output in outputs)


def _gan_step(state: TrainState, generator_loss: GeneratorLoss, name: str, inputs: LossInputs) -> dict[str, Tensor]:
    """Compute the generator's adversarial term, then the discriminator's step, from the same logits if possible."""
    discriminator = state.discriminators[name]
    shared = bool(discriminator.is_deterministic)
    logits = _logits(state, name, inputs, with_reals=shared or generator_loss.compares_reals)
    term = generator_loss.add_gradient(name, inputs, logits)
    if not shared:
        logits = _logits(state, name, inputs, with_reals=True)
    loss = generator_loss.discriminator_loss(logits).mean()
    _backward_and_step(state.distributed, state.discriminator_optimisers[name], loss)
    return {name: term, LOGGED[name]: loss.detach()}


def _logits(state: TrainState, name: str, inputs: LossInputs, *, with_reals: bool) -> Logits:
    discriminator, view = state.discriminators[name], VIEWS[name]
    fakes, reals = view(inputs.sr), view(inputs.hr) if with_reals else None
    # Separate passes: batch norm must not mix their statistics.
    with state.autocast():
        real = None if reals is None else discriminator(reals)
        return Logits(real=real, fake=discriminator(fakes))


def _step_from_copies(state: TrainState, outputs: tuple[Tensor, ...], copies: list[Tensor]) -> None:
    """Do the generator's step, given the gradient of the sum at copies of its outputs."""
    state.optimiser.zero_grad(set_to_none=True)
    reached = [
        (output, copy.grad)
        for output, copy in zip(outputs, copies, strict=True)
        if copy.grad is not None
        and output.requires_grad  # neither holds for SPSR's branch while only the fusion layers train
    ]
    torch.autograd.backward([output for output, _ in reached], [gradient for _, gradient in reached])
    _update(state.distributed, state.optimiser)


def _choose_layers(generator: nn.Module, *, fusion_only: bool) -> None:
    assert isinstance(generator, SPSRGenerator)
    for part in (generator.trunk, generator.branch):
        part.requires_grad_(not fusion_only)


def _backward_and_step(distributed: DistributedContext, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    # Only into the optimiser's parameters: a discriminator's loss must not reach the images.
    loss.backward(inputs=[parameter for parameter in _parameters(optimiser) if parameter.requires_grad])
    _update(distributed, optimiser)


def _update(distributed: DistributedContext, optimiser: torch.optim.Optimizer) -> None:
    distributed.average_gradients(_parameters(optimiser))
    optimiser.step()


def _parameters(optimiser: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimiser.param_groups for parameter in group["params"])
