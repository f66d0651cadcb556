"""Every setting of a configuration reaches the network that is built from it."""

import pytest
import torch

from study.config import AutoencoderConfig, Budget, GeneratorConfig, Optimiser
from study.models import Autoencoder, MSRResNet, RRDBNet
from study.models.build import build_autoencoder, build_generator


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rrdb_generator(scale: int) -> None:
    network = build_generator(GeneratorConfig(name="rrdb", features=6, blocks=2, growth=5), scale)
    assert isinstance(network, RRDBNet)
    assert shapes(network) == shapes(RRDBNet(6, 2, 5, scale))
    assert network(torch.rand(1, 3, 4, 6)).shape == (1, 3, 4 * scale, 6 * scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_msrresnet_generator(scale: int) -> None:
    network = build_generator(GeneratorConfig(name="msrresnet", features=6, blocks=2), scale)
    assert isinstance(network, MSRResNet)
    assert shapes(network) == shapes(MSRResNet(6, 2, scale))
    assert network(torch.rand(1, 3, 4, 5)).shape == (1, 3, 4 * scale, 5 * scale)


def test_initial_weights_follow_init_scale() -> None:
    spreads = []
    for init_scale in (0.1, 0.5):
        torch.manual_seed(0)
        network = build_generator(GeneratorConfig(name="msrresnet", features=8, blocks=1, init_scale=init_scale), 4)
        spreads.append(network.get_parameter("body.0.conv1.weight").std().item())
    assert spreads[1] / spreads[0] == pytest.approx(5, rel=1e-5)


@pytest.mark.parametrize(("decoder", "factor"), [("rrdb", 4), ("rrdb", 2), ("msrresnet", 3)])
@pytest.mark.parametrize("bicubic_skip", [False, True])
def test_autoencoder(decoder: str, factor: int, bicubic_skip: bool) -> None:
    config = AutoencoderConfig(
        bottleneck_channels=5,
        factor=factor,
        features=16,
        blocks=1,
        growth=4,
        decoder=decoder,
        bicubic_skip=bicubic_skip,
        budget=Budget(iterations=1, batch=1, patch=48),
        optimiser=Optimiser(),
    )
    network = build_autoencoder(config)
    expected = Autoencoder(5, factor, features=16, blocks=1, growth=4, decoder=decoder, bicubic_skip=bicubic_skip)
    assert shapes(network) == shapes(expected)
    assert (network.factor, network.bicubic_skip) == (factor, bicubic_skip)
    images = torch.rand(1, 3, 24, 36)
    assert network.encode(images).shape == (1, 5, 24 // factor, 36 // factor)
    assert network(images).shape == images.shape
