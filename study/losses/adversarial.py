"""The adversarial losses, without their weights: ESRGAN's relativistic average GAN (METHODS 3.3), SPSR's variant of its
discriminator step (4.2), and the plain GAN (1.7).

Discriminators judge an image by one logit, shape (N, 1), or by a map of logits, shape (N, 1, H, W). E[.] is
the mean over the whole batch, maps included: over what all processes have, where several train one network together.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from study.models.layers import at_least_float32


Mean = Callable[[Tensor], Tensor]  # E[.] of a process's logits, a scalar


def relativistic_generator_loss(real_logits: Tensor, fake_logits: Tensor, *, mean: Mean = torch.mean) -> Tensor:
    """Ask that fakes look more real than the average real, and reals less real than the average fake.

    Both terms carry a gradient into the fakes, the one over the reals through E[fake].

    Args:
        real_logits: the discriminator's of HR images, shape (N, ...). Pass them detached, as METHODS 3.3.
        fake_logits: those of SR images, same shape, with their graph.
        mean: E[.]; must carry the gradient.

    Returns:
        Shape (N,), at least float32, whose mean is the loss; ln 2 for a discriminator that cannot tell.

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
    """Ask that reals look more real than the average fake, and fakes less real than the average real.

    The official trainer runs two backwards, each with the other side's mean detached. Those means are
    detached here, so one backward on this sum gives exactly the sum of those two gradients; with attached
    means it would not.

    Args:
        real_logits: the discriminator's of HR images, shape (N, ...), with their graph.
        fake_logits: those of detached SR images, same shape, with their graph.
        joint: leave the means attached, as SPSR's trainer does.
        mean: E[.]; must carry the gradient where `joint`.

    Returns:
        Shape (N,), at least float32, whose mean is the loss; ln 2 for a discriminator that cannot tell.

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
    """Ask that fakes look real, whatever the reals look like.

    Args:
        fake_logits: the discriminator's of SR images, shape (N, ...), with their graph.

    Returns:
        Shape (N,), at least float32; ln 2 for a discriminator that cannot tell.
    """
    return _cross_entropy(at_least_float32(fake_logits), target=1.0)


def vanilla_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Ask that reals look real and fakes do not: the sum of both, not their mean (METHODS 3.3, SRGAN variant).

    Args:
        real_logits: the discriminator's of HR images, shape (N, ...), with their graph.
        fake_logits: those of detached SR images, same shape, with their graph.

    Returns:
        Shape (N,), at least float32; 2 ln 2 for a discriminator that cannot tell.

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
    """Binary cross-entropy against one label, averaged over each image's own logits: shape (N,)."""
    labels = torch.full_like(logits, target)
    entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return entropy.flatten(start_dim=1).mean(dim=1) if entropy.ndim > 1 else entropy
