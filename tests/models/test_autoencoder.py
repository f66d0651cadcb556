"""The auto-encoder against docs/methods/aesop.md and plain transcriptions."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.data.bicubic import bicubic_downsample
from study.models import Autoencoder, MSRResNet, RRDBNet

State = dict[str, Tensor]


def conv(state: State, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)


def slope(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def unshuffle(x: Tensor, r: int) -> Tensor:
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // r, r, w // r, r).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(n, c * r * r, h // r, w // r)


def dense_block(state: State, name: str, x: Tensor) -> Tensor:
    seen = [x]
    for k in (1, 2, 3, 4):
        seen.append(slope(conv(state, f"{name}.conv{k}", torch.cat(seen, 1))))
    return x + 0.2 * conv(state, f"{name}.conv5", torch.cat(seen, 1))


def encoder_transcription(state: State, hr: Tensor, *, factor: int) -> Tensor:
    x = conv(state, "conv_first.1", conv(state, "conv_first.0", hr))
    x = unshuffle(unshuffle(x, 2), 2) if factor == 4 else unshuffle(x, factor)
    if "conv_match.weight" in state:
        weight = state["conv_match.weight"][:, :, 0, 0]
        x = torch.einsum("oc,nchw->nohw", weight, x) + state["conv_match.bias"].reshape(1, -1, 1, 1)
    for i in (0, 1):
        y = x
        for j in (1, 2, 3):
            y = dense_block(state, f"body.{i}.rdb{j}", y)
        x = x + 0.2 * y
    return conv(state, "conv_last.1", conv(state, "conv_last.0", x))


def with_random_weights(network: nn.Module) -> nn.Module:
    network = network.double()
    for tensor in network.state_dict().values():
        tensor.copy_(0.2 * torch.randn(tensor.shape, dtype=torch.float64))
    return network


def silence_encoder(autoencoder: Autoencoder) -> None:
    """Leave only the bicubic skip in the bottleneck."""
    for tensor in autoencoder.conv_last[1].parameters():
        tensor.data.zero_()


def test_parameter_counts_are_the_published_ones() -> None:
    network = Autoencoder()
    decoder = sum(parameter.numel() for parameter in network.decoder.parameters())
    total = sum(parameter.numel() for parameter in network.parameters())
    assert (total - decoder, decoder, total) == (1_477_767, 16_697_987, 18_175_754)


@pytest.mark.parametrize("features", [16, 18, 8])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_encoder_equals_a_plain_transcription(factor: int, features: int, channels: int) -> None:
    torch.manual_seed(factor)
    network = with_random_weights(Autoencoder(channels, factor, features, blocks=1, growth=2))
    hr = torch.rand(2, 3, 12, 24, dtype=torch.float64)
    bottleneck = network.encode(hr)
    assert bottleneck.shape == (2, channels, 12 // factor, 24 // factor)
    theirs = encoder_transcription(network.state_dict(), hr, factor=factor)
    torch.testing.assert_close(bottleneck, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("features", "factor", "stem", "match"),
    [
        (64, 4, 4, None),
        (64, 2, 16, None),
        (72, 3, 8, None),
        (64, 3, 7, (64, 63)),
        (16, 4, 1, None),
        (8, 4, 1, (8, 16)),
    ],
)
def test_stem_width_keeps_the_trunk_width(features: int, factor: int, stem: int, match: tuple[int, int] | None) -> None:
    state = Autoencoder(3, factor, features, blocks=1, growth=2).state_dict()
    assert state["conv_first.0.weight"].shape == (stem, 3, 3, 3)
    assert ("conv_match.weight" in state) == (match is not None)
    if match:
        assert state["conv_match.weight"].shape == (*match, 1, 1)


@pytest.mark.parametrize(
    ("decoder", "factor", "multiple"),
    [
        ("rrdb", 1, 4),
        ("rrdb", 2, 4),
        ("rrdb", 3, 3),
        ("rrdb", 4, 4),
        ("msrresnet", 2, 2),
        ("msrresnet", 4, 4),
    ],
)
def test_reconstruction_is_the_decoded_code_and_keeps_the_shape(decoder: str, factor: int, multiple: int) -> None:
    torch.manual_seed(0)
    network = Autoencoder(2, factor, features=8, blocks=1, growth=2, decoder=decoder)
    hr = torch.rand(1, 3, 3 * multiple, 5 * multiple)
    reconstruction = network(hr)
    assert network.input_multiple == multiple
    assert reconstruction.shape == hr.shape
    assert torch.equal(reconstruction, network.decode(network.encode(hr)))
    with pytest.raises(ValueError, match=rf"Autoencoder needs images .* multiples of {multiple}, but got"):
        network(torch.rand(1, 3, 3 * multiple + 1, 5 * multiple))


def test_names_are_aesop_names_without_the_duplicate() -> None:
    encoder = [f"body.{i}.rdb{j}.conv{k}" for i in (0, 1) for j in (1, 2, 3) for k in (1, 2, 3, 4, 5)]
    encoder += ["conv_first.0", "conv_first.1", "conv_last.0", "conv_last.1"]
    decoder = [f"decoder.{name}" for name in RRDBNet(16, 1, 2).state_dict()]
    names = {f"{name}.{kind}" for name in encoder for kind in ("weight", "bias")}
    assert set(Autoencoder(3, 4, 16, blocks=1, growth=2).state_dict()) == names | set(decoder)


def test_encoder_starts_small() -> None:
    torch.manual_seed(0)
    plain = Autoencoder(16, 4, 64, blocks=1, growth=4)
    skipping = Autoencoder(16, 4, 64, blocks=1, growth=4, bicubic_skip=True)
    small = 0.1 * (2 / (64 * 9)) ** 0.5
    assert plain.conv_last[0].weight.std().item() == pytest.approx(small, rel=0.03)
    assert plain.conv_last[1].weight.std().item() == pytest.approx(small, rel=0.05)
    assert skipping.conv_last[1].weight.std().item() == pytest.approx(0.1 * small, rel=0.05)
    assert not plain.conv_first[0].bias.any()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_bicubic_skip_fills_the_first_three_channels(factor: int) -> None:
    torch.manual_seed(0)
    network = Autoencoder(5, factor, 16, blocks=1, growth=2, bicubic_skip=True).double()
    hr = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    with_encoder = network.encode(hr)
    encoded = encoder_transcription(network.state_dict(), hr, factor=factor)
    lq = hr if factor == 1 else bicubic_downsample(hr, factor)
    torch.testing.assert_close(with_encoder[:, :3], encoded[:, :3] + lq, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(with_encoder[:, 3:], encoded[:, 3:], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("channels", [3, 5])
@pytest.mark.parametrize(("decoder", "factor"), [("rrdb", 4), ("rrdb", 2), ("rrdb", 3), ("msrresnet", 4)])
def test_skipping_autoencoder_starts_as_generator_of_bicubic(decoder: str, factor: int, channels: int) -> None:
    torch.manual_seed(0)
    generator = RRDBNet(8, 1, 2, factor) if decoder == "rrdb" else MSRResNet(8, 1, factor)
    with_random_weights(generator)
    network = Autoencoder(channels, factor, 8, 1, 2, decoder, bicubic_skip=True).double()
    silence_encoder(network)
    partly = network.load_fidelity(generator.state_dict())
    hr = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    assert partly == ([] if channels == 3 else ["conv_first.weight"])
    further_weights = network.decoder.conv_first.weight[:, generator.conv_first.in_channels :]
    assert not further_weights.any()
    torch.testing.assert_close(network(hr), generator(bicubic_downsample(hr, factor)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_fidelity_weights_of_another_bottleneck_are_copied_in_part(channels: int) -> None:
    torch.manual_seed(0)
    generator = RRDBNet(8, 1, 2, 2)
    network = Autoencoder(channels, 2, 8, blocks=1, growth=2)
    before = {name: tensor.clone() for name, tensor in network.decoder.state_dict().items()}
    assert network.load_fidelity(generator.state_dict()) == ["conv_first.weight"]
    after = network.decoder.state_dict()
    shared = 4 * min(3, channels)  # the x2 generator un-shuffles each channel into four
    first = "conv_first.weight"
    assert torch.equal(after[first][:, :shared], generator.state_dict()[first][:, :shared])
    assert torch.equal(after[first][:, shared:], before[first][:, shared:])
    assert all(torch.equal(after[name], tensor) for name, tensor in generator.state_dict().items() if name != first)


@pytest.mark.parametrize("channels", [3, 6])
@pytest.mark.parametrize(
    ("generator", "problem"),
    [
        (MSRResNet(8, 1, 4), "unexpected"),
        (RRDBNet(8, 1, 2, 3), r"2 missing \(conv_up2.weight, conv_up2.bias\)"),
        (RRDBNet(8, 1, 2, 2), r"conv_first.weight is \(8, 12, 3, 3\), needs \(8, 3, 3, 3\)"),
        (RRDBNet(8, 2, 2, 4), r"30 unexpected \(body.1"),
        (RRDBNet(4, 1, 2, 4), "wrongly shaped"),
    ],
    ids=["architecture", "scale 3", "scale 2", "blocks", "features"],
)
def test_fidelity_weights_that_do_not_fit_are_refused(generator: nn.Module, problem: str, channels: int) -> None:
    network = Autoencoder(channels, 4, 8, blocks=1, growth=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=rf"fidelity generator's state does not fit RRDBNet\(.*{problem}"):
        network.load_fidelity(generator.state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_gradient_reaches_the_image_through_a_frozen_network() -> None:
    torch.manual_seed(0)
    network = Autoencoder(3, 4, 8, 1, 2, "msrresnet", bicubic_skip=True).requires_grad_(False)
    sr = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(sr).sum().backward()
    assert sr.grad is not None
    assert sr.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("factor", [0, 5, 8])
def test_unknown_factor_is_refused(factor: int) -> None:
    with pytest.raises(ValueError, match=rf"1, 2, 3 or 4, as the decoders' up-scaling, but got factor={factor}"):
        Autoencoder(factor=factor)


@pytest.mark.parametrize("decoder", ["rrdb", "msrresnet"])
def test_a_bottleneck_may_be_as_large_as_the_image(decoder: Literal["rrdb", "msrresnet"]) -> None:
    torch.manual_seed(0)
    autoencoder = Autoencoder(factor=1, features=16, blocks=1, growth=4, decoder=decoder)
    images = torch.rand(2, 3, 8, 12)
    bottleneck = autoencoder.encode(images)
    assert bottleneck.shape == images.shape
    assert autoencoder.decode(bottleneck).shape == images.shape


def test_unknown_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="rrdb or msrresnet, but got 'swinir'"):
        Autoencoder(decoder="swinir")


@pytest.mark.parametrize("channels", [1, 2])
def test_skip_into_fewer_than_three_channels_is_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"at least 3, but got bottleneck_channels={channels}"):
        Autoencoder(channels, bicubic_skip=True)


def test_empty_bottleneck_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, but got bottleneck_channels=0"):
        Autoencoder(0)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_bicubic_encoder_is_torchs_antialiased_resize(factor: int) -> None:
    network = Autoencoder(3, factor, features=16, blocks=1, growth=2, encoder="bicubic")
    assert all(name.startswith("decoder.") for name, _ in network.named_parameters())
    images = torch.rand(1, 3, 24, 36)
    size = (24 // factor, 36 // factor)
    expected = F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(network.encode(images), expected)
    # Away from the borders it is MATLAB's.
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(network.encode(images)[inside], bicubic_downsample(images, factor)[inside])


@pytest.mark.parametrize(("decoder", "factor"), [("rrdb", 4), ("rrdb", 3), ("rrdb", 2), ("msrresnet", 4)])
def test_the_scale_head_equals_a_plain_transcription(decoder: str, factor: int) -> None:
    """Its input is the sum of the features after the first and after the last block of the decoder's trunk."""
    torch.manual_seed(factor)
    network = Autoencoder(3, factor, 16, 3, 4, decoder, scale_head=True).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    images = torch.rand(1, 3, 24, 24, dtype=torch.float64)
    seen = []
    for block in (network.decoder.body[0], network.decoder.body[-1]):
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    mean, scale = network.distribution(images)
    torch.testing.assert_close(mean, network.decode(network.encode(images)))
    head = network.scale_head
    assert head is not None
    x = head.conv_first(head.block(seen[0] + seen[1]))
    for step, by in enumerate(network.decoder.upsamplings, start=1):
        x = F.leaky_relu(head.get_submodule(f"conv_up{step}")(x.repeat_interleave(by, 2).repeat_interleave(by, 3)), 0.2)
    torch.testing.assert_close(scale, head.conv_last(F.leaky_relu(head.conv_hr(x), 0.2)))
    assert scale.shape == images.shape


def test_a_plain_auto_encoder_has_no_distribution() -> None:
    with pytest.raises(ValueError, match="no scale head; build it with scale_head=True"):
        Autoencoder(3, 4, 16, 1, 2).distribution(torch.rand(1, 3, 16, 16))


def test_a_bicubic_encoder_of_another_bottleneck_is_refused() -> None:
    with pytest.raises(ValueError, match="bottleneck_channels must be 3, but got bottleneck_channels=6"):
        Autoencoder(6, 4, encoder="bicubic")
