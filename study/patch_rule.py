"""Which patch sizes the VGG-style discriminator takes, for whoever must know before building one."""

SIX_STAGES_FROM = 256


def discriminator_stages(patch_size: int) -> int:
    """Count the halving stages for a patch side in pixels: five below 256, six from there (METHODS 3.1)."""
    return 5 if patch_size < SIX_STAGES_FROM else 6


def check_discriminator_patch(patch_size: int) -> None:
    """Check that a square patch, side in pixels, can be halved down to the discriminator's head.

    Raises:
        ValueError: naming the rule, the value and the nearest allowed sizes, if the side is not a positive
            multiple of 32 below 256, or of 64 from 256 on.
    """
    step = 2 ** discriminator_stages(patch_size)
    if patch_size >= step and patch_size % step == 0:
        return
    below = patch_size // step * step
    nearest = f"{below} or {below + step}" if below > 0 else f"{step}"
    raise ValueError(
        "VGGDiscriminator's patch_size must be a positive multiple of 32 below 256, and of 64 from 256 on, "
        f"but got {patch_size=}; the nearest allowed: {nearest}"
    )
