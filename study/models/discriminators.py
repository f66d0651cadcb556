"""The VGG-style discriminator of ESRGAN as BasicSR writes it (METHODS 3.1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from study.patch_rule import check_discriminator_patch, discriminator_stages

NEGATIVE_SLOPE = 0.2
HIDDEN_UNITS = 100
# Width of each stage as a multiple of `features`.
WIDTHS = (1, 2, 4, 8, 8, 8)


def _leaky_relu(features: Tensor) -> Tensor:
    return F.leaky_relu(features, NEGATIVE_SLOPE, inplace=True)


class VGGDiscriminator(nn.Module):
    """Tell real patches from generated ones by one logit a patch, with BasicSR's attribute names.

    Each stage is a 3x3 convolution followed by a 4x4 one of stride 2; all but the first convolution are
    bias-free and batch-normalised. Patches below 256 pixels go through five stages, larger ones through
    six, so 128 and 256 both end in a 4 x 4 map. In training mode a 32-pixel patch (a 1 x 1 map) needs a
    batch of at least 2: BatchNorm2d has nothing to average over otherwise.

    Args:
        patch_size: side of the square patches in pixels; see `check_discriminator_patch` for the rule.
        features: width of the first stage.

    Raises:
        ValueError: if no head fits the patch size.
    """

    def __init__(self, patch_size: int = 128, features: int = 64) -> None:
        check_discriminator_patch(patch_size)
        super().__init__()
        self.settings = f"{patch_size=}, {features=}"
        self.patch_size = patch_size
        self.stages = discriminator_stages(patch_size)
        channels = 3
        for stage in range(self.stages):
            self._add_stage(stage, channels, WIDTHS[stage] * features)
            channels = WIDTHS[stage] * features
        head_side = patch_size // 2**self.stages
        self.linear1 = nn.Linear(channels * head_side**2, HIDDEN_UNITS)
        self.linear2 = nn.Linear(HIDDEN_UNITS, 1)

    def _add_stage(self, stage: int, in_channels: int, out_channels: int) -> None:
        is_first = stage == 0
        self.add_module(f"conv{stage}_0", nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=is_first))
        if not is_first:
            self.add_module(f"bn{stage}_0", nn.BatchNorm2d(out_channels))
        self.add_module(f"conv{stage}_1", nn.Conv2d(out_channels, out_channels, 4, 2, padding=1, bias=False))
        self.add_module(f"bn{stage}_1", nn.BatchNorm2d(out_channels))

    def extra_repr(self) -> str:
        return self.settings

    def forward(self, patches: Tensor) -> Tensor:
        """Judge patches, RGB in [0, 1], shape (N, 3, patch_size, patch_size), by logits of shape (N, 1).

        Raises:
            ValueError: if the patches have another shape.
        """
        self._check_patches(patches)
        features = patches
        for stage in range(self.stages):
            for half in range(2):
                features = self.get_submodule(f"conv{stage}_{half}")(features)
                if (stage, half) != (0, 0):
                    features = self.get_submodule(f"bn{stage}_{half}")(features)
                features = _leaky_relu(features)
        return self.linear2(_leaky_relu(self.linear1(features.flatten(1))))

    def _check_patches(self, patches: Tensor) -> None:
        side = self.patch_size
        if patches.ndim != 4 or patches.shape[1:] != (3, side, side):
            raise ValueError(
                f"VGGDiscriminator(patch_size={side}) takes patches of shape (N, 3, {side}, {side}), "
                f"but got {tuple(patches.shape)}; build it with the patch size that it will see"
            )
