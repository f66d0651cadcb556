"""Layers, initialisation and input checks that several networks share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UPSCALING_STEPS: dict[int, tuple[int, ...]] = {2: (2,), 3: (3,), 4: (2, 2)}
"""Factors of the successive sub-pixel steps, by scale."""


def leaky_relu(features: Tensor, slope: float = 0.2) -> Tensor:
    """Apply leaky ReLU in place: the convolution before it does not need its output for the backward pass."""
    return F.leaky_relu(features, slope, inplace=True)


def make_image(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """Apply the last convolution in its weights' dtype, outside autocast.

    bfloat16 would round an image near 1 by up to half a level of 255, as much as auto-encoded images differ.
    """
    with torch.autocast(features.device.type, enabled=False):
        image: Tensor = conv(features.to(conv.weight.dtype))
    return image


def scale_kaiming_init(*convs: nn.Conv2d | nn.ConvTranspose2d, scale: float = 0.1) -> None:
    """Draw weights Kaiming-normal (fan in, gain sqrt 2) times `scale`, and set biases to 0.

    The small scale keeps a residual branch near zero at the start (ESRGAN, Wang et al. 2018, section 3.1).
    """
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, a=0, mode="fan_in")
        conv.weight.data.mul_(scale)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)


def upscaling_steps(network: str, scale: int) -> tuple[int, ...]:
    """Return the factors of a scale; raise ValueError, naming the network, for another than 2, 3 or 4."""
    if scale not in UPSCALING_STEPS:
        raise ValueError(f"{network}'s scale must be 2, 3 or 4, but got {scale=}; choose one of these")
    return UPSCALING_STEPS[scale]


def check_images(images: Tensor, *, network: str, channels: int, multiple: int = 1) -> None:
    """Check that images have shape (N, channels, H, W) with H and W multiples of `multiple`.

    Raises:
        ValueError: naming the network, the rule and the shape.
    """
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(
            f"{network} needs images of shape (N, {channels}, H, W), but got {tuple(images.shape)}; "
            f"add or select channels so that dimension 1 is {channels}"
        )
    height, width = images.shape[2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"{network} needs images whose height and width are multiples of {multiple}, "
            f"but got {height} x {width}; crop or pad them to such sides"
        )


def at_least_float32(values: Tensor) -> Tensor:
    """Upcast half types, whose sums over an image lose too many digits; float64 is kept."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
