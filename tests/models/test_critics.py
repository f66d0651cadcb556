"""MDF's networks: parameter counts, sizes, names and widths of the released files."""

import pytest
import torch
from torch import nn

from study.models import Critics
from study.models.critics import Critic, CriticGenerator, critic_width


@pytest.mark.parametrize(("width", "count"), [(32, 29_185), (64, 113_665), (128, 448_513)])
def test_parameter_counts_are_those_of_the_released_files(width: int, count: int) -> None:
    assert sum(parameter.numel() for parameter in Critic(width).parameters()) == count


def test_widths_double_every_four_levels() -> None:
    assert [critic_width(level) for level in range(13)] == [32] * 4 + [64] * 4 + [128] * 5


def test_a_critic_scores_each_window_of_eleven_pixels() -> None:
    torch.manual_seed(0)
    critic = Critic(4).eval()
    images = torch.rand(2, 3, 15, 13)
    scores = critic(images)
    assert scores.shape == (2, 1, 5, 3)
    torch.testing.assert_close(scores[:, :, 2:3, 1:2], critic(images[..., 2:13, 1:12]))
    assert [tuple(feature.shape[1:]) for feature in critic.features(images)] == [(4, 13, 11), (4, 7, 5), (1, 5, 3)]


def test_a_generator_adds_detail_to_an_image_of_its_size() -> None:
    torch.manual_seed(0)
    generator = CriticGenerator(4).eval()
    images = torch.rand(1, 3, 12, 9)
    detail = generator(images) - images
    assert detail.shape == (1, 3, 12, 9)
    assert 0 < detail.abs().max() <= 1  # tanh
    nn.init.zeros_(generator.tail[0].weight)
    nn.init.zeros_(generator.tail[0].bias)
    assert torch.equal(generator(images), images)


def test_names_are_singans() -> None:
    """Released discriminators then load from a plain state dict."""
    layers = ["head", "body.block1", "body.block2", "body.block3"]
    names = [f"{layer}.{part}" for layer in layers for part in ("conv", "norm")] + ["tail"]
    assert list(dict(Critic(2).named_parameters())) == [
        f"{name}.{part}" for name in names for part in ("weight", "bias")
    ]


def test_weights_start_as_singans() -> None:
    torch.manual_seed(0)
    critic = Critic(64)
    convs = torch.cat([m.weight.flatten() for m in critic.modules() if isinstance(m, nn.Conv2d)])
    norms = torch.cat([m.weight.flatten() for m in critic.modules() if isinstance(m, nn.BatchNorm2d)])
    assert convs.std().item() == pytest.approx(0.02, rel=0.02)
    assert (norms.mean().item(), norms.std().item()) == (pytest.approx(1, abs=0.01), pytest.approx(0.02, rel=0.2))


def test_critics_are_frozen_and_always_in_eval_mode() -> None:
    critics = Critics(levels=9)
    counts = [sum(parameter.numel() for parameter in critic.parameters()) for critic in critics.levels]
    assert counts == [29_185] * 4 + [113_665] * 4 + [448_513]
    critics.train()
    assert not any(module.training for module in critics.modules())
    assert not any(parameter.requires_grad for parameter in critics.parameters())
