"""Compare a state dict with the network that it is loaded into."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

SHOWN_PER_KIND = 3

# Characteristic beginnings of names, by network; the first match counts.
SIGNATURES = {
    "layers.0.residual_group": "SwinIR",
    "b_fea_conv.": "SPSR's generator",
    "branch.conv_first.": "SPSR's generator, by our names",
    "decoder.": "an auto-encoder of AESOP",
    "RRDB_trunk.": "an RRDBNet of ESRGAN's repository",
    "model.1.sub.": "an RRDBNet by ESRGAN's first names",
    "body.0.rdb1.": "an RRDBNet",
    "conv_after_body.": "an EDSR",
    "body.0.conv1.": "an MSRResNet",
    "conv0_0.": "a VGG-style discriminator",
    "conv1.weight_orig": "a U-Net discriminator",
}


class MismatchError(ValueError):
    """A state dict that does not fit a network.

    Attributes:
        problems: the entries, by kind.
        count: how many they are.
    """

    problems: str = ""
    count: int = 0


def check_state(
    state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], *, source: str, network: nn.Module
) -> None:
    """Check that a state dict has exactly the expected names, each with the expected shape.

    Args:
        state: the given tensors, by name.
        shapes: the expected shapes, by name.
        source: origin of the state, for the message.
        network: the network to load, for the message.

    Raises:
        MismatchError: naming the source, the network, the first few names of each kind of mismatch, the number of
            matches, and the network that the names resemble.
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
        matching = len(shapes) - len(missing) - len(misshapen)
        looks = recognise(state)
        error = MismatchError(
            f"{source} does not fit {type(network).__name__}({network.extra_repr()}): {'; '.join(problems)}; "
            f"{matching} of {len(shapes)} match. {f'It looks like {looks}. ' if looks else ''}"
            "Build the network with the architecture, scale and widths that the weights were trained with, "
            "or choose other weights."
        )
        error.problems, error.count = "; ".join(problems), len(missing) + len(unexpected) + len(misshapen)
        raise error


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """Describe the known network that a state dict's names resemble; return None for an unknown one."""
    found = next((network for name, network in SIGNATURES.items() if any(key.startswith(name) for key in state)), None)
    if found is None:
        return None
    details = [detail for detail in (_scale_of(state), _blocks_of(state)) if detail]
    return f"{found} ({', '.join(details)})" if details else found


def _scale_of(state: Mapping[str, Tensor]) -> str | None:
    """Describe the up-scaling factor, if names or shapes tell it."""
    if "conv_first.weight" in state and state["conv_first.weight"].shape[1:2] in ((12,), (48,)):
        return f"scale {2 if state['conv_first.weight'].shape[1] == 12 else 1}"
    sub_pixel = [state[name] for name in ("upsample.0.weight", "upconv1.weight") if name in state]
    if sub_pixel and sub_pixel[0].ndim == 4 and sub_pixel[0].shape[0] == 9 * sub_pixel[0].shape[1]:
        return "scale 3"
    if "upsample.0.weight" in state:
        return "scale 4" if "upsample.2.weight" in state else "scale 2"
    if "conv_up1.weight" in state:
        return "scale 4" if "conv_up2.weight" in state else "scale 2 or 3"
    return None


def _blocks_of(state: Mapping[str, Tensor]) -> str | None:
    """Count the blocks in the trunk."""
    counted = re.compile(r"(?:body|RRDB_trunk|layers|model\.1\.sub)\.(\d+)\.[A-Za-z]")
    numbers = {int(match[1]) for name in state if (match := counted.match(name))}
    return f"{len(numbers)} block{'s' * (len(numbers) > 1)}" if numbers else None


def _summarise(kind: str, entries: Sequence[str]) -> str:
    more = ", ..." if len(entries) > SHOWN_PER_KIND else ""
    return f"{len(entries)} {kind} ({', '.join(entries[:SHOWN_PER_KIND])}{more})"
