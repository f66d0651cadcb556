"""One step of every recipe against the papers' equations (docs/methods), in float64: terms and gradients."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from study.config import LossConfig, RunConfig, replace
from study.config.recipes import RECIPES, get_recipe
from study.data import bicubic_downsample
from study.losses.generator_loss import GeneratorLoss
from study.losses.guidance import GuidanceInputs
from study.models import Autoencoder, Critics
from study.models.build import build_autoencoder, build_discriminator, build_generator
from study.training.state import TrainState, new_state
from study.training.steps import adversarial_step
from tests.training import plain_methods as plain

PATCH = 32
Gradients = list[Tensor | None]

# Each recipe at its own weights, its networks as small as they come.
SMALL = {
    "generator.features": 12,
    "autoencoder": {"features": 16, "blocks": 1, "growth": 4, "decoder": "rrdb", "bicubic_skip": True},
    "discriminator.features": 2,
}
GENERATORS = {
    "rrdb": {"generator.blocks": 1, "generator.growth": 4},
    "spsr": {"generator.blocks": 4, "generator.growth": 4},
    "swinir": {"generator.blocks": 1, "generator.depth": 2, "generator.heads": 3},
    "edsr": {"generator.blocks": 1},
}
ABLATIONS: dict[str, dict[str, object]] = {
    "bottleneck": {"loss.guidance": "bottleneck"},
    "loss-map": {"loss.guidance": "loss-map"},
    "lr": {"loss.guidance": "lr"},
    "l2": {"loss.criterion": "l2"},
    "bicubic-encoder": {"autoencoder.encoder": "bicubic", "autoencoder.bicubic_skip": False},
    **{
        f"kl-{direction}-{form}": {"loss.guidance": "probabilistic", "loss.kl": direction, "loss.kl_form": form}
        for direction in ("reverse", "forward")
        for form in ("released", "exact")
    },
}


class FeatureDistance(nn.Module):
    """Stands in for a perceptual network: a frozen random convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3).double().requires_grad_(False)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (self.conv(sr).tanh() - self.conv(hr).tanh()).square().mean(dim=(1, 2, 3))


@dataclass
class Scene:
    """A recipe's networks with random weights, and a batch."""

    config: RunConfig
    state: TrainState
    guidance_inputs: GuidanceInputs
    perceptual: FeatureDistance | None
    lq: Tensor
    hr: Tensor

    @property
    def loss(self) -> LossConfig:
        return self.config.loss

    @property
    def autoencoder(self) -> nn.Module | None:
        return self.guidance_inputs.autoencoder


def shaken(network: nn.Module, amount: float) -> nn.Module:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += amount * torch.randn_like(parameter)
    return network


def small(name: str, changes: dict[str, object]) -> RunConfig:
    recipe = get_recipe(name, "full")
    body = GENERATORS[recipe.generator.name]
    budget = {"budget.patch": PATCH, "fidelity.budget.patch": PATCH, "autoencoder.budget.patch": PATCH}
    clean = {"data.degradation": "bicubic"}  # the batch is made here; other degradations need larger patches
    return replace(recipe, SMALL | body | budget | clean | changes)


