"""One step of each stage: a function of the state and a batch that updates the networks and returns its loss terms."""

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

# The images that an adversarial term's discriminator evaluates.
VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "adversarial": lambda images: images,
    "gradient_adversarial": discriminated_map,
}
# The discriminators' custom losses, as they are logged.
LOGGED = {"adversarial": "discriminator", "gradient_adversarial": "gradient_discriminator"}


def fidelity_step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Descend pixel L1 (METHODS 2.1)."""
    with state.autocast():
        sr = state.model(lq)
    loss = pixel_loss(sr, hr).mean()
    _backward_and_step(state.distributed, state.optimiser, loss)
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
    """Make the step of the perceptual generator: G, and each D on the same SR images (METHODS 3.3).

    Its numbers are those of a generator's step followed by the discriminators' own. But a discriminator's weights stay
    the same from the one to the other, so that it sees each batch once (the official trainer shows it five): both use
    its answers. And the sum's gradient is added up at the SR image, term by term: no two terms' graphs are held.

    Args:
        generator_loss: the sum.
        fusion_until: SPSR's fusion layers train alone in steps below this number, counted from 1 (METHODS 4.2).
    """

    def step(state: TrainState, lq: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if fusion_until:
            _choose_layers(state.model, fusion_only=state.iteration + 1 < fusion_until)
        outputs = _generate(state, generator_loss, lq)
        # Terms end at copies of the outputs; what they leave there goes on into the generator in one pass.
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
        _descend_from(state, outputs, [sr, *branch])
        # Not part of the sum: what tells a diverged generator from a slow one, whatever the terms are.
        terms["pixel"] = pixel_loss(sr.detach(), hr).mean()
        return terms

    return step


def _generate(state: TrainState, generator_loss: GeneratorLoss, lq: Tensor) -> tuple[Tensor, ...]:
    """The SR images and, where they are inputs, the gradient branch's, with graph."""
    with state.autocast():
        outputs = state.model(lq, with_branch=True) if generator_loss.uses("branch") else (state.model(lq),)
    return tuple(at_least_float32(output) for output in outputs)


def _gan_step(state: TrainState, generator_loss: GeneratorLoss, name: str, inputs: LossInputs) -> dict[str, Tensor]:
    """The generator's adversarial term, then the discriminator's own step, on the same answers."""
    discriminator = state.discriminators[name]
    asked_once = bool(discriminator.is_deterministic)
    logits = _ask(state, name, inputs, with_reals=asked_once or generator_loss.compares_reals)
    term = generator_loss.add_gradient(name, inputs, logits)
    if not asked_once:
        logits = _ask(state, name, inputs, with_reals=True)
    loss = generator_loss.discriminator_loss(logits).mean()
    _backward_and_step(state.distributed, state.discriminator_optimisers[name], loss)
    return {name: term, LOGGED[name]: loss.detach()}


def _ask(state: TrainState, name: str, inputs: LossInputs, *, with_reals: bool) -> Logits:
    discriminator, view = state.discriminators[name], VIEWS[name]
    fakes, reals = view(inputs.sr), view(inputs.hr) if with_reals else None
    # They go through separately: batch norm must not mix their statistics.
    with state.autocast():
        real = None if reals is None else discriminator(reals)
        return Logits(real=real, fake=discriminator(fakes))


def _descend_from(state: TrainState, outputs: tuple[Tensor, ...], copies: list[Tensor]) -> None:
    """Take the generator's step, given the sum's gradient at copies of its outputs."""
    state.optimiser.zero_grad(set_to_none=True)
    reached = [
        (output, copy.grad)
        for output, copy in zip(outputs, copies, strict=True)
        if copy.grad is not None and output.requires_grad  # SPSR's branch does neither while its fusion trains alone
    ]
    torch.autograd.backward([output for output, _ in reached], [gradient for _, gradient in reached])
    _update(state.distributed, state.optimiser)


def _choose_layers(generator: nn.Module, *, fusion_only: bool) -> None:
    assert isinstance(generator, SPSRGenerator)
    for part in (generator.trunk, generator.branch):
        part.requires_grad_(not fusion_only)


def _backward_and_step(distributed: DistributedContext, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    # Of its own networks alone: a discriminator's loss has nothing to say to the images.
    loss.backward(inputs=[parameter for parameter in _parameters(optimiser) if parameter.requires_grad])
    _update(distributed, optimiser)


def _update(distributed: DistributedContext, optimiser: torch.optim.Optimizer) -> None:
    distributed.average_gradients(_parameters(optimiser))
    optimiser.step()


def _parameters(optimiser: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    return (parameter for group in optimiser.param_groups for parameter in group["params"])
