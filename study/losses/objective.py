"""The adversarial stage's objective: the one place where the weighted sum stands (METHODS 1.5, 4.3).

L_G = w_f * fidelity + w_a * artifact + w_p * perceptual + w_d * adversarial
"""

from torch import Tensor, nn

from study.config import LossConfig
from study.losses.adversarial import relativistic_generator_loss
from study.losses.aesop import aesop_loss
from study.losses.artifact import artifact_loss
from study.losses.pixel import pixel_loss


class Judged:
    """What a generator step has at hand for its terms.

    Attributes:
        sr, hr: images, shape (N, 3, H, W), RGB; `hr` in [0, 1], `sr` unclamped and with graph.
        ema_sr: the EMA generator's output without graph, same shape; None unless the artifact term is on.
        real_logits, fake_logits: the discriminator's, shape (N, 1), the real ones detached; None unless the
            adversarial term is on.
    """

    def __init__(
        self,
        sr: Tensor,
        hr: Tensor,
        *,
        ema_sr: Tensor | None = None,
        real_logits: Tensor | None = None,
        fake_logits: Tensor | None = None,
    ) -> None:
        self.sr, self.hr, self.ema_sr = sr, hr, ema_sr
        self.real_logits, self.fake_logits = real_logits, fake_logits


class Objective:
    """The weighted sum over the terms whose weight is not zero; the others are neither built nor computed."""

    def __init__(
        self, config: LossConfig, *, autoencoder: nn.Module | None = None, perceptual: nn.Module | None = None
    ) -> None:
        """Choose the terms.

        Args:
            config: weights and kinds.
            autoencoder: frozen, in eval mode; needed if `config.uses_autoencoder`.
            perceptual: frozen distance module, (sr, hr) -> (N,); needed if `config.perceptual` > 0.
        """
        assert (autoencoder is not None) == config.uses_autoencoder
        assert (perceptual is not None) == (config.perceptual > 0)
        self.weights: dict[str, float] = {
            "fidelity": config.fidelity,
            "artifact": config.artifact,
            "perceptual": config.perceptual,
            "adversarial": config.adversarial,
        }
        self.weights = {name: weight for name, weight in self.weights.items() if weight > 0}
        self._config, self._autoencoder, self._perceptual = config, autoencoder, perceptual

    def uses(self, term: str) -> bool:
        """Whether a term is part of the sum."""
        return term in self.weights

    def __call__(self, judged: Judged) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the sum.

        Returns:
            The scalar to descend, and the unweighted terms by name as detached scalars (means over the batch).
        """
        terms = {name: self._term(name, judged).mean() for name in self.weights}
        total = sum((self.weights[name] * term for name, term in terms.items()), start=judged.sr.new_zeros(()))
        return total, {name: term.detach() for name, term in terms.items()}

    def _term(self, name: str, judged: Judged) -> Tensor:
        match name:
            case "fidelity" if self._autoencoder is not None:
                return aesop_loss(self._autoencoder, judged.sr, judged.hr, criterion=self._config.criterion)
            case "fidelity":
                return pixel_loss(judged.sr, judged.hr, criterion=self._config.criterion)
            case "artifact":
                assert judged.ema_sr is not None
                return artifact_loss(judged.sr, judged.hr, judged.ema_sr)
            case "perceptual":
                assert self._perceptual is not None
                return self._perceptual(judged.sr, judged.hr)
            case _:
                assert judged.real_logits is not None
                assert judged.fake_logits is not None
                return relativistic_generator_loss(judged.real_logits, judged.fake_logits)
