"""The generator's loss in the adversarial stage: the weighted sum of all methods' terms; docs/methods/.

L_G = w_f * fidelity + w_l * ldl + w_p * perceptual + w_d * adversarial
      + w_g * gradient + w_gd * gradient_adversarial + w_b * branch                    (the second line is SPSR's)
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from study.config import GanKind, LossConfig, custom_loss_path
from study.data.second_order import usm_sharpen
from study.losses.adversarial import (
    Mean,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    vanilla_discriminator_loss,
    vanilla_generator_loss,
)
from study.losses.custom import explained
from study.losses.gradient import branch_loss, gradient_loss
from study.losses.guidance import GuidanceInputs, fidelity_loss
from study.losses.ldl import ldl_loss

ADVERSARIAL_TERMS = ("adversarial", "gradient_adversarial")
"""The terms with a discriminator each, which has the term's name."""


@dataclass(frozen=True)
class Logits:
    """A discriminator's logits of a batch, shape (N, 1) or (N, 1, H, W).

    Attributes:
        fake: of the SR images, with graph.
        real: of the HR images, with graph in the discriminator's step; None for the generator's term of a plain GAN.
    """

    fake: Tensor
    real: Tensor | None = None


@dataclass
class LossInputs:
    """The images that the terms of a generator step compare.

    Attributes:
        sr, hr: images, shape (N, 3, H, W), RGB; `hr` in [0, 1], `sr` unclamped, a leaf that accumulates its gradient.
        lq: the LR images from which `sr` was generated, shape (N, 3, H / scale, W / scale).
        ema_sr: the EMA generator's output without graph, same shape; None unless `ldl` is used.
        branch: the output of the generator's gradient branch, same shape, another leaf; None unless `branch` is used.
    """

    sr: Tensor
    hr: Tensor
    lq: Tensor | None = None
    ema_sr: Tensor | None = None
    branch: Tensor | None = None


class GeneratorLoss:
    """The weighted sum of the terms whose weight is not zero; others are neither built nor computed."""

    def __init__(
        self,
        config: LossConfig,
        guidance: GuidanceInputs = GuidanceInputs(),  # noqa: B008  # frozen
        *,
        perceptual: nn.Module | None = None,
        mean: Mean = torch.mean,
        autocast: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Select the terms.

        Args:
            config: weights and kinds.
            guidance: networks and constants of the fidelity term.
            perceptual: frozen distance module, (sr, hr) -> (N,); required if `config.perceptual` > 0.
            mean: over the whole batch of all processes, of logits and of a loss map's weights.
            autocast: context of the auto-encoder and VGG-19; other perceptual networks square small differences.
        """
        assert (guidance.autoencoder is not None) == config.uses_autoencoder
        assert (guidance.critics is not None) == config.uses_critics
        assert (guidance.custom is not None) == config.uses_custom
        assert (perceptual is not None) == (config.perceptual > 0)
        self.weights = {name: weight for name, weight in config.weights.items() if weight > 0}
        self.gan: GanKind = config.gan
        self._config, self._perceptual, self._mean = config, perceptual, mean
        self._guidance = replace(guidance, mean=mean)
        self._autocast = autocast

    def uses(self, term: str) -> bool:
        """Return whether a term is part of the sum."""
        return term in self.weights

    @property
    def compares_reals(self) -> bool:
        """Whether the generator's adversarial terms need logits of HR images."""
        return self.gan != "vanilla"

    def add_gradient(self, name: str, inputs: LossInputs, logits: Logits | None = None) -> Tensor:
        """Backpropagate one weighted term into the images' gradient; the term's graph is freed.

        Args:
            name: of the term; after all terms, the images hold the gradient of the sum.
            inputs: the images.
            logits: of an adversarial term; their graph is kept.

        Returns:
            The unweighted term, a detached scalar (mean over the batch).

        Raises:
            CustomLossError: the term is a custom loss, and it or its backward pass raised.
        """
        custom = self._config.custom if name == "fidelity" and self._config.uses_custom else None
        with explained(custom_loss_path(custom), "in training") if custom else nullcontext():
            term = self._term(name, inputs, logits).mean()
            leaves = [inputs.branch] if name == "branch" and inputs.branch is not None else [inputs.sr]
            (self.weights[name] * term).backward(inputs=leaves, retain_graph=logits is not None)
        return term.detach()

    def discriminator_loss(self, logits: Logits) -> Tensor:
        """Compute a discriminator's loss, shape (N,); its weight is always 1."""
        assert logits.real is not None
        if self.gan == "vanilla":
            return vanilla_discriminator_loss(logits.real, logits.fake)
        return relativistic_discriminator_loss(
            logits.real, logits.fake, joint=self.gan == "relativistic-joint", mean=self._mean
        )

    def _term(self, name: str, inputs: LossInputs, logits: Logits | None) -> Tensor:
        match name:
            case "fidelity":
                # Only with an auto-encoder: critics compare squares of small differences, which need float32.
                with self._autocast() if self._config.uses_autoencoder else nullcontext():
                    return fidelity_loss(self._config, self._guidance, inputs.sr, inputs.hr, inputs.lq)
            case "ldl":
                assert inputs.ema_sr is not None
                return ldl_loss(inputs.sr, inputs.hr, inputs.ema_sr)
            case "perceptual":
                return self._perceptual_term(inputs)
            case "gradient":
                return gradient_loss(inputs.sr, inputs.hr)
            case "branch":
                assert inputs.branch is not None
                return branch_loss(inputs.branch, inputs.hr)
            case _:
                assert logits is not None
                return self._adversarial_term(logits)

    def _perceptual_term(self, inputs: LossInputs) -> Tensor:
        assert self._perceptual is not None
        sharpened = self._config.perceptual_target == "sharpened"
        target = usm_sharpen(inputs.hr) if sharpened else inputs.hr
        # Only VGG-19's absolute differences: squares, as in LPIPS, are too small for bfloat16.
        with self._autocast() if self._config.perceptual_network == "vgg19" else nullcontext():
            distance: Tensor = self._perceptual(inputs.sr, target)
        return distance

    def _adversarial_term(self, logits: Logits) -> Tensor:
        if not self.compares_reals:
            return vanilla_generator_loss(logits.fake)
        assert logits.real is not None
        return relativistic_generator_loss(logits.real.detach(), logits.fake, mean=self._mean)
