"""Weights between those of two networks of one architecture (Wang et al., "Deep network interpolation", CVPR 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor


def interpolate_states(first: Mapping[str, Tensor], second: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Take (1 - alpha) of the first network's weights and alpha of the second's; whole numbers are the first's.

    Args:
        first, second: state dicts of the same names and shapes.
        alpha: 0 gives the first, 1 the second; beyond, it extrapolates.

    Raises:
        ValueError: entries that only one of them has, or of other shapes.
    """
    different = sorted(set(first) ^ set(second)) or sorted(
        name for name in first if first[name].shape != second[name].shape
    )
    if different:
        raise ValueError(
            f"the two networks are not alike: they differ in {len(different)} entries, such as {different[0]}; "
            "interpolate two of one architecture"
        )
    return {
        name: torch.lerp(tensor, second[name].to(tensor), alpha) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }
