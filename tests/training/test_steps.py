"""One step of each stage against the papers' equations (docs/methods) written out plainly, in float64."""

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import LossConfig, Optimiser
from study.data import bicubic_downsample
from study.losses.generator_loss import GeneratorLoss
from study.losses.guidance import GuidanceInputs
from study.models import Autoencoder, MSRResNet, VGGDiscriminator
from study.training.state import TrainState, new_state
from study.training.steps import adversarial_step, autoencoder_step, fidelity_step

LOSS = LossConfig(fidelity=0.9, ldl=0.7, perceptual=0.3, adversarial=0.05)
LEARNING_RATE = 0.01
Terms = dict[str, Tensor]


class FeatureDistance(nn.Module):
    """Stands in for a perceptual network: a frozen random convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3).double().requires_grad_(False)
        self.calls = 0

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        self.calls += 1
        return (self.conv(sr).tanh() - self.conv(hr).tanh()).square().mean(dim=(1, 2, 3))


@dataclass
class Scene:
    """A state, what its generator_loss looks through, and a batch."""

    state: TrainState
    autoencoder: Autoencoder
    perceptual: FeatureDistance
    lq: Tensor
    hr: Tensor


def small_autoencoder() -> Autoencoder:
    network = Autoencoder(3, 4, features=16, blocks=1, growth=4, decoder="msrresnet", bicubic_skip=True).double()
    with torch.no_grad():  # away from the small start, where the encoder hardly counts
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network


@pytest.fixture
def scene() -> Scene:
    torch.manual_seed(7)
    optimiser = Optimiser(learning_rate=LEARNING_RATE)
    state = new_state(
        MSRResNet(4, 1, 4).double(), optimiser, discriminators={"adversarial": VGGDiscriminator(32, 2).double()}
    )
    with torch.no_grad():
        for weight in state.ema.parameters():
            weight += 0.02 * torch.randn_like(weight)  # so that the artifact map's mask has work to do
    autoencoder = small_autoencoder().eval().requires_grad_(False)
    hr = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    lq = bicubic_downsample(hr, 4) + 0.02 * torch.randn(3, 3, 8, 8, dtype=torch.float64)
    return Scene(state, autoencoder, FeatureDistance(), lq, hr)


def gradients(network: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None for gradient in found)
    return [gradient.clone() for gradient in found if gradient is not None]


def close(found: list[Tensor], expected: list[Tensor] | tuple[Tensor, ...]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(torch.allclose(one, other, rtol=1e-8, atol=1e-12) for one, other in pairs)


def plain_binary_cross_entropy(logits: Tensor, label: float) -> Tensor:
    probability = 1 / (1 + torch.exp(-logits))
    return -(label * torch.log(probability) + (1 - label) * torch.log(1 - probability)).mean()


def plain_ldl(sr: Tensor, hr: Tensor, ema_sr: Tensor) -> Tensor:
    """LDL's map with every 7 x 7 window written out."""
    residual, ema_residual = (hr - sr).abs().sum(1, keepdim=True), (hr - ema_sr).abs().sum(1, keepdim=True)
    windows = F.unfold(F.pad(residual, (3, 3, 3, 3), mode="reflect"), 7)  # (N, 49, H * W)
    local = windows.var(dim=1, unbiased=True).view_as(residual)
    overall = (residual.flatten(1).var(dim=1, unbiased=True) + 1e-12) ** 0.2
    weight = overall.view(-1, 1, 1, 1) * local * (residual >= ema_residual)
    assert 0 < float((weight == 0).double().mean()) < 1  # some pixels are masked, some are not
    return (weight * sr - weight * hr).abs().mean()


def plain_generator_step(scene: Scene, loss: LossConfig) -> tuple[Terms, tuple[Tensor, ...], Tensor]:
    """The terms, the gradients of G, and SR before G moved."""
    generator, discriminator = (
        copy.deepcopy(scene.state.model),
        copy.deepcopy(scene.state.discriminators["adversarial"]),
    )
    sr, hr = generator(scene.lq), scene.hr
    guidance_inputs = scene.autoencoder if loss.guidance == "aesop" else nn.Identity()
    real, fake = discriminator(hr).detach(), discriminator(sr)
    terms = {
        "fidelity": (guidance_inputs(sr) - guidance_inputs(hr)).abs().mean(),
        "ldl": plain_ldl(sr, hr, scene.state.ema(scene.lq)),
        "perceptual": scene.perceptual(sr, hr).mean(),
        "adversarial": plain_binary_cross_entropy(real - fake.mean(), 0.0) / 2
        + plain_binary_cross_entropy(fake - real.mean(), 1.0) / 2,
        "pixel": (sr - hr).abs().mean(),
    }
    total = (
        loss.fidelity * terms["fidelity"]
        + loss.ldl * terms["ldl"]
        + loss.perceptual * terms["perceptual"]
        + loss.adversarial * terms["adversarial"]
    )
    moved = torch.autograd.grad(total, list(generator.parameters()))
    return {name: term.detach() for name, term in terms.items()}, moved, sr.detach()


