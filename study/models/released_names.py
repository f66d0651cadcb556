"""Map the names under which weights were released to the names of our modules; docs/weights.md.

RRDBNet, MSRResNet, SwinIR, the auto-encoder and the discriminators have BasicSR's names. This module translates the
others: ESRGAN's two older sets of names, SPSR's generator, and entries that are duplicates or no weights.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from study.models.autoencoder import Autoencoder
from study.models.rrdb import RRDBNet
from study.models.spsr import SPSRGenerator

# Entries of SwinIR's files that follow from its settings: masks for one image size, and indices of the biases.
CONSTANTS = ("attn_mask", "relative_position_index")

# AESOP's auto-encoder registers its encoder twice: prefixes of the copy, and of the primary.
ENCODER_COPY = {"encoder.0.": "conv_first.", "encoder.2.": "body.", "encoder.3.": "conv_last."}

# SPSR registers the trunk's last but one convolution twice, and has the kernels of the gradient map in its files.
SPSR_COPY = "HR_conv0_new.0."
SPSR_KERNELS = {
    "get_g_nopadding.weight_h": ((0, 0, 0), (-1, 0, 1), (0, 0, 0)),
    "get_g_nopadding.weight_v": ((0, -1, 0), (0, 0, 0), (0, 1, 0)),
}


def table_for(module: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Map each weight of a module to its name in a file.

    Args:
        module: the network.
        names: those of the file, which identify the set of names.

    Returns:
        Released name by our name.
    """
    ours = [name for name in module.state_dict() if not name.endswith(CONSTANTS)]
    given = set(names)
    if isinstance(module, SPSRGenerator) and not any(name.startswith("trunk.") for name in given):
        return {name: spsr_name(name, module) for name in ours}
    if isinstance(module, RRDBNet) and any(name.startswith("RRDB_trunk.") for name in given):
        return {name: esrgan_name(name) for name in ours}
    if isinstance(module, RRDBNet) and any(name.startswith("model.1.sub.") for name in given):
        return {name: first_esrgan_name(name, module) for name in ours}
    return {name: name for name in ours}


def without_copies(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop duplicates, and entries that are no weights, from a file's state.

    A copy without its primary entry is kept, so that it is reported as unexpected.

    Raises:
        ValueError: a copy that differs from its primary entry, or different kernels of the gradient map.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(CONSTANTS)}
    if isinstance(module, Autoencoder):
        return _without_second(kept, ENCODER_COPY, "the encoder")
    if isinstance(module, SPSRGenerator):
        kept = _without_kernels(kept)
        return _without_second(kept, {SPSR_COPY: f"{_spsr_hr_conv(module)}."}, "a convolution")
    return kept


def released_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's state under the released names, with the duplicates and constants that other tools expect."""
    state = module.state_dict()
    if isinstance(module, SPSRGenerator):
        released = {spsr_name(name, module): tensor for name, tensor in state.items()}
        primary = f"{_spsr_hr_conv(module)}."
        copies = {
            SPSR_COPY + name.removeprefix(primary): tensor.clone()
            for name, tensor in released.items()
            if name.startswith(primary)
        }
        kernels = {name: torch.tensor(rows)[None, None].float() for name, rows in SPSR_KERNELS.items()}
        return released | copies | kernels
    if isinstance(module, Autoencoder):
        copies = {
            copy + name.removeprefix(primary): tensor.clone()
            for name, tensor in state.items()
            for copy, primary in ENCODER_COPY.items()
            if name.startswith(primary)
        }
        return state | copies
    return dict(state)


def esrgan_name(name: str) -> str:
    """Translate to the names of ESRGAN's repository: `body.3.rdb1.conv2.bias` is `RRDB_trunk.3.RDB1.conv2.bias`."""
    name = re.sub(r"^body\.(\d+)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2", name)
    name = re.sub(r"^conv_up(\d)", r"upconv\1", name)
    return name.replace("conv_body.", "trunk_conv.").replace("conv_hr.", "HRconv.")


