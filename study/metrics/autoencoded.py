"""AE-PSNR: fidelity behind an auto-encoder, as AESOP's loss sees it (METHODS 7.6; Lee et al., CVPR 2025)."""

import torch
from torch import Tensor, nn

from study.metrics.fidelity import CROP, luma_of_levels, psnr
from study.metrics.quantise import check_pair, quantise


def ae_psnr(sr: Tensor, hr: Tensor, autoencoder: nn.Module, crop: int = CROP) -> Tensor:
    """Measure the PSNR between the luma of both images after they went through an auto-encoder, in dB.

    Higher is better; identical images give 80 dB. Both are quantised to 8 bits first; what comes out of the
    auto-encoder is neither clamped nor rounded. The number means something beside the same auto-encoder alone.

    Args:
        sr, hr: RGB images in [0, 1], shape (N, 3, H, W), sides multiples of the auto-encoder's factor; `sr` is clamped.
        autoencoder: a frozen `study.models.Autoencoder`, in eval mode.
        crop: pixels left out along each side.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: for shapes that differ, images too small, or `hr` outside [0, 1].
    """
    check_pair(sr, hr, smallest_side=1 + 2 * crop)
    return psnr(autoencoded_luma(sr, autoencoder, crop), autoencoded_luma(hr, autoencoder, crop))


@torch.no_grad()
def autoencoded_luma(images: Tensor, autoencoder: nn.Module, crop: int = CROP) -> Tensor:
    """Prepare images (N, 3, H, W) for `ae_psnr`: luma in 8-bit units of what comes through, without its borders."""
    through = autoencoder(quantise(images))
    height, width = through.shape[-2:]
    return luma_of_levels(through[..., crop : height - crop, crop : width - crop].double() * 255)
