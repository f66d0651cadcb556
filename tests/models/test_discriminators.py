"""The discriminators against plain transcriptions, and the rule for the patch size."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.config.discriminator_patch import check_discriminator_patch
from study.models import UNetDiscriminator, VGGDiscriminator

State = dict[str, Tensor]


def batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    """Normalise by the batch's statistics, as in training."""
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


def test_spsr_variant_has_biases_and_starts_kaiming_normal() -> None:
    torch.manual_seed(0)
    network = VGGDiscriminator(128, 16, biased=True)
    state = network.state_dict()
    assert all(f"conv{stage}_{half}.bias" in state for stage in range(5) for half in (0, 1))
    assert not any(state[name].any() for name in state if name.startswith(("conv", "linear")) and "bias" in name)
    for name in ("conv2_0.weight", "conv4_1.weight", "linear1.weight"):
        fan_in = state[name][0].numel()
        assert state[name].std() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)


@pytest.mark.parametrize(("patch_size", "head_side"), [(32, 1), (64, 2), (128, 4), (256, 4)])
def test_gradient_maps_two_pixels_larger_fit_the_same_head(patch_size: int, head_side: int) -> None:
    network = VGGDiscriminator(patch_size, 1, biased=True, margin=2)
    assert network.linear1.in_features == 8 * head_side**2
    assert network(torch.rand(2, 3, patch_size + 2, patch_size + 2)).shape == (2, 1)
    with pytest.raises(ValueError, match=re.escape(f"(N, 3, {patch_size + 2}, {patch_size + 2})")):
        network(torch.rand(2, 3, patch_size, patch_size))


@pytest.mark.parametrize("margin", [-1, 32])
def test_a_margin_that_would_change_the_head_is_refused(margin: int) -> None:
    with pytest.raises(ValueError, match=f"but got margin={margin}"):
        VGGDiscriminator(32, 1, margin=margin)


def unet_transcription(weights: State, x: Tensor) -> Tensor:
    """Compute the U-Net with weights that are normalised already."""
    levels = [slope(F.conv2d(x, weights["conv0"], weights["bias0"], padding=1))]
    for number in (1, 2, 3):
        levels.append(slope(F.conv2d(levels[-1], weights[f"conv{number}"], stride=2, padding=1)))
    x = levels[3]
    for number, skip in ((4, 2), (5, 1), (6, 0)):
        x = F.interpolate(x, size=levels[skip].shape[-2:], mode="bilinear", align_corners=False)
        x = slope(F.conv2d(x, weights[f"conv{number}"], padding=1)) + levels[skip]
    for number in (7, 8):
        x = slope(F.conv2d(x, weights[f"conv{number}"], padding=1))
    return F.conv2d(x, weights["conv9"], weights["bias9"], padding=1)


def test_unet_equals_a_plain_transcription() -> None:
    torch.manual_seed(1)
    network = UNetDiscriminator(4).double().eval()  # in evaluation the singular values stay as they were estimated
    state = network.state_dict()
    weights = {f"conv{number}": state[f"conv{number}.weight"] for number in (0, 9)}
    weights |= {"bias0": state["conv0.bias"], "bias9": state["conv9.bias"]}
    for number in range(1, 9):
        raw, u, v = (state[f"conv{number}.weight_{kind}"] for kind in ("orig", "u", "v"))
        weights[f"conv{number}"] = raw / (u @ raw.flatten(1) @ v)
    images = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    logits = network(images)
    assert logits.shape == (2, 1, 16, 24)
    torch.testing.assert_close(logits, unet_transcription(weights, images), rtol=1e-10, atol=1e-12)


def test_spectral_norm_tends_to_one_in_training() -> None:
    torch.manual_seed(2)
    network = UNetDiscriminator(4).train()
    for _ in range(200):
        network(torch.zeros(1, 3, 8, 8))
    for number in range(1, 9):
        largest = torch.linalg.matrix_norm(network.get_submodule(f"conv{number}").weight.flatten(1), ord=2)
        assert largest.item() == pytest.approx(1, abs=0.02)


def test_unet_refuses_sides_that_it_cannot_halve_thrice() -> None:
    with pytest.raises(ValueError, match=r"UNetDiscriminator .* multiples of 8, but got 16 x 20"):
        UNetDiscriminator(2)(torch.rand(1, 3, 16, 20))
    check_discriminator_patch(72, "unet")
    with pytest.raises(ValueError, match=r"UNetDiscriminator's patch_size .* got patch_size=70; .* 64 or 72"):
        check_discriminator_patch(70, "unet")
