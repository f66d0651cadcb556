"""The patch sizes that a discriminator takes, for configurations (without torch) and for the networks."""

SIX_STAGES_FROM = 256
SMALLEST_PATCH = 32
UNET_MULTIPLE = 8


def discriminator_stages(patch_size: int) -> int:
    """Count the VGG-style halving stages for a patch side in pixels: five below 256, six from there."""
    return 5 if patch_size < SIX_STAGES_FROM else 6


def check_discriminator_batch(batch: int, patch_size: int, name: str) -> None:
    """Refuse a batch of one where a VGG-style discriminator's last batch norm would have one value a channel.

    Raises:
        ValueError: naming both fields and what to change.
    """
    if batch == 1 and patch_size == SMALLEST_PATCH and name != "unet":
        raise ValueError(
            f"budget.batch must be at least 2 for budget.patch {patch_size} and discriminator.name {name}, whose last "
            "batch norm would have a single value, but got 1; "
            f"set budget.batch to 2, or budget.patch to {2 * patch_size}"
        )


def check_discriminator_patch(patch_size: int, name: str = "vgg", field: str = "patch_size") -> None:
    """Refuse square patches of a side that a discriminator does not take.

    Args:
        patch_size: the side.
        name: `unet`, or a VGG-style one: `vgg` or `spsr`.
        field: that has the side, for the message.

    Raises:
        ValueError: naming the rule, the value and the nearest allowed sizes. The VGG-style ones take positive
            multiples of 32 below 256, and of 64 from 256 on; the U-Net multiples of 8.
    """
    step = UNET_MULTIPLE if name == "unet" else 2 ** discriminator_stages(patch_size)
    if patch_size >= step and patch_size % step == 0:
        return
    below = patch_size // step * step
    nearest = f"{below} or {below + step}" if below > 0 else f"{step}"
    if name == "unet":
        rule = f"UNetDiscriminator's {field} must be a positive multiple of {UNET_MULTIPLE}"
    else:
        rule = f"VGGDiscriminator's {field} must be a positive multiple of 32 below 256, and of 64 from 256 on"
    raise ValueError(f"{rule}, but got {field}={patch_size}; the nearest allowed: {nearest}")
