"""The VGG-style discriminator against METHODS 3.1, and the rule for its patch size."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.models import VGGDiscriminator
from study.patch_rule import check_discriminator_patch

State = dict[str, Tensor]


def batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    """Normalise by the batch's own statistics, as in training."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    weight, bias = (state[f"{name}.{kind}"].reshape(1, -1, 1, 1) for kind in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def slope(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def transcription(state: State, x: Tensor, *, stages: int) -> Tensor:
    x = slope(F.conv2d(x, state["conv0_0.weight"], state["conv0_0.bias"], padding=1))
    x = slope(batch_norm(state, "bn0_1", F.conv2d(x, state["conv0_1.weight"], stride=2, padding=1)))
    for i in range(1, stages):
        x = slope(batch_norm(state, f"bn{i}_0", F.conv2d(x, state[f"conv{i}_0.weight"], padding=1)))
        x = slope(batch_norm(state, f"bn{i}_1", F.conv2d(x, state[f"conv{i}_1.weight"], stride=2, padding=1)))
    x = slope(x.reshape(len(x), -1) @ state["linear1.weight"].T + state["linear1.bias"])
    return x @ state["linear2.weight"].T + state["linear2.bias"]


@pytest.mark.parametrize(("patch_size", "count"), [(128, 14_499_401), (256, 21_055_049)])
def test_parameter_count_is_the_published_one(patch_size: int, count: int) -> None:
    network = VGGDiscriminator(patch_size)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(("patch_size", "stages"), [(32, 5), (64, 5), (96, 5), (256, 6), (320, 6)])
def test_logits_and_gradient_equal_a_plain_transcription(patch_size: int, stages: int) -> None:
    torch.manual_seed(patch_size)
    network = VGGDiscriminator(patch_size, features=3).double()
    for name, tensor in network.named_parameters():
        if name.startswith("bn"):
            tensor.data.copy_(torch.rand_like(tensor) + 0.5)
    patches = torch.rand(3, 3, patch_size, patch_size, dtype=torch.float64, requires_grad=True)
    theirs = transcription(network.state_dict(), patches, stages=stages)
    ours = network(patches)
    assert ours.shape == (3, 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-7)
    weight = torch.rand_like(ours)
    (our_gradient,) = torch.autograd.grad((ours * weight).sum(), patches)
    (their_gradient,) = torch.autograd.grad((theirs * weight).sum(), patches)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("patch_size", "stages", "head_side"),
    [(32, 5, 1), (64, 5, 2), (128, 5, 4), (192, 5, 6), (224, 5, 7), (256, 6, 4), (320, 6, 5), (512, 6, 8)],
)
def test_head_fits_the_patch(patch_size: int, stages: int, head_side: int) -> None:
    network = VGGDiscriminator(patch_size, features=2)
    logits = network(torch.rand(2, 3, patch_size, patch_size))
    assert network.linear1.in_features == 8 * 2 * head_side**2
    assert f"conv{stages - 1}_1.weight" in network.state_dict()
    assert f"conv{stages}_1.weight" not in network.state_dict()
    assert logits.shape == (2, 1)


def test_names_are_basicsr_names() -> None:
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    norms = [f"bn{i}_{j}.{kind}" for i in range(5) for j in (0, 1) if (i, j) != (0, 0) for kind in statistics]
    convs = [f"conv{i}_{j}.weight" for i in range(5) for j in (0, 1)]
    head = [f"linear{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")]
    assert set(VGGDiscriminator(128, features=2).state_dict()) == {*norms, *convs, *head, "conv0_0.bias"}


@pytest.mark.parametrize("patch_size", [32, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512])
def test_supported_patch_sizes_pass(patch_size: int) -> None:
    check_discriminator_patch(patch_size)
    assert VGGDiscriminator(patch_size, features=1).linear2.out_features == 1


@pytest.mark.parametrize(
    ("patch_size", "nearest"),
    [
        (100, "96 or 128"),
        (250, "224 or 256"),
        (288, "256 or 320"),
        (31, "32"),
        (0, "32"),
        (-32, "32"),
        (129, "128 or 160"),
    ],
)
def test_unsupported_patch_size_is_refused_with_the_nearest(patch_size: int, nearest: str) -> None:
    message = re.escape(f"got patch_size={patch_size}; the nearest allowed: {nearest}") + "$"
    with pytest.raises(ValueError, match=message):
        check_discriminator_patch(patch_size)
    with pytest.raises(ValueError, match=message):
        VGGDiscriminator(patch_size)


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 3, 32, 64), (2, 1, 32, 32), (3, 32, 32)])
def test_patches_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    network = VGGDiscriminator(32, features=2)
    with pytest.raises(ValueError, match=re.escape(f"(N, 3, 32, 32), but got {shape}")):
        network(torch.rand(shape))
