"""The relativistic losses against ESRGAN's formulas, values and gradients."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.losses import (
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    vanilla_discriminator_loss,
    vanilla_generator_loss,
)


def tiny_discriminator(*, logit_maps: bool) -> nn.Module:
    torch.manual_seed(3)
    head = [nn.Conv2d(4, 1, 3)] if logit_maps else [nn.Flatten(), nn.Linear(4 * 6 * 6, 1)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU(0.2), *head).double()


def reals_and_fakes() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    real, fake = (torch.rand(5, 3, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    return real, fake**2  # another distribution, so that the means differ


def cross_entropy(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


@pytest.mark.parametrize("shape", [(4, 1), (4, 1, 3, 5), (4,)])
@pytest.mark.parametrize("logit", [0.0, -7.5])
def test_equal_logits_give_ln_2(shape: tuple[int, ...], logit: float) -> None:
    constant = torch.full(shape, logit)

    for loss in (relativistic_generator_loss, relativistic_discriminator_loss):
        assert loss(constant, constant) == pytest.approx([math.log(2)] * 4)


def test_generator_value_written_out() -> None:
    real, fake = [1.0, 3.0], [0.5, -0.5]  # means 2 and 0

    def softplus(value: float) -> float:
        return math.log1p(math.exp(value))

    expected = [
        (softplus(1.0 - 0.0) + softplus(-(0.5 - 2.0))) / 2,
        (softplus(3.0 - 0.0) + softplus(-(-0.5 - 2.0))) / 2,
    ]

    found = relativistic_generator_loss(torch.tensor(real)[:, None], torch.tensor(fake)[:, None])
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("logit_maps", [False, True])
def test_generator_gradient_is_that_of_the_formula(logit_maps: bool) -> None:
    discriminator = tiny_discriminator(logit_maps=logit_maps)
    real, fake = reals_and_fakes()
    fake.requires_grad_()
    real_logits, fake_logits = discriminator(real).detach(), discriminator(fake)
    formula = (
        cross_entropy(real_logits - fake_logits.mean(), 0) + cross_entropy(fake_logits - real_logits.mean(), 1)
    ) / 2
    (expected,) = torch.autograd.grad(formula, fake, retain_graph=True)

    loss = relativistic_generator_loss(real_logits, fake_logits).mean()
    (found,) = torch.autograd.grad(loss, fake)

    assert loss.item() == pytest.approx(formula.item(), rel=1e-12)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("logit_maps", [False, True])
def test_discriminator_gradient_equals_the_official_two_backwards(logit_maps: bool) -> None:
    discriminator = tiny_discriminator(logit_maps=logit_maps)
    official = copy.deepcopy(discriminator)
    real, fake = reals_and_fakes()

    fake_logits = official(fake).detach()
    real_logits = official(real)
    first = cross_entropy(real_logits - fake_logits.mean(), 1) / 2
    first.backward()
    second = cross_entropy(official(fake) - real_logits.detach().mean(), 0) / 2
    second.backward()

    loss = relativistic_discriminator_loss(discriminator(real), discriminator(fake)).mean()
    loss.backward()

    assert loss.item() == pytest.approx(first.item() + second.item(), rel=1e-12)
    for found, expected in zip(discriminator.parameters(), official.parameters(), strict=True):
        assert torch.allclose(found.grad, expected.grad, rtol=1e-10, atol=1e-14)


def test_attached_means_would_give_another_gradient() -> None:
    """The official trainer's gradient has detached means; the joint formula differs."""
    real, fake = (torch.tensor(values, requires_grad=True) for values in ([1.0, 3.0], [0.5, -0.5]))
    joint = (cross_entropy(real - fake.mean(), 1) + cross_entropy(fake - real.mean(), 0)) / 2
    (attached,) = torch.autograd.grad(joint, real)

    (found,) = torch.autograd.grad(relativistic_discriminator_loss(real, fake).mean(), real)

    assert not torch.allclose(found, attached, rtol=0.05)


def test_large_logits_stay_finite_in_half_precision() -> None:
    real = torch.tensor([[6e4], [-6e4]], dtype=torch.float16)
    fake = -real

    loss = relativistic_discriminator_loss(real, fake)

    assert loss.dtype == torch.float32
    assert loss.isfinite().all()


def test_logits_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"real_logits and fake_logits.*\(4, 1\).*\(2, 1\)"):
        relativistic_generator_loss(torch.zeros(4, 1), torch.zeros(2, 1))


def test_joint_discriminator_gradient_has_attached_means() -> None:
    discriminator = tiny_discriminator(logit_maps=False)
    real, fake = reals_and_fakes()
    on_real, on_fake = discriminator(real), discriminator(fake)
    formula = (cross_entropy(on_real - on_fake.mean(), 1) + cross_entropy(on_fake - on_real.mean(), 0)) / 2
    expected = torch.autograd.grad(formula, list(discriminator.parameters()))
    loss = relativistic_discriminator_loss(discriminator(real), discriminator(fake), joint=True).mean()
    found = torch.autograd.grad(loss, list(discriminator.parameters()))
    assert loss.item() == pytest.approx(formula.item(), rel=1e-12)
    assert all(torch.allclose(one, other, rtol=1e-10, atol=1e-14) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("shape", [(3, 1), (3, 1, 2, 5)])
def test_plain_gan_is_two_cross_entropies_and_their_sum(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(6)
    real, fake = (3 * torch.randn(*shape, generator=generator) for _ in range(2))
    assert vanilla_generator_loss(fake).mean().item() == pytest.approx(cross_entropy(fake, 1).item(), rel=1e-6)
    found = vanilla_discriminator_loss(real, fake)
    assert found.shape == (3,)
    assert found.mean().item() == pytest.approx((cross_entropy(real, 1) + cross_entropy(fake, 0)).item(), rel=1e-6)


def test_plain_gan_of_zero_logits() -> None:
    constant = torch.zeros(4, 1)
    assert vanilla_generator_loss(constant) == pytest.approx([math.log(2)] * 4)
    assert vanilla_discriminator_loss(constant, constant) == pytest.approx([2 * math.log(2)] * 4)
