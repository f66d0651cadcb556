"""The adversarial stage's objective: the one place where the weighted sum stands (METHODS 1.5, 1.7, 4).

L_G = w_f * fidelity + w_a * artifact + w_p * perceptual + w_d * adversarial
      + w_g * gradient + w_gd * gradient_adversarial + w_b * branch                    (the second line is SPSR's)
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from study.config import GanKind, LossConfig
from study.data.second_order import usm_sharpen
from study.losses.adversarial import (
    Mean,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    vanilla_discriminator_loss,
    vanilla_generator_loss,
)
from study.losses.gradient import branch_loss, gradient_loss
from study.losses.guidance import Guide, fidelity_loss
from study.losses.ldl import artifact_loss

ADVERSARIAL_TERMS = ("adversarial", "gradient_adversarial")
"""The terms that have a discriminator each, by whose name it goes."""


@dataclass(frozen=True)
class Logits:
    """What a discriminator says of a batch, shape (N, 1) or (N, 1, H, W).

    Attributes:
        fake: of the SR images, with graph.
        real: of the HR images, with graph where the discriminator learns of it; None for a generator's term of a GAN
            that does not compare the two.
    """

    fake: Tensor
    real: Tensor | None = None


@dataclass
class Judged:
    """What a generator step has at hand for its terms.

    Attributes:
        sr, hr: images, shape (N, 3, H, W), RGB; `hr` in [0, 1], `sr` unclamped, a leaf that gathers its gradient.
        low: the LR images that `sr` was made of, shape (N, 3, H / scale, W / scale).
        ema_sr: the EMA generator's output without graph, same shape; None unless the artifact term is on.
        branch: the output of the generator's gradient branch, same shape, another leaf; None unless its term is on.
    """

    sr: Tensor
    hr: Tensor
    low: Tensor | None = None
    ema_sr: Tensor | None = None
    branch: Tensor | None = None


class Objective:
    """The weighted sum over the terms whose weight is not zero; the others are neither built nor computed."""

    def __init__(
        self,
        config: LossConfig,
        guide: Guide = Guide(),  # noqa: B008  # frozen
        *,
        perceptual: nn.Module | None = None,
        mean: Mean = torch.mean,
        computing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Choose the terms.

        Args:
            config: weights and kinds.
            guide: what the fidelity term measures with.
            perceptual: frozen distance module, (sr, hr) -> (N,); needed if `config.perceptual` > 0.
            mean: over the whole batch, where this process has a part of it: of logits, and of a loss map's weights.
            computing: where the auto-encoder and VGG-19 compute; other perceptual networks square differences.
        """
        assert (guide.autoencoder is not None) == config.uses_autoencoder
        assert (guide.critics is not None) == config.uses_critics
        assert (guide.own is not None) == config.uses_own
        assert (perceptual is not None) == (config.perceptual > 0)
        self.weights = {name: weight for name, weight in config.weights.items() if weight > 0}
        self.gan: GanKind = config.gan
        self._config, self._perceptual, self._mean = config, perceptual, mean
        self._guide = replace(guide, mean=mean)
        self._computing = computing

    def uses(self, term: str) -> bool:
        """Whether a term is part of the sum."""
        return term in self.weights

    @property
    def compares_reals(self) -> bool:
        """Whether the generator's adversarial terms need the discriminators' view of HR images."""
        return self.gan != "vanilla"

    def add_gradient(self, name: str, judged: Judged, logits: Logits | None = None) -> Tensor:
        """Add what a term of the sum, with its weight, says to the images' gradient; the term's graph is freed.

        Args:
            name: of the term; over all of them, the gradient of the sum is at the images.
            judged: the images.
            logits: of an adversarial term; what they hang on is kept.

        Returns:
            The unweighted term, a detached scalar (mean over the batch).
        """
        term = self._term(name, judged, logits).mean()
        leaves = [judged.branch] if name == "branch" and judged.branch is not None else [judged.sr]
        (self.weights[name] * term).backward(inputs=leaves, retain_graph=logits is not None)
        return term.detach()

    def discriminator_loss(self, logits: Logits) -> Tensor:
        """What a discriminator descends, shape (N,); its weight is always 1."""
        assert logits.real is not None
        if self.gan == "vanilla":
            return vanilla_discriminator_loss(logits.real, logits.fake)
        return relativistic_discriminator_loss(
            logits.real, logits.fake, joint=self.gan == "relativistic-joint", mean=self._mean
        )

    def _term(self, name: str, judged: Judged, logits: Logits | None) -> Tensor:
        match name:
            case "fidelity":
                # Only what looks through an auto-encoder: critics compare squares of small differences.
                with self._computing() if self._config.uses_autoencoder else nullcontext():
                    return fidelity_loss(self._config, self._guide, judged.sr, judged.hr, judged.low)
            case "artifact":
                assert judged.ema_sr is not None
                return artifact_loss(judged.sr, judged.hr, judged.ema_sr)
            case "perceptual":
                return self._perceptual_term(judged)
            case "gradient":
                return gradient_loss(judged.sr, judged.hr)
            case "branch":
                assert judged.branch is not None
                return branch_loss(judged.branch, judged.hr)
            case _:
                assert logits is not None
                return self._adversarial_term(logits)

    def _perceptual_term(self, judged: Judged) -> Tensor:
        assert self._perceptual is not None
        sharpened = self._config.perceptual_target == "sharpened"
        target = usm_sharpen(judged.hr) if sharpened else judged.hr
        # Absolute differences alone: those that are squared, LPIPS' among them, are too small for few digits.
        with self._computing() if self._config.perceptual_network == "vgg19" else nullcontext():
            distance: Tensor = self._perceptual(judged.sr, target)
        return distance

    def _adversarial_term(self, logits: Logits) -> Tensor:
        if not self.compares_reals:
            return vanilla_generator_loss(logits.fake)
        assert logits.real is not None
        return relativistic_generator_loss(logits.real.detach(), logits.fake, mean=self._mean)
