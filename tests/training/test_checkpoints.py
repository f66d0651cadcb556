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
from typing import Any

import pytest
import torch

from study.files import StorageError
from study.training.checkpoints import load_checkpoint, previous_checkpoint, save_checkpoint

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
    save_checkpoint(path, "key", STATE)  # the space that the attempt used is free again
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


def saved_twice(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Save two checkpoints of different states; return their file and the state of the first."""
    first, last = ({"model": {"weight": torch.rand(64)}, "counters": {"iteration": step}} for step in (20, 40))
    path = folder / "checkpoint.pt"
    for state in (first, last):
        save_checkpoint(path, "key", state)
    return path, first


def test_no_changed_byte_is_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, first = saved_twice(tmp_path)
    last, before = path.read_bytes(), previous_checkpoint(path).read_bytes()
    fallen_back = 0
    for place in range(0, len(last), 13):
        path.write_bytes(last[:place] + bytes([last[place] ^ 4]) + last[place + 1 :])
        previous_checkpoint(path).write_bytes(before)
        state = load_checkpoint(path, "key")
        assert state is not None
        if state["counters"]["iteration"] == 20:
            assert torch.equal(state["model"]["weight"], first["model"]["weight"])
            fallen_back += 1
        else:  # the byte was padding
            assert torch.equal(state["model"]["weight"], torch.load(io.BytesIO(last))["state"]["model"]["weight"])
    assert fallen_back > 40
    assert f"{path} is damaged: it is not the checkpoint that was written; the one before it" in caplog.text


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.99])
def test_the_checkpoint_before_a_truncated_one_is_taken(kept: float, tmp_path: Path) -> None:
    path, first = saved_twice(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    state = load_checkpoint(path, "key")
    assert state is not None
    assert state["counters"] == first["counters"]
    save_checkpoint(path, "key", STATE)  # the damaged one does not push out the intact one
    path.write_bytes(b"damaged again")
    again = load_checkpoint(path, "key")
    assert again is not None
    assert again["counters"] == first["counters"]


def test_a_kill_between_both_renames_leaves_a_checkpoint(tmp_path: Path) -> None:
    path, first = saved_twice(tmp_path)
    path.unlink()
    state = load_checkpoint(path, "key")
    assert state is not None
    assert state["counters"] == first["counters"]


@pytest.mark.parametrize("content", [[1, 2], {"key": "key"}, {"state": {}}, "key"])
def test_without_an_intact_checkpoint_training_starts_again(
    content: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = saved_twice(tmp_path)
    for file in (path, previous_checkpoint(path)):
        torch.save(content, file)
    assert load_checkpoint(path, "key") is None
    assert "checkpoint.previous.pt is damaged" in caplog.text
    assert "training starts again" in caplog.text
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(kind: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "checkpoint.pt"
    content = {"key": "key", "state": Payload(trace)}
    buffer = io.BytesIO()
    torch.save(content, buffer) if kind == "torch" else pickle.dump(content, buffer, protocol=2)
    path.write_bytes(buffer.getvalue())
    assert load_checkpoint(path, "key") is None
    assert not trace.exists()
    buffer.seek(0)
    read = pickle.load if kind == "pickle" else lambda file: torch.load(file, weights_only=False)
    read(buffer)  # the payload does work where it is let
    assert trace.exists()