def first_esrgan_name(name: str, module: RRDBNet) -> str:
    """Translate to ESRGAN's first names, which count layers: `conv_body.bias` is `model.1.sub.23.bias`."""
    last = 4 + 3 * len(module.upsamplings)
    return re.sub(r"^conv_last", f"model.{last}", _stacked_name(name, module, "model"))


def spsr_name(name: str, module: SPSRGenerator) -> str:
    """Translate to the names of SPSR's repository: `trunk.conv_body.bias` is `model.1.sub.23.bias`."""
    part, _, inner = name.partition(".")
    steps = len(module.trunk.upsamplings)
    if part == "trunk":
        return re.sub(r"^conv_last", "HR_conv1_new.0", _stacked_name(inner, module.trunk, "model"))
    if part == "branch":
        inner = re.sub(r"^blocks\.(\d)\.(.*)", lambda m: f"b_block_{int(m[1]) + 1}.{_dense_name(m[2])}", inner)
        inner = re.sub(r"^merges\.(\d)", lambda m: f"b_concat_{int(m[1]) + 1}.0", inner)
        inner = re.sub(r"^conv_up(\d)", lambda m: f"b_module.{3 * int(m[1]) - 2}", inner)
        fixed = {
            "conv_first": "b_fea_conv.0",
            "conv_body": "b_LR_conv.0",
            "conv_hr": f"b_module.{3 * steps}",
            "conv_last": f"b_module.{3 * steps + 2}",
            "conv_image": "conv_w.0",
        }
    else:
        inner = re.sub(r"^block\.(.*)", lambda m: f"f_block.{_dense_name(m[1])}", inner)
        fixed = {"merge": "f_concat.0", "conv_hr": "f_HR_conv0.0", "conv_last": "f_HR_conv1.0"}
    return re.sub(r"^(\w+)", lambda m: fixed.get(m[1], m[1]), inner)


def _stacked_name(name: str, module: RRDBNet, stack: str) -> str:
    """Translate an RRDB trunk's name to its index in one stack: first, body, then three a step, then two."""
    name = re.sub(r"^body\.(\d+)\.(.*)", lambda m: f"{stack}.1.sub.{m[1]}.{_dense_name(m[2])}", name)
    name = re.sub(r"^conv_up(\d)", lambda m: f"{stack}.{3 * int(m[1])}", name)
    places = {
        "conv_first": f"{stack}.0",
        "conv_body": f"{stack}.1.sub.{len(module.body)}",
        "conv_hr": f"{stack}.{2 + 3 * len(module.upsamplings)}",
    }
    return re.sub(r"^(\w+)", lambda m: places.get(m[1], m[1]), name)


def _dense_name(name: str) -> str:
    """Translate a name within a dense block: `rdb1.conv2.bias` is `RDB1.conv2.0.bias`."""
    return re.sub(r"^rdb(\d)\.conv(\d)", r"RDB\1.conv\2.0", name)


def _spsr_hr_conv(module: SPSRGenerator) -> str:
    return f"model.{2 + 3 * len(module.trunk.upsamplings)}"


def _without_second(state: Mapping[str, Tensor], copies: Mapping[str, str], what: str) -> dict[str, Tensor]:
    kept = {}
    for name, tensor in state.items():
        primary = _primary_name(name, copies)
        if primary is None or primary not in state:
            kept[name] = tensor
        elif not _identical(tensor, state[primary]):
            raise ValueError(
                f"holds {what} twice, but {name} differs from {primary}; remove the copy if the other is the one to use"
            )
    return kept


def _primary_name(name: str, copies: Mapping[str, str]) -> str | None:
    for copy, primary in copies.items():
        if name.startswith(copy):
            return primary + name.removeprefix(copy)
    return None


def _without_kernels(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, rows in SPSR_KERNELS.items():
        if name in state and not torch.equal(state[name].float(), torch.tensor(rows)[None, None].float()):
            raise ValueError(f"{name} must hold SPSR's gradient kernel, but holds another; choose other weights")
    return {name: tensor for name, tensor in state.items() if name not in SPSR_KERNELS}


def _identical(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(first, second)
