"""How sub-pixel generators reach a scale: by which factors, one after the other (METHODS 2.3, 2.4, 2.6)."""

UPSCALING_STEPS: dict[int, tuple[int, ...]] = {2: (2,), 3: (3,), 4: (2, 2)}


def upscaling_steps(network: str, scale: int) -> tuple[int, ...]:
    """The factors of a scale; ValueError, naming the network, for another than 2, 3 or 4."""
    if scale not in UPSCALING_STEPS:
        raise ValueError(f"{network}'s scale must be 2, 3 or 4, but got {scale=}; choose one of these")
    return UPSCALING_STEPS[scale]
