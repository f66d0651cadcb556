"""Some steps of ours against as many of a plain transcription of the official trainer: the same weights.

In float64, where rounding does not hide anything; the benchmark (`benchmarks/step.py`) says what float32 makes of it.
"""

import copy

import pytest
import torch
from torch import nn

from benchmarks.official_step import AutoEncoder, Discriminator, Generator, OfficialStep
from study.config import LossConfig, Optimiser
from study.losses.generator_loss import GeneratorLoss
from study.losses.guidance import GuidanceInputs
from study.losses.perceptual import PerceptualLoss
from study.models import Autoencoder, RRDBNet, VGGDiscriminator
from study.training.state import new_state, update_ema
from study.training.steps import adversarial_step

STEPS = 8
LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}  # of VGG-19, as ESRGAN weighs them (docs/methods/aesop.md)


def stack() -> nn.Sequential:
    """VGG-19's layers, four channels wide throughout."""
    layers: list[nn.Module] = []
    for convolutions in (2, 2, 4, 4, 4):
        for _ in range(convolutions):
            layers += [nn.Conv2d(4 if layers else 3, 4, 3, padding=1), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:35]).double()


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in network.named_parameters()}


def test_some_steps_end_at_the_same_weights() -> None:
    torch.manual_seed(11)
    generator, autoencoder = Generator(16, 1, 4).double(), AutoEncoder(16, 1, 4).double()
    discriminator, vgg = Discriminator(2, 128).double(), stack()
    official = OfficialStep(*map(copy.deepcopy, (generator, discriminator, autoencoder, vgg)))

    ours, critic = RRDBNet(16, 1, 4).double(), VGGDiscriminator(128, 2).double()
    frozen = Autoencoder(3, 4, 16, 1, 4).double()
    ours.load_state_dict(generator.state_dict())
    critic.load_state_dict(discriminator.state_dict())
    frozen.load_state_dict(autoencoder.state_dict())
    for layer in vgg:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    state = new_state(ours, Optimiser(), discriminators={"adversarial": critic})
    generator_loss = GeneratorLoss(
        LossConfig(),
        GuidanceInputs(frozen.requires_grad_(False)),
        perceptual=PerceptualLoss(vgg, layers=LAYERS).double(),
    )
    step = adversarial_step(generator_loss)
    start = weights(copy.deepcopy(ours))

    for _ in range(STEPS):
        hr = torch.rand(2, 3, 128, 128, dtype=torch.float64)
        lq = nn.functional.avg_pool2d(hr, 4)
        losses = official.step(lq, hr)
        terms = step(state, lq, hr)
        update_ema(state, 0.999)
        assert float(terms["fidelity"]) == pytest.approx(losses["l_g_aesop"], rel=1e-9)
        assert float(terms["ldl"]) == pytest.approx(losses["l_g_artifacts"], rel=1e-9)
        assert float(terms["perceptual"]) == pytest.approx(losses["l_g_percep"], rel=1e-9)
        assert 5e-3 * float(terms["adversarial"]) == pytest.approx(losses["l_g_gan"], rel=1e-9)
        assert float(terms["discriminator"]) == pytest.approx(losses["l_d_real"] + losses["l_d_fake"], rel=1e-9)

    pairs = [(official.net_g, state.model), (official.net_d, critic), (official.net_g_ema, state.ema)]
    for theirs, found in pairs:
        expected = weights(theirs)
        for name, weight in weights(found).items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-7, atol=1e-10)
    moved = max(float((weight - start[name]).abs().max()) for name, weight in weights(state.model).items())
    assert moved > 1e-4  # and they did go somewhere
