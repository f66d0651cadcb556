"""Files that are whole or absent, whatever the file system does, and checkpoints that are only data."""

import errno
import io
import json
import os
import pickle
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from study.models import MSRResNet, load_weights
from study.training import checkpoints
from study.training.checkpoints import (
    StorageError,
    load_checkpoint,
    save_checkpoint,
    save_weights,
    write_atomically,
    write_json,
)

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


def test_content_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    for content in (b"one", b"another, longer", b""):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert os.listdir(path.parent) == ["file"]


def test_the_old_file_is_there_until_the_new_one_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    seen: list[tuple[bytes, bytes]] = []

    def fsync(descriptor: int) -> None:
        aside = Path(f"/proc/self/fd/{descriptor}")
        seen.append((path.read_bytes(), aside.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"new")
    assert seen == [(b"old", b"new")]
    assert path.read_bytes() == b"new"


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_space_that_runs_out_when_the_cache_is_flushed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fsync(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match=r"no space left.*free some space and start again") as caught:
        write_atomically(path, b"new")
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert isinstance(caught.value.__cause__, OSError)
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


def test_a_file_where_a_folder_is_needed_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(StorageError, match=r"could not write.*file/inner"):
        write_atomically(tmp_path / "file" / "inner", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_storage_error_survives_the_way_between_processes() -> None:
    error = StorageError(errno.ENOSPC, "no space left", "/somewhere/checkpoint.pt")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.errno, str(back)) == (StorageError, errno.ENOSPC, str(error))


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
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a readable checkpoint .*remove it to start anew"):
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


def test_weights_are_those_of_the_module_whatever_its_memory_layout(tmp_path: Path) -> None:
    module = MSRResNet(4, 1, 2)
    module.to(memory_format=torch.channels_last)
    save_weights(tmp_path / "weights.safetensors", module)
    other = MSRResNet(4, 1, 2)
    load_weights(other, tmp_path / "weights.safetensors")
    state = other.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())


def test_weights_include_buffers(tmp_path: Path) -> None:
    module = nn.BatchNorm2d(3)
    module(torch.rand(2, 3, 4, 4))
    save_weights(tmp_path / "weights.safetensors", module)
    other = nn.BatchNorm2d(3)
    load_weights(other, tmp_path / "weights.safetensors")
    assert torch.equal(other.get_buffer("running_mean"), module.get_buffer("running_mean"))


def test_json_is_sorted_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(checkpoints, "write_atomically", lambda _path, content: written.append(content))
    write_json(tmp_path / "one.json", {"b": [1, 2.5, None], "a": {"x": "ä"}})
    write_json(tmp_path / "two.json", {"a": {"x": "ä"}, "b": [1, 2.5, None]})
    assert written[0] == written[1]
    assert json.loads(written[0]) == {"a": {"x": "ä"}, "b": [1, 2.5, None]}
