"""A custom loss: how far apart the images are, and how far apart the strengths of their spatial frequencies are.

The second part compares amplitudes, not phases: texture of the right strength costs nothing if it is a pixel off, while
a pixel loss prefers no texture to that. The first part keeps colours and edges in place.

Try it:  python study/train.py aesop --set loss.guidance=custom --set loss.custom=docs/examples/my_loss.py ...

Such a file defines `loss`, which returns one value per image, of that image alone, with a gradient to `sr`, and keeps
its arguments unchanged. It may import installed packages (torch, study), but no file beside it: the result must depend
on this text alone, whose hash is a part of the artifact's key.
"""

import torch
from torch import Tensor

AMPLITUDES = 0.5  # weight of the second part
SMOOTHING = 1e-3  # differences below this, in an image's range of 1, count little


def loss(sr: Tensor, hr: Tensor, lq: Tensor) -> Tensor:
    """Compare a batch of images.

    Args:
        sr, hr: RGB, shape (N, 3, H, W); `hr` in [0, 1], `sr` as the network returns it, not clamped.
        lq: the LQ images that `sr` was computed from, shape (N, 3, H / scale, W / scale); not needed here.

    Returns:
        Shape (N,), float32.
    """
    del lq
    charbonnier = ((sr - hr).square() + SMOOTHING**2).sqrt().mean(dim=(1, 2, 3))
    difference = torch.fft.rfft2(sr, norm="ortho").abs() - torch.fft.rfft2(hr, norm="ortho").abs()
    return charbonnier + AMPLITUDES * difference.abs().mean(dim=(1, 2, 3))
