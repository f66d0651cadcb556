"""The comparison of a state dict with the network that it is meant for."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

SHOWN_PER_KIND = 3


def check_state(
    state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], *, source: str, network: nn.Module
) -> None:
    """Check that a state dict has exactly the expected names, each with the expected shape.

    Args:
        state: what was given.
        shapes: what is needed, by name.
        source: where the state comes from, for the message.
        network: what it is meant for, for the message.

    Raises:
        ValueError: naming the source, the network and the first few names of each kind of mismatch.
    """
    missing = [name for name in shapes if name not in state]
    unexpected = [name for name in state if name not in shapes]
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, needs {tuple(shape)}"
        for name, shape in shapes.items()
        if name in state and state[name].shape != shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "wrongly shaped": misshapen}
    problems = [_summarise(kind, entries) for kind, entries in kinds.items() if entries]
    if problems:
        raise ValueError(
            f"{source} does not fit {type(network).__name__}({network.extra_repr()}): {'; '.join(problems)}. "
            "Build the network with the architecture, scale and widths that the weights were trained with, "
            "or choose other weights."
        )


def _summarise(kind: str, entries: Sequence[str]) -> str:
    more = ", ..." if len(entries) > SHOWN_PER_KIND else ""
    return f"{len(entries)} {kind} ({', '.join(entries[:SHOWN_PER_KIND])}{more})"
