"""SPSR's gradient map and generator (Ma et al., CVPR 2020): an RRDB trunk and a branch that up-scales the map."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import SPSR_TAPS
from study.models.layers import leaky_relu, make_image, scale_kaiming_init
from study.models.nearest import enlarge_and_convolve
from study.models.rrdb import RRDB, RRDBNet
from study.models.strict_state import check_state

TRUNK_LAST = "conv_last."

# Keeps the slope of the square root finite where an image is flat.
GRADIENT_EPSILON = 1e-6


def gradient_map(images: Tensor, *, padding: int = 1) -> Tensor:
    """Compute sqrt(v^2 + h^2 + 1e-6) of the central differences v and h of each colour.

    Args:
        images: shape (N, C, H, W), padded with zeros.
        padding: 1 keeps the size, as inside the generator; 2 adds a pixel on each side, as in SPSR's losses.

    Returns:
        Shape (N, C, H + 2 * padding - 2, W + 2 * padding - 2), above 0.

    Raises:
        ValueError: if padding is below 1.
    """
    if padding < 1:
        raise ValueError(f"gradient_map's padding must be at least 1, but got {padding=}; use 1 to keep the size")
    padded = F.pad(images, (padding,) * 4)
    vertical = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    horizontal = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    return torch.sqrt(vertical.square() + horizontal.square() + GRADIENT_EPSILON)


class SPSRGenerator(nn.Module):
    """Up-scale an image with the help of its up-scaled gradient map; docs/methods/spsr.md.

    The branch starts from the gradient map of the input and merges the trunk's features after each quarter of its
    blocks; the fusion layers combine both. Inference needs the branch as well.

    Args:
        features: width of trunk and branch.
        blocks: RRDBs of the trunk, at least four.
        growth: growth of all dense blocks.
        scale: 2, 3 or 4. Scale 2 is one nearest x2 step, without BasicSR's un-shuffling of the input.

    Attributes:
        fusion: the layers that combine trunk and branch; SPSR trains them alone at first.

    Raises:
        ValueError: for another scale, or fewer blocks.
    """

    def __init__(self, features: int = 64, blocks: int = 23, growth: int = 32, scale: int = 4) -> None:
        if scale not in (2, 3, 4) or blocks < SPSR_TAPS:
            raise ValueError(
                f"SPSRGenerator needs a scale of 2, 3 or 4 and at least {SPSR_TAPS} blocks, but got "
                f"{scale=} and {blocks=}"
            )
        super().__init__()
        self.settings = f"{features=}, {blocks=}, {growth=}, {scale=}"
        self.taps = tuple(blocks // SPSR_TAPS * number for number in range(1, SPSR_TAPS + 1))
        self.trunk = RRDBNet(features, blocks, growth, scale, out_channels=features, unshuffle=False)
        self.branch = _GradientBranch(features, growth, self.trunk.upsamplings)
        self.fusion = _Fusion(features, growth)
        scale_kaiming_init(*(module for module in self.modules() if isinstance(module, nn.Conv2d)))

    def extra_repr(self) -> str:
        return self.settings

    def forward(self, lq: Tensor, *, with_branch: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Up-scale images, RGB in [0, 1], shape (N, 3, H, W).

        Args:
            lq: the images.
            with_branch: return the branch's output as well.

        Returns:
            RGB nominally in [0, 1], not clamped, shape (N, 3, scale * H, scale * W); with `with_branch`, a pair of it
            and the up-scaled gradient map, of the same shape.

        Raises:
            ValueError: if the shape does not fit.
        """
        shallow, deep, kept = self.trunk.extract(lq, self.taps)
        structure = self.branch(gradient_map(lq), [kept[tap] for tap in self.taps])
        sr = self.fusion(structure, self.trunk.reconstruct(shallow, deep))
        return (sr, self.branch.conv_image(structure)) if with_branch else sr

    def load_fidelity(self, generator_state: Mapping[str, Tensor]) -> list[str]:
        """Initialise the trunk from a PSNR-oriented `RRDBNet(unshuffle=False)` of the same widths and scale.

        Returns:
            Names in `generator_state` that were not used: the last convolution, which makes an image there.

        Raises:
            ValueError: if anything else does not fit; the trunk is then unchanged.
        """
        current = self.trunk.state_dict()
        given = {name: tensor for name, tensor in generator_state.items() if not name.startswith(TRUNK_LAST)}
        shapes = {name: tensor.shape for name, tensor in current.items() if not name.startswith(TRUNK_LAST)}
        check_state(given, shapes, source="the fidelity generator's state", network=self.trunk)
        self.trunk.load_state_dict(current | given)
        return [name for name in generator_state if name.startswith(TRUNK_LAST)]


class _GradientBranch(nn.Module):
    """Map the input's gradient map and the trunk's features to features at the output's size."""

    def __init__(self, features: int, growth: int, upsamplings: tuple[int, ...]) -> None:
        super().__init__()
        self.upsamplings = upsamplings
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.blocks = nn.ModuleList(RRDB(2 * features, growth) for _ in range(SPSR_TAPS))
        self.merges = nn.ModuleList(nn.Conv2d(2 * features, features, 3, padding=1) for _ in range(SPSR_TAPS))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        for step in range(1, len(upsamplings) + 1):
            self.add_module(f"conv_up{step}", nn.Conv2d(features, features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, features, 3, padding=1)
        self.conv_image = nn.Conv2d(features, 3, 1)

    def forward(self, gradients: Tensor, taps: list[Tensor]) -> Tensor:
        shallow = features = self.conv_first(gradients)
        for block, merge, tap in zip(self.blocks, self.merges, taps, strict=True):
            features = merge(block(torch.cat((features, tap), dim=1)))
        features = shallow + self.conv_body(features)
        for step, factor in enumerate(self.upsamplings, start=1):
            features = leaky_relu(enlarge_and_convolve(features, getattr(self, f"conv_up{step}"), factor))
        return self.conv_last(leaky_relu(self.conv_hr(features)))


class _Fusion(nn.Module):
    """Map the features of branch and trunk to the image."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.block = RRDB(2 * features, growth)
        self.merge = nn.Conv2d(2 * features, features, 3, padding=1)
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, structure: Tensor, image_features: Tensor) -> Tensor:
        features = self.merge(self.block(torch.cat((structure, image_features), dim=1)))
        return make_image(self.conv_last, leaky_relu(self.conv_hr(features)))