def scene_of(config: RunConfig, images: Callable[[int], Tensor]) -> Scene:
    torch.manual_seed(11)
    generator = shaken(build_generator(config.generator, 4), 0.03).double()
    discriminators = {}
    for name, margin in (("adversarial", 0), ("gradient_adversarial", 2)):
        if config.loss.weights[name] > 0:
            discriminators[name] = build_discriminator(config.discriminator, PATCH, margin=margin).double()
    state = new_state(generator, config.optimiser, discriminators=discriminators)
    shaken(state.ema, 0.01)  # so that the artifact map's mask has work to do
    autoencoder = None
    if config.loss.uses_autoencoder:
        autoencoder = build_autoencoder(config.autoencoder, scale_head=config.has_scale_head).double()
        shaken(autoencoder, 0.1).eval().requires_grad_(False)
        if autoencoder.scale_head is not None:
            autoencoder.scale_head.conv_last.bias.add_(0.5)  # away from the clamp, whose huge slopes eat digits
    critics = Critics(levels=9, features=2, largest=4).double() if config.loss.uses_critics else None
    hr = images(2)
    lq = bicubic_downsample(hr, 4) + 0.02 * torch.randn(2, 3, PATCH // 4, PATCH // 4, dtype=torch.float64)
    perceptual = FeatureDistance() if config.loss.perceptual > 0 else None
    return Scene(config, state, GuidanceInputs(autoencoder, critics), perceptual, lq, hr)


def random_images(count: int) -> Tensor:
    return torch.rand(count, 3, PATCH, PATCH, dtype=torch.float64)


def seed_drop_path() -> None:
    torch.manual_seed(5)  # SwinIR draws in training which paths to drop


def plain_generator_step(scene: Scene) -> tuple[dict[str, Tensor], Gradients, Tensor]:
    """The unweighted terms, the gradients of G, and SR before G moved."""
    generator = copy.deepcopy(scene.state.model)
    discriminators = copy_of_discriminators(scene.state)
    hr, loss = scene.hr, scene.loss
    seed_drop_path()
    if loss.branch > 0:
        sr, branch = generator(scene.lq, with_branch=True)
    else:
        sr, branch = generator(scene.lq), None
    terms = {}
    if loss.fidelity > 0:
        terms["fidelity"] = plain_fidelity(scene, sr)
    if loss.ldl > 0:
        terms["ldl"] = plain.artifact(sr, hr, scene.state.ema(scene.lq))
    if loss.perceptual > 0:
        target = plain.sharpened(hr) if loss.perceptual_target == "sharpened" else hr
        assert scene.perceptual is not None
        terms["perceptual"] = scene.perceptual(sr, target).mean()
    if loss.gradient > 0:
        terms["gradient"] = (plain.gradients(sr, 2) - plain.gradients(hr, 2)).square().mean()
    if loss.branch > 0:
        terms["branch"] = plain.mean_l1(branch, plain.gradients(hr, 1))
    views = {"adversarial": (sr, hr), "gradient_adversarial": (plain.gradients(sr, 2), plain.gradients(hr, 2))}
    for name, discriminator in discriminators.items():
        fake_view, real_view = views[name]
        if loss.gan == "vanilla":
            terms[name] = plain.entropy(discriminator(fake_view), 1)
        else:
            real = discriminator(real_view).detach()
            terms[name] = plain.relativistic_generator(real, discriminator(fake_view))
    weights = {"fidelity": loss.fidelity, "ldl": loss.ldl, "perceptual": loss.perceptual}
    weights |= {"adversarial": loss.adversarial, "gradient": loss.gradient, "branch": loss.branch}
    weights |= {"gradient_adversarial": loss.gradient_adversarial}
    total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
    moved = torch.autograd.grad(total, list(generator.parameters()), allow_unused=True)
    terms["pixel"] = plain.mean_l1(sr, hr)
    return {name: term.detach() for name, term in terms.items()}, list(moved), sr.detach()


def plain_fidelity(scene: Scene, sr: Tensor) -> Tensor:
    hr, loss, autoencoder = scene.hr, scene.loss, cast(Autoencoder, scene.autoencoder)
    if loss.guidance == "consistency":
        return plain.consistency(sr, scene.lq)
    if loss.guidance == "mdf":
        assert scene.guidance_inputs.critics is not None
        return plain.mdf(scene.guidance_inputs.critics.state_dict(), sr, hr, 8).mean()
    if loss.guidance == "pixel":
        return plain.mean_l1(sr, hr)
    if loss.guidance == "lr":
        return plain.mean_l1(plain.torch_bicubic_quarter(sr), plain.torch_bicubic_quarter(hr))
    if loss.guidance == "bottleneck":
        return plain.mean_l1(autoencoder.encode(sr), autoencoder.encode(hr))
    if loss.guidance == "loss-map":
        weight = (autoencoder(sr) - autoencoder(hr)).abs()
        return (weight * (sr - hr).abs()).sum() / weight.sum()
    if loss.guidance == "probabilistic":
        ends = autoencoder.distribution(sr), autoencoder.distribution(hr)
        p, q = ends if loss.kl == "reverse" else ends[::-1]
        return plain.laplace(p, q, exact=loss.kl_form == "exact")
    difference = autoencoder(sr) - autoencoder(hr)
    return difference.square().mean() if loss.criterion == "l2" else difference.abs().mean()


def copy_of_discriminators(state: TrainState) -> dict[str, nn.Module]:
    """Fresh modules with equal entries: spectral norm leaves behind what deepcopy refuses."""
    copies = {}
    for name, discriminator in state.discriminators.items():
        margin = 2 if name == "gradient_adversarial" else 0
        kind = {"VGGDiscriminator": "vgg", "UNetDiscriminator": "unet"}[type(discriminator).__name__]
        biased = "conv1_0.bias" in discriminator.state_dict()
        config = get_recipe("spsr").discriminator if biased else get_recipe("ldl").discriminator
        config = config.model_copy(update={"features": 2, "name": "unet" if kind == "unet" else config.name})
        fresh = build_discriminator(config, PATCH, margin=margin).double()
        fresh.load_state_dict(discriminator.state_dict())
        copies[name] = fresh.train()
    return copies


def plain_discriminator_step(
    scene: Scene, discriminator: nn.Module, fake: Tensor, real: Tensor
) -> tuple[Tensor, Gradients]:
    """The value and the gradients of one D: ESRGAN's relativistic GAN, SPSR's joint one, and the plain GAN.

    The D step's forwards come after those of the G step, which spectral norm notices.
    """
    discriminator.zero_grad()
    if scene.loss.gan == "vanilla":
        parts = [plain.entropy(discriminator(real), 1), plain.entropy(discriminator(fake), 0)]
        for part in parts:
            part.backward()
    elif scene.loss.gan == "relativistic-joint":
        on_real, on_fake = discriminator(real), discriminator(fake)
        parts = [plain.entropy(on_real - on_fake.mean(), 1) / 2, plain.entropy(on_fake - on_real.mean(), 0) / 2]
        (parts[0] + parts[1]).backward()
    else:
        mean_of_fakes = discriminator(fake).detach().mean()
        on_real = discriminator(real)
        parts = [plain.entropy(on_real - mean_of_fakes, 1) / 2]
        parts[0].backward()
        parts += [plain.entropy(discriminator(fake) - on_real.detach().mean(), 0) / 2]
        parts[1].backward()
    return sum(parts).detach(), [parameter.grad for parameter in discriminator.parameters()]


def gradients_of(network: nn.Module) -> Gradients:
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in network.parameters()]


