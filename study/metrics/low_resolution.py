"""How an SR image stands to its LR image: LR-PSNR, and what shrinking does not see (METHODS 5, 7.6)."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from study.data.bicubic import bicubic_downsample, downsampling_matrix
from study.metrics.fidelity import luma_psnr
from study.metrics.quantise import check_pair, to_levels


def lr_psnr(sr: Tensor, hr: Tensor, scale: int, crop: int = 1) -> Tensor:
    """Measure the PSNR between the luma of both images after they were shrunk, in dB.

    Higher is better; identical images give 80 dB. Both are quantised to 8 bits, then shrunk by MATLAB's bicubic in
    float64, and not rounded again (METHODS 7.6, the proposed primary form).

    Args:
        sr, hr: RGB images in [0, 1], shape (N, 3, H, W); `sr` is clamped.
        scale: the SR factor.
        crop: LR pixels left out along each side.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: for shapes that differ, images too small, or `hr` outside [0, 1].
    """
    check_pair(sr, hr, smallest_side=scale * (1 + 2 * crop))
    shrunk = [bicubic_downsample(to_levels(images).double(), scale) for images in (sr, hr)]
    height, width = shrunk[0].shape[-2:]
    inside = [images[..., crop : height - crop, crop : width - crop] for images in shrunk]
    return luma_psnr(*inside)


def null_energy(sr: Tensor, scale: int) -> Tensor:
    """Measure the energy of an image in the null space of shrinking: mean square of y - B+ B y, in levels of 255.

    B is MATLAB's bicubic, B+ its pseudo-inverse: what is left of the image is the part that no loss on shrunk images
    sees. More of it is neither better nor worse: an image too smooth has less than its HR image, one full of artefacts
    more.

    Args:
        sr: RGB images, shape (N, 3, H, W), sides multiples of the scale; quantised to 8 bits here.
        scale: the SR factor.

    Returns:
        Shape (N,), float64.
    """
    levels = to_levels(sr).double()
    rows, columns = (_seen(side, scale, sr.device) for side in sr.shape[-2:])
    return (levels - rows @ levels @ columns.T).square().mean(dim=(1, 2, 3))


@lru_cache(maxsize=32)
def _seen(side: int, scale: int, device: torch.device) -> Tensor:
    """The projection onto what shrinking sees along one axis, B+ B, shape (side, side)."""
    matrix = downsampling_matrix(side, scale)
    # The cached tensor outlives this call, which may run without graph.
    with torch.inference_mode(False):
        return torch.from_numpy(np.linalg.pinv(matrix) @ matrix).to(device)
