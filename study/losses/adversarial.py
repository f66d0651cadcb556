"""The adversarial losses, unweighted: ESRGAN's relativistic average GAN (Wang et al. 2018, section 3.2;
docs/methods/esrgan.md), SPSR's variant of its discriminator step (docs/methods/spsr.md), and the plain GAN.

Discriminators return one logit per image, shape (N, 1), or a map of logits, shape (N, 1, H, W). E[.] is the mean over
the whole batch, maps included, over all processes in distributed training.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from study.models.layers import at_least_float32

Mean = Callable[[Tensor], Tensor]
"""E[.]: the mean, a scalar, over the whole batch, of which the argument is this process's part."""


def relativistic_generator_loss(real_logits: Tensor, fake_logits: Tensor, *, mean: Mean = torch.mean) -> Tensor:
    """Compute the generator's relativistic loss: fakes above the average real, reals below the average fake.

    Both terms have a gradient for the fakes, the one over the reals through E[fake].

    Args:
        real_logits: the discriminator's of HR images, shape (N, ...); detached in ESRGAN's trainer.
        fake_logits: those of SR images, same shape, with their graph.
        mean: E[.]; differentiable.

    Returns:
        Shape (N,), at least float32, whose mean is the loss; ln 2 for equal logits.

    Raises:
        ValueError: if the shapes differ.
    """
    real, fake = _checked_logits(real_logits, fake_logits)
    reals_below_fakes = _cross_entropy(real - mean(fake), target=0.0)
    fakes_above_reals = _cross_entropy(fake - mean(real), target=1.0)
    return (reals_below_fakes + fakes_above_reals) / 2


def relativistic_discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, *, joint: bool = False, mean: Mean = torch.mean
) -> Tensor:
    """Compute the discriminator's relativistic loss: reals above the average fake, fakes below the average real.

    The official trainer runs two backward passes, each with the other side's mean detached. One backward pass of this
    sum, whose means are detached too, gives exactly the sum of those two gradients.

    Args:
        real_logits: the discriminator's of HR images, shape (N, ...), with their graph.
        fake_logits: those of detached SR images, same shape, with their graph.
        joint: keep the means attached, as in SPSR's trainer.
        mean: E[.]; differentiable where `joint`.

    Returns:
        Shape (N,), at least float32, whose mean is the loss; ln 2 for equal logits.

    Raises:
        ValueError: if the shapes differ.
    """
    real, fake = _checked_logits(real_logits, fake_logits)
    real_mean, fake_mean = mean(real), mean(fake)
    if not joint:
        real_mean, fake_mean = real_mean.detach(), fake_mean.detach()
    reals_above_fakes = _cross_entropy(real - fake_mean, target=1.0)
    fakes_below_reals = _cross_entropy(fake - real_mean, target=0.0)
    return (reals_above_fakes + fakes_below_reals) / 2


def vanilla_generator_loss(fake_logits: Tensor) -> Tensor:
    """Compute the generator's loss of the plain GAN: BCE of the fakes' logits against 1.

    Args:
        fake_logits: the discriminator's of SR images, shape (N, ...), with their graph.

    Returns:
        Shape (N,), at least float32; ln 2 for logits of 0.
    """
    return _cross_entropy(at_least_float32(fake_logits), target=1.0)


def vanilla_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Compute the discriminator's loss of the plain GAN: the sum, not the mean, over reals and fakes (BasicSR's SRGAN).

    Args:
        real_logits: the discriminator's of HR images, shape (N, ...), with their graph.
        fake_logits: those of detached SR images, same shape, with their graph.

    Returns:
        Shape (N,), at least float32; 2 ln 2 for logits of 0.

    Raises:
        ValueError: if the shapes differ.
    """
    real, fake = _checked_logits(real_logits, fake_logits)
    return _cross_entropy(real, target=1.0) + _cross_entropy(fake, target=0.0)


def _checked_logits(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    if real_logits.ndim < 1 or real_logits.shape != fake_logits.shape:
        raise ValueError(
            "real_logits and fake_logits must have the same shape (N, ...), "
            f"but got {tuple(real_logits.shape)} and {tuple(fake_logits.shape)}"
        )
    return at_least_float32(real_logits), at_least_float32(fake_logits)


def _cross_entropy(logits: Tensor, *, target: float) -> Tensor:
    """Compute the binary cross-entropy against one label, averaged over each image's logits: shape (N,)."""
    labels = torch.full_like(logits, target)
    entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return entropy.flatten(start_dim=1).mean(dim=1) if entropy.ndim > 1 else entropy
