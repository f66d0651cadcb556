"""Checkpoints are whole whatever the file system does, and only data."""

import errno
import io
import os
import pickle
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from study.files import StorageError
from study.training.checkpoints import load_checkpoint, save_checkpoint

STATE = {"model": {"weight": torch.arange(5.0)}, "counters": {"iteration": 7, "term_sums": {"pixel": 0.1}}}


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.trace),)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let the system refuse to write files any larger; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small file system can only be mounted as root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_old_checkpoint_and_is_recovered_from(small_disk: Path) -> None:
    path = small_disk / "checkpoint.pt"
    save_checkpoint(path, "key", STATE)
    old = path.read_bytes()
    large = {"model": {"weight": torch.rand(2**17)}}
    with pytest.raises(StorageError, match=r"no space left for 0\.5 MiB.*free some space") as caught:
        save_checkpoint(path, "key", large)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert os.listdir(small_disk) == ["checkpoint.pt"]
    assert path.read_bytes() == old
    save_checkpoint(path, "key", STATE)  # the room that the attempt took is free again
    assert load_checkpoint(path, "key") is not None


def test_a_write_that_stops_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, "key", STATE)
    old = path.read_bytes()
    with files_limited_to(8192), pytest.raises(StorageError, match=r"could not write.*checkpoint\.pt") as caught:
        save_checkpoint(path, "key", {"model": {"weight": torch.rand(2**14)}})
    assert caught.value.errno == errno.EFBIG
    assert os.listdir(tmp_path) == ["checkpoint.pt"]
    assert path.read_bytes() == old


def test_checkpoint_comes_back_with_its_types(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path, "key") is None
    save_checkpoint(path, "key", STATE)
    state = load_checkpoint(path, "key")
    assert state is not None
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])
    assert state["counters"] == STATE["counters"]


def test_checkpoint_of_another_configuration_is_refused_with_both_keys(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, "fidelity-00", STATE)
    with pytest.raises(ValueError, match=r"is a checkpoint of fidelity-00, but .* is fidelity-11; name another"):
        load_checkpoint(path, "fidelity-11")
    assert path.exists()


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_truncated_checkpoint_is_refused_by_name(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, "key", STATE | {"more": torch.rand(4096)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint .*remove it to start again"):
        load_checkpoint(path, "key")


@pytest.mark.parametrize("content", [[1, 2], {"key": "key"}, {"state": {}}, "key"])
def test_a_file_that_is_no_checkpoint_is_refused_by_name(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt", "key")


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(kind: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "checkpoint.pt"
    content = {"key": "key", "state": Payload(trace)}
    buffer = io.BytesIO()
    torch.save(content, buffer) if kind == "torch" else pickle.dump(content, buffer, protocol=2)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(path, "key")
    assert not trace.exists()
    buffer.seek(0)
    read = pickle.load if kind == "pickle" else lambda file: torch.load(file, weights_only=False)
    read(buffer)  # the payload does work where it is let
    assert trace.exists()
