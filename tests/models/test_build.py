"""Every setting of a configuration reaches the network that is built from it."""

import copy

import pytest
import torch

from study.config import (
    AutoencoderConfig,
    Budget,
    DiscriminatorConfig,
    MSRResNetConfig,
    Optimiser,
    RRDBConfig,
    SwinIRConfig,
    generator_config,
)
from study.models import Autoencoder, MSRResNet, RRDBNet
from study.models.build import build_autoencoder, build_discriminator, build_generator


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_rrdb_generator(scale: int) -> None:
    network = build_generator(RRDBConfig(features=6, blocks=2, growth=5), scale)
    assert isinstance(network, RRDBNet)
    assert shapes(network) == shapes(RRDBNet(6, 2, 5, scale))
    assert network(torch.rand(1, 3, 4, 6)).shape == (1, 3, 4 * scale, 6 * scale)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_msrresnet_generator(scale: int) -> None:
    network = build_generator(MSRResNetConfig(features=6, blocks=2), scale)
    assert isinstance(network, MSRResNet)
    assert shapes(network) == shapes(MSRResNet(6, 2, scale))
    assert network(torch.rand(1, 3, 4, 5)).shape == (1, 3, 4 * scale, 5 * scale)


def test_initial_weights_follow_init_scale() -> None:
    spreads = []
    for init_scale in (0.1, 0.5):
        torch.manual_seed(0)
        network = build_generator(MSRResNetConfig(features=8, blocks=1, init_scale=init_scale), 4)
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


PUBLISHED = {
    # The counts of docs/methods/generators.md.
    ("rrdb", 2): 16_703_171,
    ("rrdb", 4): 16_697_987,
    ("swinir", 2): 11_752_487,
    ("swinir", 3): 11_937_127,
    ("swinir", 4): 11_900_199,
    ("msrresnet", 2): 1_369_859,
    ("msrresnet", 3): 1_554_499,
    ("msrresnet", 4): 1_517_571,
    ("spsr", 4): 24_796_230,
}
FULL: dict[str, dict[str, int]] = {"swinir": {"features": 180, "blocks": 6}, "msrresnet": {"blocks": 16}}
SMALL: dict[str, dict[str, int]] = {
    "rrdb": {"features": 6, "blocks": 1, "growth": 4},
    "msrresnet": {"features": 6, "blocks": 1},
    "swinir": {"features": 12, "blocks": 1, "depth": 2, "heads": 2, "window": 4},
    "spsr": {"features": 6, "blocks": 4, "growth": 4},
}


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "scale"), PUBLISHED)
def test_generators_have_the_published_parameter_counts(name: str, scale: int) -> None:
    config = generator_config({"name": name, **FULL.get(name, {})})
    assert count(build_generator(config, scale)) == PUBLISHED[name, scale]


@pytest.mark.parametrize(
    ("name", "patch", "margin", "expected"),
    [
        ("vgg", 128, 0, 14_499_401),
        ("vgg", 256, 0, 21_055_049),
        ("spsr", 128, 0, 14_502_281),
        ("spsr", 128, 2, 14_502_281),
        ("unet", 256, 0, 4_376_897),
    ],
)
def test_discriminators_have_the_published_parameter_counts(name: str, patch: int, margin: int, expected: int) -> None:
    config = DiscriminatorConfig.model_validate({"name": name})
    assert count(build_discriminator(config, patch, margin=margin)) == expected


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", SMALL)
def test_every_generator_enlarges_by_every_scale(name: str, scale: int) -> None:
    network = build_generator(generator_config({"name": name, **SMALL[name]}), scale)
    lq = torch.rand(2, 3, 6, 10)
    image = network(lq)
    assert image.shape == (2, 3, 6 * scale, 10 * scale)
    image.sum().backward()
    untouched = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert all(part.startswith("branch.conv_image") for part in untouched)  # it serves the branch loss alone


def test_settings_of_swinir_reach_it() -> None:
    config = SwinIRConfig(features=12, blocks=2, depth=2, heads=3, window=4, mlp_ratio=1.5, drop_path=0.3)
    network = build_generator(config, 4)
    state = network.state_dict()
    assert state["layers.1.residual_group.blocks.1.attn.relative_position_bias_table"].shape == (49, 3)
    assert state["layers.0.residual_group.blocks.0.mlp.fc1.weight"].shape == (18, 12)
    assert "layers.2.norm.weight" not in state
    assert network.layers[1].residual_group.blocks[1].drop_path.drop_prob == pytest.approx(0.3)
    head = build_generator(config.model_copy(update={"upsampler": "nearest+conv"}), 4).state_dict()
    assert "conv_up2.weight" in head


def test_swinir_drops_paths_in_training_alone() -> None:
    network = build_generator(generator_config({"name": "swinir", **SMALL["swinir"], "drop_path": 0.5}), 4)
    lq = torch.rand(4, 3, 8, 8)
    outputs = [network.train(mode)(lq) for mode in (True, True, False, False)]
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[2], outputs[3])


@pytest.mark.parametrize("name", ["rrdb", "swinir", "spsr"])
def test_a_bilinear_skip_adds_the_enlarged_input(name: str) -> None:
    networks = []
    for skip in (False, True):
        torch.manual_seed(3)
        config = generator_config({"name": name, **SMALL[name], "bilinear_skip": skip})
        networks.append(build_generator(config, 4).eval())
    assert networks[0].state_dict().keys() == networks[1].state_dict().keys()
    lq = torch.rand(1, 3, 8, 8)
    enlarged = torch.nn.functional.interpolate(lq, scale_factor=4, mode="bilinear")
    torch.testing.assert_close(networks[1](lq), networks[0](lq) + enlarged)
    torch.testing.assert_close(copy.deepcopy(networks[1])(lq), networks[1](lq))  # as the average is a copy
    if name == "spsr":
        torch.testing.assert_close(networks[1](lq, with_branch=True)[1], networks[0](lq, with_branch=True)[1])


@pytest.mark.parametrize("encoder", ["learned", "bicubic"])
@pytest.mark.parametrize("scale_head", [False, True])
def test_kinds_of_auto_encoders(encoder: str, scale_head: bool) -> None:
    config = AutoencoderConfig(
        features=16,
        blocks=1,
        growth=4,
        encoder=encoder,
        budget=Budget(iterations=1, batch=1, patch=48),
        optimiser=Optimiser(),
    )
    network = build_autoencoder(config, scale_head=scale_head)
    assert (network.encoder_name, network.scale_head is not None) == (encoder, scale_head)
