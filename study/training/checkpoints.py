"""Checkpoints: the state of a run and the key of what it belongs to, in one file."""

import io
from pathlib import Path
from typing import Any

import torch

from study.files import write_atomically


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a checkpoint with the key of its run; StorageError as `write_atomically`."""
    buffer = io.BytesIO()  # torch.save on a full disk raises no OSError, a plain write does
    torch.save({"key": key, "state": state}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """Load a checkpoint onto the CPU; None if there is none.

    Raises:
        ValueError: the file is not a complete checkpoint, or belongs to another key.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        owner, state = saved["key"], saved["state"]
    except Exception as error:
        raise ValueError(
            f"{path} is not a readable checkpoint ({type(error).__name__}); remove it to start again"
        ) from error
    if owner != key:
        raise ValueError(
            f"{path} is a checkpoint of {owner}, but this configuration is {key}; "
            "name another output directory, or use the configuration that it was started with"
        )
    return state
