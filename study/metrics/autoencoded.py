"""AE-PSNR: the PSNR of auto-encoded images (Lee et al., CVPR 2025); docs/methods/metrics.md."""

import torch
from torch import Tensor, nn

from study.metrics.fidelity import CROP, luma_of_levels, psnr
from study.metrics.quantise import check_pair, quantise


def ae_psnr(sr: Tensor, hr: Tensor, autoencoder: nn.Module, crop: int = CROP) -> Tensor:
    """Compute the PSNR between the luma of both images after an auto-encoder, in dB.

    Higher is better; identical images give 80 dB. Both are quantised to 8 bits first; the auto-encoder's output is
    neither clamped nor rounded. Values of different auto-encoders are not comparable.

    Args:
        sr, hr: RGB images in [0, 1], shape (N, 3, H, W), sides multiples of the auto-encoder's factor; `sr` is clamped.
        autoencoder: a frozen `study.models.Autoencoder`, in eval mode.
        crop: pixels to leave out along each side.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: for shapes that differ, images too small, or `hr` outside [0, 1].
    """
    check_pair(sr, hr, smallest_side=1 + 2 * crop)
    return psnr(autoencoded_luma(sr, autoencoder, crop), autoencoded_luma(hr, autoencoder, crop))


@torch.no_grad()
def autoencoded_luma(images: Tensor, autoencoder: nn.Module, crop: int = CROP) -> Tensor:
    """Return the cropped luma of auto-encoded images (N, 3, H, W), in 8-bit units."""
    output = autoencoder(quantise(images))
    height, width = output.shape[-2:]
    return luma_of_levels(output[..., crop : height - crop, crop : width - crop].double() * 255)
