"""Reading of weight files, ours and BasicSR's, as data: nothing in a file is ever executed."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from study.models.autoencoder import Autoencoder
from study.models.strict_state import check_state

# BasicSR writes the averaged weights beside the raw ones; the averaged ones are the released network.
WRAPPERS = ("params_ema", "params")

# AESOP's auto-encoder registers its encoder twice (METHODS 12): the copy's prefixes, and the primary's.
DUPLICATE_PREFIXES = {"encoder.0.": "conv_first.", "encoder.2.": "body.", "encoder.3.": "conv_last."}


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a weight file into a network, strictly.

    The file holds a state dict, or a dict with it under `params_ema` or, failing that, `params`. The networks
    carry BasicSR's names, so released files of RRDBNet, MSRResNet, the VGG-style discriminator and AESOP's
    auto-encoder load as they are (METHODS 12).

    Args:
        module: the network, changed in place; it keeps its device and dtype.
        path: a .pth or .pt file (read by PyTorch's restricted unpickler) or a .safetensors file.

    Raises:
        ValueError: naming the file, if it is absent, empty, damaged, holds more than tensors, or has missing,
            unexpected or wrongly shaped entries. The network is then unchanged.
    """
    path = Path(path)
    state = _select_state(_read(path), path)
    if isinstance(module, Autoencoder):
        state = _without_duplicate_encoder(state, path)
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    check_state(state, shapes, source=str(path), network=module)
    module.load_state_dict(state)


def _read_pickle(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(path, device="cpu")


READERS: dict[str, Callable[[Path], Any]] = {
    ".pth": _read_pickle,
    ".pt": _read_pickle,
    ".safetensors": _read_safetensors,
}


def _read(path: Path) -> Any:
    if path.suffix not in READERS:
        raise ValueError(
            f"{path}: a weight file's name must end in one of {', '.join(READERS)}, but got {path.suffix!r}; "
            "convert or rename it"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such weight file; check the path")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the weight file is empty; copy or download it again")
    try:
        return READERS[path.suffix](path)
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
    """Find the state dict in a file's content, preferring the averaged weights."""
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if key in content), content)
    if not isinstance(content, dict) or not content:
        found = "an empty dict" if content == {} else type(content).__name__
        raise ValueError(f"{path}: must hold a state dict, but got {found}; save `state_dict()` of a network")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"{path}: must hold a state dict (names to tensors), or one under {' or '.join(WRAPPERS)}, "
                f"but its entry {name!r} is {type(value).__name__}; save `state_dict()` of a network"
            )
    return dict(content)


def _without_duplicate_encoder(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Drop the second copy of AESOP's encoder where it equals the first one.

    A copy without its primary entry stays, to be reported as unexpected.
    """
    kept = {}
    for name, tensor in state.items():
        primary = _primary_name(name)
        if primary not in state:
            kept[name] = tensor
        elif not _identical(tensor, state[primary]):
            raise ValueError(
                f"{path}: holds the encoder twice, but {name} differs from {primary}; "
                "remove the `encoder.` entries if the others are the ones to use"
            )
    return kept


def _primary_name(name: str) -> str | None:
    for duplicate, primary in DUPLICATE_PREFIXES.items():
        if name.startswith(duplicate):
            return primary + name.removeprefix(duplicate)
    return None


def _identical(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(first, second)
