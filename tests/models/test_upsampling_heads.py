"""Up-sampling heads: layers as in docs/methods/consistency.md, ICNR as its paper defines it."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import Head, MSRResNetConfig, generator_config
from study.data import bicubic_upsample
from study.models import HeadedGenerator, RRDBNet
from study.models.build import build_generator

HEADS = [head for head in get_args(Head) if head != "native"]


def kinds(head: nn.Sequential) -> list[tuple[object, ...]]:
    """Describe the layers of a head."""
    found: list[tuple[object, ...]] = []
    for layer in head:
        match layer:
            case nn.ConvTranspose2d():
                found.append(("deconv", layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.padding[0]))
            case nn.Conv2d():
                found.append(("conv", layer.in_channels, layer.out_channels))
            case nn.PixelShuffle():
                found.append(("shuffle", layer.upscale_factor))
            case nn.Upsample():
                found.append(("nearest", layer.scale_factor))
            case nn.LeakyReLU():
                found.append(("lrelu", layer.negative_slope))
    return found


LRELU = ("lrelu", 0.2)
ENDING = [("conv", 8, 8), LRELU, ("conv", 8, 3)]
EXPECTED = {
    ("espcn", 4): [("conv", 8, 48), ("shuffle", 4)],
    ("espcn", 3): [("conv", 8, 27), ("shuffle", 3)],
    ("sub-pixel", 4): [("conv", 8, 32), ("shuffle", 2), LRELU] * 2 + ENDING,
    ("sub-pixel", 3): [("conv", 8, 72), ("shuffle", 3), LRELU, *ENDING],
    ("nearest", 4): [("nearest", 2.0), ("conv", 8, 8), LRELU] * 2 + ENDING,
    ("nearest", 2): [("nearest", 2.0), ("conv", 8, 8), LRELU, *ENDING],
    ("transposed", 4): [("deconv", 8, 4, 2, 1), LRELU] * 2 + ENDING,
    ("transposed", 3): [("deconv", 8, 9, 3, 3), LRELU, *ENDING],
    ("pre-upsampling", 4): ENDING,
}


@pytest.mark.parametrize(("name", "scale"), EXPECTED)
def test_layers_are_the_tables(name: Head, scale: int) -> None:
    network = HeadedGenerator("msrresnet", name, 8, 1, scale=scale)
    assert kinds(network.head) == EXPECTED[name, scale]


@pytest.mark.parametrize("trunk", ["rrdb", "msrresnet"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_enlarges_by_every_scale(head: Head, scale: int, trunk: str) -> None:
    config = generator_config(
        {"name": trunk, "features": 4, "blocks": 1, "head": head} | ({"growth": 2} if trunk == "rrdb" else {})
    )
    lq = torch.rand(2, 3, 5, 6)
    output = build_generator(config, scale)(lq)
    assert output.shape == (2, 3, 5 * scale, 6 * scale)
    output.sum().backward()


def test_nearest_behind_rrdbs_trunk_is_rrdbnet() -> None:
    torch.manual_seed(0)
    plain, headed = RRDBNet(4, 2, 2), HeadedGenerator("rrdb", "nearest", 4, 2, 2)
    places = {"conv_up1": "head.1", "conv_up2": "head.4", "conv_hr": "head.6", "conv_last": "head.8"}
    renamed = {}
    for name, value in plain.state_dict().items():
        layer = name.rpartition(".")[0]
        renamed[name.replace(layer, places.get(layer, layer))] = value
    headed.load_state_dict(renamed)
    lq = torch.rand(1, 3, 7, 6)
    torch.testing.assert_close(headed(lq), plain(lq))


def test_pre_upsampling_runs_the_trunk_on_the_bicubic_image() -> None:
    torch.manual_seed(0)
    network = HeadedGenerator("msrresnet", "pre-upsampling", 4, 1, scale=3)
    seen: list[Tensor] = []
    network.conv_first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    lq = torch.rand(1, 3, 5, 4)
    network(lq)
    torch.testing.assert_close(seen[0], bicubic_upsample(lq, 3))


@pytest.mark.parametrize("head", ["espcn", "sub-pixel"])
def test_icnr_starts_as_nearest_neighbour_resizing(head: Head) -> None:
    torch.manual_seed(0)
    network = HeadedGenerator("rrdb", head, 4, 1, 2, scale=4, icnr=True)
    conv, shuffle = network.head[0], network.head[1]
    features = torch.randn(2, 4, 5, 6)
    enlarged = shuffle(conv(features))
    factor = shuffle.upscale_factor
    assert torch.equal(enlarged, F.interpolate(enlarged[..., ::factor, ::factor], scale_factor=factor, mode="nearest"))
    plain = HeadedGenerator("rrdb", head, 4, 1, 2, scale=4)
    enlarged = plain.head[1](plain.head[0](features))
    assert not torch.equal(enlarged[..., ::factor, :], enlarged[..., 1::factor, :])


def test_msrresnet_keeps_its_skip() -> None:
    config = MSRResNetConfig(features=4, blocks=1, head="espcn")
    network = build_generator(config, 4)
    nn.init.zeros_(network.head[0].weight)  # type: ignore[index]
    nn.init.zeros_(network.head[0].bias)  # type: ignore[index]
    lq = torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(network(lq), F.interpolate(lq, scale_factor=4, mode="bilinear"))
