"""Refusal of images that a network cannot take, before a convolution complains in its own words."""

from torch import Tensor


def check_images(images: Tensor, *, network: str, channels: int, multiple: int = 1) -> None:
    """Check that images have shape (N, channels, H, W) with H and W multiples of `multiple`.

    Raises:
        ValueError: naming the network, the rule and the shape, if they have not.
    """
    if images.ndim != 4 or images.shape[1] != channels:
        raise ValueError(
            f"{network} takes images of shape (N, {channels}, H, W), but got {tuple(images.shape)}; "
            f"add or select channels so that dimension 1 is {channels}"
        )
    height, width = images.shape[2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"{network} takes images whose height and width are multiples of {multiple}, "
            f"but got {height} x {width}; crop or pad them to such sides"
        )