def assert_close(found: Gradients, expected: Gradients) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if one is None or other is None:
            for given in (one, other):
                assert given is None or not given.any()  # without a path there is no gradient, or a zero one
        else:
            assert torch.allclose(one, other, rtol=1e-8, atol=1e-10)


def check_step(scene: Scene) -> dict[str, Tensor]:
    """Compare one step of ours with the plain one; returns our terms."""
    loss, state = scene.loss, scene.state
    terms, generator_gradients, sr = plain_generator_step(scene)
    generator_loss = GeneratorLoss(loss, scene.guidance_inputs, perceptual=scene.perceptual)
    discriminators_before = {
        name: dict(discriminator.state_dict()) for name, discriminator in state.discriminators.items()
    }
    copies = copy_of_discriminators(state)
    views = {"adversarial": (sr, scene.hr)}
    views["gradient_adversarial"] = (plain.gradients(sr, 2), plain.gradients(scene.hr, 2))
    logged = {"adversarial": "discriminator", "gradient_adversarial": "gradient_discriminator"}
    evaluated = {}
    for name, discriminator in copies.items():
        # What the G step leaves behind in D's buffers: forwards over reals, where it compares, then over fakes.
        with torch.no_grad():
            if loss.gan != "vanilla":
                discriminator(views[name][1])
            discriminator(views[name][0])
        terms[logged[name]], evaluated[name] = plain_discriminator_step(scene, discriminator, *views[name])
    assert discriminators_before.keys() == copies.keys()

    seed_drop_path()
    found = adversarial_step(generator_loss)(state, scene.lq, scene.hr)

    assert found.keys() == terms.keys()
    expected = {name: float(term) for name, term in terms.items()}
    assert {name: float(term) for name, term in found.items()} == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert_close(gradients_of(state.model), generator_gradients)
    for name, discriminator in state.discriminators.items():
        assert_close(gradients_of(discriminator), evaluated[name])
    return found


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_step_of_each_recipe_equals_the_equations(name: str) -> None:
    scene = scene_of(small(name, {}), random_images)
    found = check_step(scene)
    expected = {term for term, weight in scene.loss.weights.items() if weight > 0}
    logged = {"adversarial": "discriminator", "gradient_adversarial": "gradient_discriminator"}
    assert found.keys() == expected | {"pixel"} | {logged[term] for term in expected if term in logged}


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_a_step_of_each_ablation_equals_the_equations(name: str) -> None:
    scene = scene_of(small("aesop", ABLATIONS[name]), random_images)
    sr = plain_generator_step(scene)[2]
    found = check_step(scene)
    assert found.keys() == {"fidelity", "ldl", "perceptual", "adversarial", "discriminator", "pixel"}
    # The fidelity term is the ablation's: neither the pixel loss nor, but for the encoder's sake, AESOP's own.
    others = [plain.mean_l1(sr, scene.hr)]
    if scene.autoencoder is not None and name != "bicubic-encoder":
        others.append(plain.mean_l1(scene.autoencoder(sr), scene.autoencoder(scene.hr)))
    assert all(float(found["fidelity"]) != pytest.approx(float(other), rel=1e-3) for other in others)


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_flat_patches_give_no_nan(name: str, level: float) -> None:
    """Where SR equals HR, or nothing varies, the artifact map and the gradient map have their worst slopes."""
    config = small(name, {})
    flat = scene_of(config, lambda count: torch.full((count, 3, PATCH, PATCH), level, dtype=torch.float64))
    flat.lq.fill_(level)
    assert not_finite(flat) == []


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_flat_patches_give_no_nan_in_the_ablations(name: str) -> None:
    config = small("aesop", ABLATIONS[name])
    flat = scene_of(config, lambda count: torch.full((count, 3, PATCH, PATCH), 0.5, dtype=torch.float64))
    assert not_finite(flat) == []


