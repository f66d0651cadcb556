"""Read, write and interpolate weights, ours and those of other tools; no code in a file is ever executed."""

import hashlib
import io
import json
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from study.files import DamagedError, write_atomically
from study.models.released_names import CONSTANTS, released_state, table_for, without_copies
from study.models.spsr import SPSRGenerator
from study.models.strict_state import check_state

log = logging.getLogger(__name__)

# What a file may hold its state dict under, in the order of preference: BasicSR writes averaged weights beside raw
# ones, and the averaged ones are the released network; the others are PyTorch Lightning's and other projects'.
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator")

# Of names in a trainer that has the network as one of its parts; `model.1` is a layer in ESRGAN's first names.
_PART_PREFIXES = (r"net_g\.", r"generator\.", r"model\.(?!\d)")

# Of every name after training on several GPUs, or of a compiled network; they may be nested.
_ANY_PREFIX = re.compile("|".join((r"module\.", r"_orig_mod\.", *_PART_PREFIXES)))

Layout = Literal["basicsr", "plain"]

_MAX_INFLATION = 10
"""Of a zip file's content over its size."""

_CHECKSUM = "aesop-study.sha256"
"""Entry of a safetensors file's metadata: of the names, types and shapes, and of the data. Other tools ignore it."""


class _InflatingError(ValueError):
    """A weight file that is a decompression bomb."""


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a weight file into a network, strictly.

    The file holds a state dict, or a dict with it under one of `WRAPPERS`. Its names, without prefixes of trainers, are
    ours, or those under which the network was released: BasicSR's and both older sets of ESRGAN's for RRDBNet, SPSR's
    for its generator, AESOP's with its duplicate encoder, SwinIR's, BasicSR's for the others.

    Args:
        module: the network, changed in place; it keeps its device and dtype.
        path: a .pth, .pt or .ckpt file (read by PyTorch's restricted unpickler) or a .safetensors file.

    Raises:
        ValueError: naming the file, if it is absent, empty, damaged, holds more than tensors, or has missing,
            unexpected or wrongly shaped entries. The network is then unchanged.
        DamagedError: a ValueError: the file does not match the checksum with which `save_weights` wrote it.
        OSError: the file system refused to read it.
    """
    load_state(module, read_state(Path(path)), str(path))


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load what `read_state` read of a file, the source, into a network; ValueError as `load_weights`."""
    try:
        state = without_copies(module, state)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    table = table_for(module, state)
    current = module.state_dict()
    check_state(state, {table[name]: current[name].shape for name in table}, source=source, network=module)
    constants = {name: tensor for name, tensor in current.items() if name.endswith(CONSTANTS)}
    module.load_state_dict(constants | {name: state[released] for name, released in table.items()})


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a weight file, under the file's names, on the CPU; ValueError as `load_weights`."""
    return _select_state(_read(path), path)


def is_finite(module: nn.Module) -> bool:
    """Return whether all weights and buffers of a network are finite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in module.state_dict().values())


def save_weights(module: nn.Module, path: str | Path, layout: Layout = "basicsr") -> None:
    """Write a network's weights atomically, a .safetensors file with a checksum.

    Args:
        module: the network.
        path: a .pth or .pt file, or a .safetensors file.
        layout: "basicsr" writes the names of BasicSR, chaiNNer and the authors' code (a .pth holds them under `params`;
            SPSR's, as its authors have it, bare); "plain" writes our names, bare.

    Raises:
        ValueError: another ending, or another layout.
        StorageError: the file system refused; an earlier file is unchanged.
    """
    path = Path(path)
    _check_suffix(path, WRITTEN)
    if layout not in ("basicsr", "plain"):
        raise ValueError(f"layout must be 'basicsr' or 'plain', but got {layout!r}")
    state = released_state(module) if layout == "basicsr" else module.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if path.suffix == ".safetensors":
        checksum = _checksum(safetensors.torch.save(tensors))[0]
        write_atomically(path, safetensors.torch.save(tensors, {_CHECKSUM: checksum}))
        return
    wrapped = layout == "basicsr" and not isinstance(module, SPSRGenerator)
    buffer = io.BytesIO()
    torch.save({"params": tensors} if wrapped else tensors, buffer)
    write_atomically(path, buffer.getvalue())


def interpolate_states(first: Mapping[str, Tensor], second: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Compute (1 - alpha) * first + alpha * second of two networks' weights; integer entries are the first's.

    Wang et al., "Deep network interpolation", CVPR 2019.

    Args:
        first, second: state dicts of the same names and shapes.
        alpha: 0 gives the first, 1 the second; values outside [0, 1] extrapolate.

    Raises:
        ValueError: entries in only one of them, or of different shapes.
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


def _read_pickle(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size, inflated = path.stat().st_size, sum(entry.file_size for entry in archive.infolist())
        if inflated > _MAX_INFLATION * size:
            raise _InflatingError(
                f"{path}: {size:,} bytes would inflate to {inflated:,}, more than {_MAX_INFLATION} times as much; "
                "PyTorch does not compress weights, so this file is not to be trusted: get it from its source again"
            )
    with warnings.catch_warnings():  # what is wrong is said by the errors, or by the state that is missing
        warnings.filterwarnings("ignore", message="Detected pickle protocol")
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    content = path.read_bytes()
    tensors = safetensors.torch.load(content)
    checksum, written = _checksum(content)
    if written not in (None, checksum):
        raise DamagedError(f"{path} is damaged: it is not what was written, by the checksum in its metadata")
    return tensors


def _checksum(content: bytes) -> tuple[str, str | None]:
    """Return the SHA-256 of a safetensors file without its metadata, and the one in them; None in files of others."""
    start = 8 + int.from_bytes(content[:8], "little")
    entries = json.loads(content[8:start])
    written = entries.pop("__metadata__", {}).get(_CHECKSUM)
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode())
    digest.update(memoryview(content)[start:])
    return digest.hexdigest(), written


READERS: dict[str, Callable[[Path], Any]] = {
    ".pth": _read_pickle,
    ".pt": _read_pickle,
    ".ckpt": _read_pickle,
    ".safetensors": _read_safetensors,
}


WRITTEN = (".pth", ".pt", ".safetensors")


def _check_suffix(path: Path, known: Collection[str]) -> None:
    if path.suffix not in known:
        raise ValueError(
            f"{path}: a weight file's name must end in one of {', '.join(known)}, but got {path.suffix!r}; "
            "convert or rename it"
        )


def _read(path: Path) -> Any:
    _check_suffix(path, READERS)
    if not path.is_file():
        raise ValueError(f"{path}: no such weight file; check the path")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the weight file is empty; copy or download it again")
    try:
        return READERS[path.suffix](path)
    except (DamagedError, _InflatingError):
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: not a PyTorch weight file, or one that holds more than plain tensors; "
            "nothing in it was run. If you trust its source, save the bare `state_dict()` there again"
        ) from error
    except Exception as error:  # damaged bytes surface as EOFError, RuntimeError, KeyError, OSError, ...
        raise ValueError(
            f"{path}: the weight file cannot be read ({type(error).__name__}) and is probably damaged or "
            "cut short; copy or download it again"
        ) from error


def _select_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file's content, preferably the averaged weights."""
    trainer = False
    if isinstance(content, dict):
        keys = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
        key = next((key for key in keys if content[key]), None)
        if key is not None and key != keys[0]:
            log.warning("%s: %s is empty, so %s is read", path, keys[0], key)
        trainer = key == "state_dict"
        content = content[key or keys[0]] if keys else content
    if not isinstance(content, dict) or not content:
        found = "an empty dict" if content == {} else type(content).__name__
        raise ValueError(f"{path}: must hold a state dict, but got {found}; save `state_dict()` of a network")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path}: must hold a state dict (names to tensors), or one under {' or '.join(WRAPPERS)}, "
                f"but its entry {name!r} is {type(value).__name__}; save `state_dict()` of a network"
            )
    return _without_prefixes(_generator_of(content, path) if trainer else content)


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off prefixes that all names have."""
    while (found := _ANY_PREFIX.match(next(iter(state)))) and all(name.startswith(found[0]) for name in state):
        state = {name.removeprefix(found[0]): tensor for name, tensor in state.items()}
    return state


def _generator_of(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the generator's part of a trainer that has other parts beside it, else all."""
    for prefix in _PART_PREFIXES:
        part = {name: tensor for name, tensor in state.items() if re.match(prefix, name)}
        others = [name for name in state if name not in part]
        if part and others:
            log.warning("%s: %d entries, such as %r, are no part of its generator", path, len(others), others[0])
            return part
    return state
