"""Interpolations of weights against arithmetic."""

import pytest
import torch
from torch import nn

from study.models import MSRResNet, SRResNet
from study.models.weights import interpolate_states


def test_a_interpolation_is_the_weighted_mean_of_every_weight() -> None:
    first, second = (MSRResNet(8, 1, 2).state_dict() for _ in range(2))

    interpolation = interpolate_states(first, second, 0.25)

    assert interpolation.keys() == first.keys()
    assert all(torch.allclose(interpolation[name], 0.75 * first[name] + 0.25 * second[name]) for name in first)
    assert all(torch.equal(tensor, first[name]) for name, tensor in interpolate_states(first, second, 0).items())
    assert all(torch.equal(tensor, second[name]) for name, tensor in interpolate_states(first, second, 1).items())


def test_counters_stay_the_first_networks() -> None:
    networks = [SRResNet(8, 1, 2) for _ in range(2)]
    networks[1].train()(torch.rand(1, 3, 8, 8))
    first, second = (network.state_dict() for network in networks)
    counter = next(name for name in first if name.endswith("num_batches_tracked"))

    assert second[counter] == 1
    assert interpolate_states(first, second, 0.5)[counter] == 0


def test_networks_that_are_not_alike_are_refused() -> None:
    with pytest.raises(ValueError, match=r"differ in \d+ entries, such as"):
        interpolate_states(MSRResNet(8, 1, 2).state_dict(), MSRResNet(8, 2, 2).state_dict(), 0.5)
    with pytest.raises(ValueError, match=r"differ in 1 entries, such as weight"):
        interpolate_states(nn.Linear(2, 3).state_dict(), nn.Linear(4, 3).state_dict(), 0.5)