class Perfect(nn.Module):
    """A generator whose output is the HR image itself, whatever it learns."""

    def __init__(self, hr: Tensor) -> None:
        super().__init__()
        self.hr = hr
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, lq: Tensor) -> Tensor:
        return self.hr + self.offset


@pytest.mark.parametrize("name", ["aesop", "aesop-real", "ldl", "esrgan", *sorted(ABLATIONS)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_perfect_image_gives_no_nan(name: str, precision: torch.dtype) -> None:
    config = small("aesop", ABLATIONS[name]) if name in ABLATIONS else small(name, {})
    scene = scene_of(config, random_images)
    for network in (scene.autoencoder, scene.perceptual, *scene.state.discriminators.values()):
        if network is not None:
            network.to(precision)
    hr = scene.hr.to(precision)
    perfect = Perfect(hr).to(precision)
    scene.state = new_state(perfect, config.optimiser, discriminators=scene.state.discriminators)
    scene.lq, scene.hr = scene.lq.to(precision), hr
    assert not_finite(scene) == []


def not_finite(scene: Scene) -> list[str]:
    """Take two steps, and name the terms and the weights whose value or gradient was not finite."""
    generator_loss = GeneratorLoss(scene.loss, scene.guidance_inputs, perceptual=scene.perceptual)
    step = adversarial_step(generator_loss)
    seen: dict[str, Tensor] = {}
    for number in range(2):
        for name, term in step(scene.state, scene.lq, scene.hr).items():
            seen[f"step {number}, term {name}"] = term
        for kind, network in {"generator": scene.state.model, **scene.state.discriminators}.items():
            for name, parameter in network.named_parameters():
                if parameter.grad is not None:
                    seen[f"step {number}, {kind}, gradient of {name}"] = parameter.grad.clone()
    assert {name.partition(", ")[0] for name in seen} == {"step 0", "step 1"}
    return [name for name, value in seen.items() if not torch.isfinite(value).all()]


def test_what_is_not_finite_is_found() -> None:
    scene = scene_of(small("ldl", {}), random_images)
    scene.lq[0, 0, 0, 0] = torch.nan
    found = not_finite(scene)
    assert "step 0, term fidelity" in found
    assert any(name.startswith("step 0, generator, gradient of ") for name in found)
