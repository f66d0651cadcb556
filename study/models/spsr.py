"""SPSR's generator (Ma et al., CVPR 2020): an RRDB trunk beside a branch that up-scales the gradient map."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.config import SPSR_TAPS
from study.models.gradient_map import gradient_map
from study.models.image_layer import make_image
from study.models.initialisation import scale_kaiming_init
from study.models.nearest import enlarge_and_convolve
from study.models.rrdb import RRDB, RRDBNet
from study.models.strict_state import check_state

NEGATIVE_SLOPE = 0.2
TRUNK_LAST = "conv_last."


def _leaky_relu(features: Tensor) -> Tensor:
    return F.leaky_relu(features, NEGATIVE_SLOPE, inplace=True)


class SPSRGenerator(nn.Module):
    """Up-scale an image with the help of its up-scaled gradient map (METHODS 4.2).

    The branch starts from the gradient map of the input and takes up the trunk's features after each quarter of its
    blocks; both meet in the fusion layers. The branch is needed for inference as well.

    Args:
        features: width of trunk and branch.
        blocks: RRDBs of the trunk, at least four.
        growth: growth of all dense blocks.
        scale: 2, 3 or 4. Scale 2 is one nearest x2 step, without BasicSR's shrinking of the input.

    Attributes:
        fusion: the layers that bring trunk and branch together; SPSR trains them alone at first.

    Raises:
        ValueError: for another scale, or fewer blocks.
    """

    def __init__(self, features: int = 64, blocks: int = 23, growth: int = 32, scale: int = 4) -> None:
        if scale not in (2, 3, 4) or blocks < SPSR_TAPS:
            raise ValueError(
                f"SPSRGenerator takes a scale of 2, 3 or 4 and at least {SPSR_TAPS} blocks, but got "
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
            with_branch: return the branch's own output as well.

        Returns:
            RGB nominally in [0, 1], not clamped, shape (N, 3, scale * H, scale * W); with `with_branch`, a pair of it
            and of the up-scaled gradient map, of the same shape.

        Raises:
            ValueError: if the shape does not fit.
        """
        shallow, deep, kept = self.trunk.extract(lq, self.taps)
        structure = self.branch(gradient_map(lq), [kept[tap] for tap in self.taps])
        sr = self.fusion(structure, self.trunk.reconstruct(shallow, deep))
        return (sr, self.branch.conv_image(structure)) if with_branch else sr

    def load_fidelity(self, generator_state: Mapping[str, Tensor]) -> list[str]:
        """Start the trunk from a PSNR-oriented `RRDBNet(unshuffle=False)` of the same widths and scale.

        Returns:
            Names in `generator_state` that have no place here: the last convolution, which makes an image there.

        Raises:
            ValueError: if anything else does not fit; the trunk is then unchanged.
        """
        own = self.trunk.state_dict()
        given = {name: tensor for name, tensor in generator_state.items() if not name.startswith(TRUNK_LAST)}
        shapes = {name: tensor.shape for name, tensor in own.items() if not name.startswith(TRUNK_LAST)}
        check_state(given, shapes, source="the fidelity generator's state", network=self.trunk)
        self.trunk.load_state_dict(own | given)
        return [name for name in generator_state if name.startswith(TRUNK_LAST)]


class _GradientBranch(nn.Module):
    """From the gradient map of the input and the trunk's features to features at the output's size."""

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
            features = _leaky_relu(enlarge_and_convolve(features, getattr(self, f"conv_up{step}"), factor))
        return self.conv_last(_leaky_relu(self.conv_hr(features)))


class _Fusion(nn.Module):
    """From the features of branch and trunk to the image."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.block = RRDB(2 * features, growth)
        self.merge = nn.Conv2d(2 * features, features, 3, padding=1)
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, structure: Tensor, image_features: Tensor) -> Tensor:
        features = self.merge(self.block(torch.cat((structure, image_features), dim=1)))
        return make_image(self.conv_last, _leaky_relu(self.conv_hr(features)))
