"""The weighted sum: its value, its gradient, and what it leaves out."""

import pytest
import torch
from torch import Tensor, nn

from study.config import LossConfig
from study.losses import objective as module
from study.losses.guidance import Guide
from study.losses.objective import Judged, Logits, Objective

WEIGHTS = {"fidelity": 2.0, "artifact": 0.5, "perceptual": 0.25, "adversarial": 0.125}


class SquaredDistance(nn.Module):
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).square().mean(dim=(1, 2, 3))


def judged() -> Judged:
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    sr = draw(2, 3, 12, 12).requires_grad_()
    return Judged(
        sr,
        draw(2, 3, 12, 12),
        ema_sr=draw(2, 3, 12, 12),
        logits={"adversarial": Logits(real=draw(2, 1), fake=sr.mean(dim=(1, 2, 3)).unsqueeze(1))},
    )


def objective(config: LossConfig, autoencoder: nn.Module | None = None) -> Objective:
    perceptual = SquaredDistance() if config.perceptual > 0 else None
    return Objective(config, Guide(autoencoder), perceptual=perceptual)


def single(term: str, guidance: str = "pixel") -> LossConfig:
    """That term alone, with weight 1."""
    return LossConfig.model_validate({name: float(name == term) for name in WEIGHTS} | {"guidance": guidance})


def test_sum_and_its_gradient_are_the_weighted_ones() -> None:
    at = judged()
    total, terms = objective(LossConfig(guidance="pixel", **WEIGHTS))(at)
    (gradient,) = torch.autograd.grad(total, at.sr, retain_graph=True)
    expected, expected_gradient = 0.0, torch.zeros_like(at.sr)
    for name, weight in WEIGHTS.items():
        alone, _ = objective(single(name))(at)
        expected += weight * alone.item()
        expected_gradient += weight * torch.autograd.grad(alone, at.sr, retain_graph=True)[0]
        assert float(terms[name]) == alone.item()  # reported without its weight
    assert total.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-15)


def test_terms_are_reported_without_graph() -> None:
    total, terms = objective(LossConfig(guidance="pixel", **WEIGHTS))(judged())
    assert total.shape == ()
    assert total.requires_grad
    assert list(terms) == list(WEIGHTS)
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize(("criterion", "power"), [("l1", 1), ("l2", 2)])
def test_guidance_decides_where_the_fidelity_is_measured(criterion: str, power: int) -> None:
    at = judged()
    blur = nn.AvgPool2d(4)
    for guidance, autoencoder in (("pixel", None), ("aesop", blur)):
        config = LossConfig.model_validate(single("fidelity", guidance).model_dump() | {"criterion": criterion})
        _, terms = objective(config, autoencoder)(at)
        look = autoencoder or nn.Identity()
        expected = (look(at.sr) - look(at.hr)).abs().pow(power).mean()
        assert float(terms["fidelity"]) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("off", list(WEIGHTS))
def test_a_term_of_weight_zero_is_neither_used_nor_computed(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {
        "fidelity": "fidelity_loss",
        "artifact": "artifact_loss",
        "adversarial": "relativistic_generator_loss",
    }
    if off in functions:
        monkeypatch.setattr(module, functions[off], None)  # calling it would fail
    chosen = objective(LossConfig.model_validate(WEIGHTS | {off: 0, "guidance": "pixel"}))
    _, terms = chosen(judged())
    assert off not in terms
    assert [chosen.uses(name) for name in WEIGHTS] == [name != off for name in WEIGHTS]


def test_parts_that_do_not_fit_the_configuration_are_a_mistake_of_ours() -> None:
    for config, autoencoder, perceptual in (
        (single("fidelity", "aesop"), None, None),
        (single("fidelity", "pixel"), nn.Identity(), None),
        (single("perceptual"), None, None),
        (single("artifact"), None, SquaredDistance()),
    ):
        with pytest.raises(AssertionError):
            Objective(config, Guide(autoencoder), perceptual=perceptual)
