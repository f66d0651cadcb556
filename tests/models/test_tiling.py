"""Tiles that overlap by the receptive field equal the whole image; memory is counted and bounded."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import MSRResNetConfig, RRDBConfig, SPSRConfig, SwinIRConfig
from study.models.build import build_generator
from study.models.tiling import ALIGNMENT, Upscaler, peak_bytes, receptive_field, upscale_in_tiles

GIB = 1 << 30
SMALL = {
    "rrdb": RRDBConfig(features=8, blocks=1, growth=4),
    "msrresnet": MSRResNetConfig(features=8, blocks=3),
    "swinir": SwinIRConfig(features=12, blocks=1, depth=2, heads=2),
    "spsr": SPSRConfig(features=8, blocks=4, growth=4),
}


def generator_of(name: str, scale: int = 4) -> nn.Module:
    torch.manual_seed(0)
    network = build_generator(SMALL[name], scale).eval()
    with torch.no_grad():  # published starts are small: what a pixel sees further off would drown in rounding
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.mul_(3)
    return network


def image(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


class Chain(nn.Module):
    """As many 3 x 3 convolutions as its depth, which is the radius of its receptive field."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth)))

    def forward(self, images: Tensor) -> Tensor:
        shown: Tensor = self.layers(images)
        return shown


class Global(nn.Module):
    """A network whose output pixels depend on the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.weight - images.mean(dim=(2, 3), keepdim=True)


@pytest.mark.parametrize("depth", [1, 5, 60, 200])
def test_the_field_of_convolutions_is_their_number(depth: int) -> None:
    assert receptive_field(Chain(depth)) == depth


def test_msrresnets_field_follows_from_its_layers() -> None:
    # The first convolution and two in each of three blocks; then one at x1, one at x2 and two at x4: 1 + 1/2 + 2/4.
    assert receptive_field(generator_of("msrresnet")) == 7 + 2


def test_a_global_network_has_no_receptive_field() -> None:
    assert receptive_field(Global()) is None


@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_equal_the_whole_where_they_overlap_by_the_field(name: str, scale: int) -> None:
    network = generator_of(name, scale)
    field = receptive_field(network)
    assert field is not None
    overlap = -(-field // ALIGNMENT) * ALIGNMENT
    lq = image(4 * ALIGNMENT + 6, 3 * ALIGNMENT - 2)
    with torch.no_grad():
        whole = network(lq)
        tiled = upscale_in_tiles(network, lq, scale, 2 * ALIGNMENT, overlap)

    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(13, 17), (16, 24), (9, 9)])
def test_swinir_fills_its_last_windows_by_reflection(size: tuple[int, int]) -> None:
    network, lq = generator_of("swinir"), image(*size)
    missing = [-side % 8 for side in size]
    with torch.no_grad():
        filled = network(F.pad(lq, (0, missing[1], 0, missing[0]), mode="reflect"))
        found = network(lq)

    assert torch.allclose(found, filled[..., : 4 * size[0], : 4 * size[1]], atol=1e-6)


def test_the_difference_of_too_little_overlap_is_measured() -> None:
    network = Chain(40)
    lq = image(96, 96)
    with torch.no_grad():
        whole = network(lq)
    upscale = Upscaler(network, 1, bound=GIB, tile=32, overlap=0)

    found = upscale(lq)

    assert upscale.tiling is not None
    assert (upscale.tiling.exact, upscale.tiling.receptive_field, upscale.tiling.overlap) == (False, 40, 0)
    assert (found - whole).abs().max() > 1e-5
    assert upscale.difference is not None
    assert upscale.difference > 1e-5  # of what 16 px more bring, where twice nothing would bring nothing
    near = Upscaler(network, 1, bound=GIB, tile=32, overlap=16)
    assert (near(lq) - whole).abs().max() < (found - whole).abs().max()
    assert near.difference is not None
    assert 0 < near.difference < (found - whole).abs().max()


def test_the_overlap_is_the_field_unless_it_is_named() -> None:
    upscale = Upscaler(Chain(5), 1, bound=GIB, tile=20)

    upscale(image(64, 64))

    assert upscale.tiling is not None
    assert (upscale.tiling.side, upscale.tiling.overlap, upscale.tiling.exact) == (32, 16, True)
    assert upscale.difference is None


def test_an_image_within_the_bound_is_not_cut() -> None:
    network = generator_of("msrresnet")
    upscale = Upscaler(network, 4, bound=GIB)
    lq = image(40, 52)

    with torch.no_grad():
        expected = network(lq.contiguous(memory_format=torch.channels_last))

    assert torch.equal(upscale(lq), expected)
    assert upscale.tiling is None


def test_an_image_above_the_bound_is_cut_to_fit() -> None:
    network = generator_of("msrresnet")
    bound = 4 << 20
    seen: list[int] = []
    network.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-2] * inputs[0].shape[-1]))
    upscale = Upscaler(network, 4, bound=bound)
    lq = image(160, 176)

    found = upscale(lq)

    assert upscale.tiling is not None
    cost = peak_bytes(network, 48) / 48**2
    largest = (upscale.tiling.side + 2 * upscale.tiling.overlap) ** 2
    assert largest * cost <= bound < 160 * 176 * cost
    assert max(seen) <= max(largest, 16 * 2048)
    with torch.no_grad():
        assert (found - network(lq)).abs().max() < 1e-5


def test_memory_is_that_of_the_tensors_alive_at_a_time() -> None:
    # Of 3 channels of float32: the input, and what two layers at a time hold; the first image has gone by the third.
    assert peak_bytes(Chain(6), 32) == 3 * 32 * 32 * 3 * 4


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0), (16, -1)])
def test_invalid_sizes_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="tile must be at least 1 and overlap at least 0"):
        Upscaler(Chain(1), 1, bound=GIB, tile=tile, overlap=overlap)
