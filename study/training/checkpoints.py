"""Files that are either whole or absent: checkpoints, weights and small JSON, written aside and renamed."""

import errno
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

_FULL = (errno.ENOSPC, errno.EDQUOT)


class StorageError(OSError):
    """A file could not be written (disk full, quota, read-only). What was there before is untouched."""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that there is no space left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step, surviving a crash at any moment.

    Raises:
        StorageError: the file system refused; the old file is still whole and nothing half-written is left.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):  # nothing to remove where not even the folder could be made
            aside.unlink()
        raise StorageError(error.errno, _explain(error, path, len(content)), str(path)) from error


def write_json(path: Path, values: Any) -> None:
    """Write plain JSON types atomically; StorageError as `write_atomically`."""
    write_atomically(path, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a checkpoint that names what it belongs to; StorageError as `write_atomically`."""
    buffer = io.BytesIO()  # torch.save on a full disk raises no OSError, a plain write does
    torch.save({"key": key, "state": state}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """Read a checkpoint back onto the CPU; None if there is none.

    Raises:
        ValueError: the file is not a whole checkpoint, or belongs to something else than `key`.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        owner, state = saved["key"], saved["state"]
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); remove it to start anew"
        ) from error
    if owner != key:
        raise ValueError(
            f"{path} is a checkpoint of {owner}, but this configuration is {key}; "
            "name another output directory, or go back to the configuration that it was started with"
        )
    return state


def save_weights(path: Path, module: nn.Module) -> None:
    """Write a module's state as safetensors; StorageError as `write_atomically`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_atomically(path, to_safetensors(tensors))


def _explain(error: OSError, path: Path, size: int) -> str:
    if error.errno in _FULL:
        return (
            f"no space left for {size / 2**20:.1f} MiB; what was saved before is whole: free some space and start again"
        )
    return f"could not write ({error.strerror}); check the directory's permissions"
