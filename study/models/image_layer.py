"""The last layer of a network whose output is an image."""

import torch
from torch import Tensor, nn


def make_image(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """Apply a convolution in its weights' own type, whatever autocast does around it.

    An image near 1 has more digits than bfloat16: rounded to it, it would be off by up to half a level of 255, as much
    as auto-encoded images differ.
    """
    with torch.autocast(features.device.type, enabled=False):
        image: Tensor = conv(features.to(conv.weight.dtype))
    return image
