"""A custom loss: how far apart the images are, and how far apart the strengths of their spatial frequencies are.

The second part looks at amplitudes, not at phases: texture of the right strength costs nothing where it is a pixel off,
while a pixel loss prefers no texture at all to that. The first part holds colours and edges where they belong.

Try it:  python study/train.py aesop --set loss.guidance=custom --set loss.custom=docs/examples/my_loss.py ...

What such a file has to be: it defines `loss`, which returns one value per image, of that image alone, with a gradient
towards `sr`, and leaves its arguments as they are. It may import what is installed (torch, study), but no file beside
it: what is trained has to hang on this text alone, whose hash stands for it.
"""

import torch
from torch import Tensor

AMPLITUDES = 0.5  # weight of the second part
SMOOTHING = 1e-3  # differences below this, in an image's range of 1, count little


def loss(sr: Tensor, hr: Tensor, lq: Tensor) -> Tensor:
    """Compare a batch of images.

    Args:
        sr, hr: RGB, shape (N, 3, H, W); `hr` in [0, 1], `sr` as the network made it, not clamped.
        lq: the LR images that `sr` was made of, shape (N, 3, H / scale, W / scale); not needed here.

    Returns:
        Shape (N,), float32.
    """
    del lq
    charbonnier = ((sr - hr).square() + SMOOTHING**2).sqrt().mean(dim=(1, 2, 3))
    difference = torch.fft.rfft2(sr, norm="ortho").abs() - torch.fft.rfft2(hr, norm="ortho").abs()
    return charbonnier + AMPLITUDES * difference.abs().mean(dim=(1, 2, 3))
