"""The weighted sum: value, gradient, and terms of weight 0."""

import pytest
import torch
from torch import Tensor, nn

from study.config import LossConfig
from study.losses import generator_loss as module
from study.losses.generator_loss import GeneratorLoss, Logits, LossInputs
from study.losses.guidance import GuidanceInputs

WEIGHTS = {"fidelity": 2.0, "ldl": 0.5, "perceptual": 0.25, "adversarial": 0.125}


class SquaredDistance(nn.Module):
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).square().mean(dim=(1, 2, 3))


def loss_inputs() -> LossInputs:
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return LossInputs(draw(2, 3, 12, 12).requires_grad_(), draw(2, 3, 12, 12), ema_sr=draw(2, 3, 12, 12))


def logits_of(at: LossInputs) -> Logits:
    look = lambda images: images.mean(dim=(1, 2, 3)).unsqueeze(1)  # noqa: E731
    return Logits(real=look(at.hr), fake=look(at.sr))


def add_all(chosen: GeneratorLoss, at: LossInputs) -> tuple[dict[str, float], Tensor]:
    """Return each term of the sum, and the sum's gradient for the images."""
    at.sr.grad = None
    terms = {
        name: chosen.add_gradient(name, at, logits_of(at) if name == "adversarial" else None) for name in chosen.weights
    }
    assert at.sr.grad is not None
    assert not any(term.requires_grad for term in terms.values())
    return {name: float(term) for name, term in terms.items()}, at.sr.grad


def generator_loss(config: LossConfig, autoencoder: nn.Module | None = None) -> GeneratorLoss:
    perceptual = SquaredDistance() if config.perceptual > 0 else None
    return GeneratorLoss(config, GuidanceInputs(autoencoder), perceptual=perceptual)


def single(term: str, guidance: str = "pixel") -> LossConfig:
    """Configure one term alone, with weight 1."""
    return LossConfig.model_validate({name: float(name == term) for name in WEIGHTS} | {"guidance": guidance})


def test_gradients_add_up_to_the_weighted_sums() -> None:
    at = loss_inputs()
    terms, gradient = add_all(generator_loss(LossConfig(guidance="pixel", **WEIGHTS)), at)
    assert list(terms) == list(WEIGHTS)
    expected = torch.zeros_like(at.sr)
    for name, weight in WEIGHTS.items():
        alone, gradient_alone = add_all(generator_loss(single(name)), at)
        expected += weight * gradient_alone
        assert terms[name] == alone[name]  # reported without its weight
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_a_term_frees_its_graph_but_keeps_the_logits() -> None:
    at, chosen = loss_inputs(), generator_loss(single("adversarial"))
    steepness = torch.ones((), dtype=torch.float64, requires_grad=True)
    logits = Logits(real=at.hr.mean(dim=(2, 3)) * steepness, fake=at.sr.mean(dim=(2, 3)) * steepness)
    chosen.add_gradient("adversarial", at, logits)
    assert steepness.grad is None  # the generator's term says nothing to the discriminator
    chosen.discriminator_loss(logits).mean().backward(inputs=[steepness])  # and its graph is there still
    assert steepness.grad is not None


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_guidance_selects_the_fidelity_term(criterion: str, power: int) -> None:
    at = loss_inputs()
    blur = nn.AvgPool2d(4)
    for guidance, autoencoder in (("pixel", None), ("aesop", blur)):
        config = LossConfig.model_validate(single("fidelity", guidance).model_dump() | {"criterion": criterion})
        terms, _ = add_all(generator_loss(config, autoencoder), at)
        look = autoencoder or nn.Identity()
        expected = (look(at.sr) - look(at.hr)).abs().pow(power).mean()
        assert terms["fidelity"] == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("off", list(WEIGHTS))
def test_a_term_of_weight_zero_is_neither_used_nor_computed(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {
        "fidelity": "fidelity_loss",
        "ldl": "ldl_loss",
        "adversarial": "relativistic_generator_loss",
    }
    if off in functions:
        monkeypatch.setattr(module, functions[off], None)  # calling it would fail
    chosen = generator_loss(LossConfig.model_validate(WEIGHTS | {off: 0, "guidance": "pixel"}))
    terms, _ = add_all(chosen, loss_inputs())
    assert off not in terms
    assert [chosen.uses(name) for name in WEIGHTS] == [name != off for name in WEIGHTS]


def test_parts_must_match_the_configuration() -> None:
    for config, autoencoder, perceptual in (
        (single("fidelity", "aesop"), None, None),
        (single("fidelity", "pixel"), nn.Identity(), None),
        (single("perceptual"), None, None),
        (single("ldl"), None, SquaredDistance()),
    ):
        with pytest.raises(AssertionError):
            GeneratorLoss(config, GuidanceInputs(autoencoder), perceptual=perceptual)