def plain_discriminator_step(scene: Scene, sr: Tensor) -> tuple[Tensor, list[Tensor]]:
    """ESRGAN's trainer: two backwards, each with the other side's mean detached; the gradients of D add up."""
    discriminator = copy.deepcopy(scene.state.discriminators["adversarial"])
    discriminator.zero_grad()
    fake, real = discriminator(sr).detach(), discriminator(scene.hr)
    on_reals = plain_binary_cross_entropy(real - fake.mean(), 1.0) / 2
    on_reals.backward()
    fake = discriminator(sr.detach())
    on_fakes = plain_binary_cross_entropy(fake - real.detach().mean(), 0.0) / 2
    on_fakes.backward()
    return (on_reals + on_fakes).detach(), gradients(discriminator)


def first_adam_step(weights: list[Tensor], gradient: list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    """Both bias-corrected moments of the first step are the gradient's own: w - rate g / (|g| + 1e-8)."""
    return [w - LEARNING_RATE * g / (g.abs() + 1e-8) for w, g in zip(weights, gradient, strict=True)]


def weights_of(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.parametrize("guidance", ["aesop", "pixel"])
def test_adversarial_step_equals_the_formulas(scene: Scene, guidance: str) -> None:
    loss = LossConfig.model_validate(LOSS.model_dump() | {"guidance": guidance})
    state = scene.state
    terms, generator_gradients, sr = plain_generator_step(scene, loss)
    terms["discriminator"], discriminator_gradients = plain_discriminator_step(scene, sr)
    generator_weights, discriminator_weights = weights_of(state.model), weights_of(state.discriminators["adversarial"])

    autoencoder = scene.autoencoder if guidance == "aesop" else None
    generator_loss = GeneratorLoss(loss, GuidanceInputs(autoencoder), perceptual=scene.perceptual)
    found = adversarial_step(generator_loss)(state, scene.lq, scene.hr)

    assert found.keys() == terms.keys()
    assert {name: float(term) for name, term in found.items()} == pytest.approx(
        {name: float(term) for name, term in terms.items()}, rel=1e-8
    )
    assert close(gradients(state.model), generator_gradients)
    assert close(gradients(state.discriminators["adversarial"]), discriminator_gradients)
    assert close(weights_of(state.model), first_adam_step(generator_weights, generator_gradients))
    assert close(
        weights_of(state.discriminators["adversarial"]), first_adam_step(discriminator_weights, discriminator_gradients)
    )
    assert not any(term.requires_grad for term in found.values())


def test_discriminator_sees_the_images_from_before_the_generator_moved(scene: Scene) -> None:
    before = copy.deepcopy(scene)
    generator_loss = GeneratorLoss(LOSS, GuidanceInputs(scene.autoencoder), perceptual=scene.perceptual)
    adversarial_step(generator_loss)(scene.state, scene.lq, scene.hr)
    moved_sr = scene.state.model(scene.lq).detach()
    for sr, is_right in ((before.state.model(before.lq).detach(), True), (moved_sr, False)):
        _, expected = plain_discriminator_step(before, sr)
        assert close(gradients(scene.state.discriminators["adversarial"]), expected) is is_right


def test_a_second_step_starts_from_fresh_gradients(scene: Scene) -> None:
    step = adversarial_step(GeneratorLoss(LOSS, GuidanceInputs(scene.autoencoder), perceptual=scene.perceptual))
    step(scene.state, scene.lq, scene.hr)
    _, generator_gradients, sr = plain_generator_step(scene, LOSS)
    _, discriminator_gradients = plain_discriminator_step(scene, sr)
    step(scene.state, scene.lq, scene.hr)
    assert close(gradients(scene.state.model), generator_gradients)
    assert close(gradients(scene.state.discriminators["adversarial"]), discriminator_gradients)


def test_real_and_fake_batches_pass_the_discriminator_separately(scene: Scene) -> None:
    seen: list[tuple[torch.Size, bool]] = []
    discriminator = scene.state.discriminators["adversarial"]
    discriminator.register_forward_hook(lambda module, args, _: seen.append((args[0].shape, module.training)))
    generator_loss = GeneratorLoss(LOSS, GuidanceInputs(scene.autoencoder), perceptual=scene.perceptual)
    adversarial_step(generator_loss)(scene.state, scene.lq, scene.hr)
    assert seen == [(scene.hr.shape, True)] * 2  # real and fake, once for G and D; batch norm in train mode


def test_frozen_networks_get_no_gradient(scene: Scene) -> None:
    generator_loss = GeneratorLoss(LOSS, GuidanceInputs(scene.autoencoder), perceptual=scene.perceptual)
    ema_weights = weights_of(scene.state.ema)
    adversarial_step(generator_loss)(scene.state, scene.lq, scene.hr)
    for network in (scene.autoencoder, scene.perceptual, scene.state.ema):
        assert all(parameter.grad is None for parameter in network.parameters())
    assert close(weights_of(scene.state.ema), ema_weights)  # the loop moves it, not the step


@pytest.mark.parametrize("off", ["fidelity", "ldl", "perceptual", "adversarial"])
def test_a_term_of_weight_zero_is_not_computed(scene: Scene, off: str) -> None:
    loss = LossConfig.model_validate(LOSS.model_dump() | {off: 0})
    calls = {"fidelity": 0, "ldl": 0}
    scene.autoencoder.register_forward_hook(lambda *_: calls.update(fidelity=calls["fidelity"] + 1))
    scene.state.ema.register_forward_hook(lambda *_: calls.update(ldl=calls["ldl"] + 1))
    if off == "adversarial":
        scene.state.discriminators, scene.state.discriminator_optimisers = {}, {}
    generator_loss = GeneratorLoss(
        loss,
        GuidanceInputs(scene.autoencoder if loss.uses_autoencoder else None),
        perceptual=scene.perceptual if loss.perceptual else None,
    )
    terms = adversarial_step(generator_loss)(scene.state, scene.lq, scene.hr)
    assert terms.keys() == {"fidelity", "ldl", "perceptual", "adversarial", "discriminator", "pixel"} - (
        {off, "discriminator"} if off == "adversarial" else {off}
    )
    calls["perceptual"] = scene.perceptual.calls
    assert {name: count > 0 for name, count in calls.items()} == {name: name != off for name in calls}


def test_fidelity_step_descends_l1(scene: Scene) -> None:
    generator = copy.deepcopy(scene.state.model)
    loss = (generator(scene.lq) - scene.hr).abs().mean()
    expected = torch.autograd.grad(loss, list(generator.parameters()))
    weights = weights_of(generator)
    found = fidelity_step(scene.state, scene.lq, scene.hr)
    assert {name: float(term) for name, term in found.items()} == {"pixel": pytest.approx(loss.item(), rel=1e-12)}
    assert close(gradients(scene.state.model), expected)
    assert close(weights_of(scene.state.model), first_adam_step(weights, expected))


@pytest.mark.parametrize("channels", [3, 5])
def test_autoencoder_step_equals_the_formula(scene: Scene, channels: int) -> None:
    torch.manual_seed(channels)
    network = Autoencoder(channels, 4, features=16, blocks=1, growth=4, decoder="msrresnet").double()
    state = new_state(network, Optimiser(learning_rate=LEARNING_RATE))
    plain = copy.deepcopy(network)
    code = plain.encode(scene.hr)
    reconstruction = (plain.decode(code) - scene.hr).abs().mean()
    colours = (code[:, :3] - scene.lq).abs().mean()
    expected = torch.autograd.grad(reconstruction + 0.25 * colours, list(plain.parameters()))
    found = autoencoder_step(bottleneck_weight=0.25)(state, scene.lq, scene.hr)
    assert {name: float(term) for name, term in found.items()} == pytest.approx(
        {"pixel": reconstruction.item(), "bottleneck": colours.item()}, rel=1e-10
    )
    assert close(gradients(network), expected)
    assert close(weights_of(network), first_adam_step(weights_of(plain), expected))


def test_bottleneck_term_of_weight_zero_is_not_computed(scene: Scene) -> None:
    network = Autoencoder(2, 4, features=16, blocks=1, growth=4, decoder="msrresnet").double()
    state = new_state(network, Optimiser())
    found = autoencoder_step()(state, torch.full_like(scene.lq, torch.nan), scene.hr)
    assert found.keys() == {"pixel"}
    assert torch.isfinite(found["pixel"])
    assert len(gradients(network)) == len(list(network.parameters()))
