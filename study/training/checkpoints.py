"""Checkpoints: the state of a run and the key of what it belongs to, in one file; the last two are kept.

The file is an archive in PyTorch's format, with a CRC-32 of each of its members. `torch.load` does not compare them.
"""

import io
import logging
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from study.files import DamagedError, write_atomically

log = logging.getLogger(__name__)


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a checkpoint with the key of its run, and keep the one before; StorageError as `write_atomically`."""
    buffer = io.BytesIO()  # torch.save on a full disk raises no OSError, a plain write does
    torch.save({"key": key, "state": state}, buffer)
    write_atomically(path, buffer.getvalue(), keep=previous_checkpoint(path))


def previous_checkpoint(path: Path) -> Path:
    """Return the file of the checkpoint before the last one."""
    return path.with_stem(f"{path.stem}.previous")


def remove_checkpoints(path: Path) -> None:
    """Remove both checkpoints of a run; nothing if there is none."""
    for file in (path, previous_checkpoint(path)):
        file.unlink(missing_ok=True)


def load_checkpoint(path: Path, key: str, *, extends: Collection[str] = ()) -> dict[str, Any] | None:
    """Load the last checkpoint onto the CPU; if it is damaged, the one before, with a warning.

    Damaged checkpoints are removed, so that the next one that is saved does not push out an intact one.

    Args:
        path: of the last checkpoint.
        key: of the run.
        extends: keys of the shorter runs that the run continues.

    Returns:
        The state; None if there is no intact checkpoint.

    Raises:
        ValueError: the checkpoint belongs to another key.
        OSError: the file system refused to read it.
    """
    for file in (path, previous_checkpoint(path)):
        try:
            owner, state = _read(file)
        except FileNotFoundError:
            continue
        except DamagedError as error:
            instead = "the one before it, if there is one, is used" if file == path else "training starts again"
            log.warning("%s; %s", error, instead)
            file.unlink(missing_ok=True)
            continue
        if owner not in (key, *extends):
            raise ValueError(
                f"{file} is a checkpoint of {owner}, but this configuration is {key}; "
                "name another output directory, or use the configuration that it was started with"
            )
        return state
    return None


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """Return a checkpoint's key and state; DamagedError if its content is not what was written."""
    content = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:
            changed = archive.testzip()
        if changed is not None:
            raise ValueError(f"{changed} does not match its CRC-32")
        content.seek(0)
        saved = torch.load(content, map_location="cpu", weights_only=True)
        return saved["key"], saved["state"]
    except Exception as error:  # damaged bytes surface as errors of many types
        raise DamagedError(f"{path} is damaged: it is not the checkpoint that was written") from error
