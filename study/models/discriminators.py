"""The discriminators: ESRGAN's VGG-style one, SPSR's variant of it, and Real-ESRGAN's U-Net (Wang et al. 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn

from study.config.discriminator_patch import UNET_MULTIPLE, check_discriminator_patch, discriminator_stages
from study.models.layers import check_images, leaky_relu

HIDDEN_UNITS = 100
# Width of each stage as a multiple of `features`.
WIDTHS = (1, 2, 4, 8, 8, 8)


class VGGDiscriminator(nn.Module):
    """Tell real patches from generated ones by one logit per patch; has BasicSR's attribute names.

    Each stage is a 3x3 convolution followed by a 4x4 one of stride 2; all but the first convolution are
    bias-free and batch-normalised. Patches below 256 pixels go through five stages, larger ones through
    six, so 128 and 256 both end in a 4 x 4 map. In training mode a 32-pixel patch (a 1 x 1 map) needs a
    batch of at least 2: BatchNorm2d has nothing to average over otherwise.

    Args:
        patch_size: side of the square patches in pixels; see `check_discriminator_patch` for the rule.
        features: width of the first stage.
        biased: SPSR's variant: every convolution has a bias, and all weights start Kaiming-normal.
        margin: by how many pixels its input is larger than `patch_size`, as SPSR's gradient maps are by 2; the first
            halvings round it away.

    Attributes:
        is_deterministic: in training mode, two calls without an update between them give the same logits.

    Raises:
        ValueError: if no head fits the patch size, or the margin is not below 2 ** stages.
    """

    is_deterministic = True

    def __init__(self, patch_size: int = 128, features: int = 64, *, biased: bool = False, margin: int = 0) -> None:
        check_discriminator_patch(patch_size)
        if not 0 <= margin < 2 ** discriminator_stages(patch_size):
            raise ValueError(f"VGGDiscriminator's margin must be small and not negative, but got {margin=}")
        super().__init__()
        self.settings = f"{patch_size=}, {features=}, {biased=}, {margin=}"
        self.patch_size = patch_size
        self.side = patch_size + margin
        self.stages = discriminator_stages(patch_size)
        channels = 3
        for stage in range(self.stages):
            self._add_stage(stage, channels, WIDTHS[stage] * features, biased)
            channels = WIDTHS[stage] * features
        head_side = patch_size // 2**self.stages
        self.linear1 = nn.Linear(channels * head_side**2, HIDDEN_UNITS)
        self.linear2 = nn.Linear(HIDDEN_UNITS, 1)
        if biased:
            _kaiming_start(self)

    def _add_stage(self, stage: int, in_channels: int, out_channels: int, biased: bool) -> None:
        is_first = stage == 0
        self.add_module(f"conv{stage}_0", nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=is_first or biased))
        if not is_first:
            self.add_module(f"bn{stage}_0", nn.BatchNorm2d(out_channels))
        self.add_module(f"conv{stage}_1", nn.Conv2d(out_channels, out_channels, 4, 2, padding=1, bias=biased))
        self.add_module(f"bn{stage}_1", nn.BatchNorm2d(out_channels))

    def extra_repr(self) -> str:
        return self.settings

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits, shape (N, 1), of patches, RGB in [0, 1], shape (N, 3, side, side).

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
                features = leaky_relu(features)
        return self.linear2(leaky_relu(self.linear1(features.flatten(1))))

    def _check_patches(self, patches: Tensor) -> None:
        side = self.side
        if patches.ndim != 4 or patches.shape[1:] != (3, side, side):
            raise ValueError(
                f"VGGDiscriminator({self.settings}) needs patches of shape (N, 3, {side}, {side}), "
                f"but got {tuple(patches.shape)}; build it with the patch size of its input"
            )


class UNetDiscriminator(nn.Module):
    """Tell real pixels from generated ones by a map of logits: Real-ESRGAN's U-Net with spectral norm.

    It has BasicSR's attribute names, and the older form of PyTorch's spectral norm, whose entries (`weight_orig`,
    `weight_u`, `weight_v`) are those of released files. In training mode every call refines the estimate of each
    layer's largest singular value by one step.

    Args:
        features: width of the first layer.

    Attributes:
        is_deterministic: False: in training mode each call has a better estimate, hence other logits.
    """

    is_deterministic = False

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        self.settings = f"{features=}"
        normalise = nn.utils.spectral_norm
        widths = [features, 2 * features, 4 * features, 8 * features]
        self.conv0 = nn.Conv2d(3, features, 3, padding=1)
        for level in (1, 2, 3):
            conv = nn.Conv2d(widths[level - 1], widths[level], 4, 2, padding=1, bias=False)
            self.add_module(f"conv{level}", normalise(conv))
        for number, level in ((4, 3), (5, 2), (6, 1)):
            conv = nn.Conv2d(widths[level], widths[level - 1], 3, padding=1, bias=False)
            self.add_module(f"conv{number}", normalise(conv))
        self.conv7 = normalise(nn.Conv2d(features, features, 3, padding=1, bias=False))
        self.conv8 = normalise(nn.Conv2d(features, features, 3, padding=1, bias=False))
        self.conv9 = nn.Conv2d(features, 1, 3, padding=1)

    def extra_repr(self) -> str:
        return self.settings

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits, shape (N, 1, H, W), of patches, RGB in [0, 1], shape (N, 3, H, W).

        Raises:
            ValueError: if H or W is no multiple of 8.
        """
        check_images(patches, network="UNetDiscriminator", channels=3, multiple=UNET_MULTIPLE)
        levels = [leaky_relu(self.conv0(patches))]
        for number in (1, 2, 3):
            levels.append(leaky_relu(self.get_submodule(f"conv{number}")(levels[-1])))
        features = levels.pop()
        for number in (4, 5, 6):
            enlarged = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            features = leaky_relu(self.get_submodule(f"conv{number}")(enlarged)) + levels.pop()
        for conv in (self.conv7, self.conv8):
            features = leaky_relu(conv(features))
        return self.conv9(features)


def _kaiming_start(network: nn.Module) -> None:
    """Start convolutions and linear layers Kaiming-normal (fan in) with zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0, mode="fan_in")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
