"""Atomic writes keep either the old or the new file, whatever the file system does."""

import errno
import json
import os
import pickle
from pathlib import Path

import pytest

from study import files
from study.files import (
    DamagedError,
    StorageError,
    check_writable,
    read_checked_json,
    storage_fault,
    write_atomically,
    write_checked_json,
    write_json,
)


def test_content_is_replaced_and_no_temporary_file_remains(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    for content in (b"one", b"another, longer", b""):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert os.listdir(path.parent) == ["file"]


def test_a_name_may_have_all_the_bytes_of_a_name(tmp_path: Path) -> None:
    for name in ("a" * 251 + ".png", "\u00e9" * 125 + ".png"):
        write_atomically(tmp_path / name, b"content")
        assert (tmp_path / name).read_bytes() == b"content"


def test_the_old_file_exists_until_the_new_one_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    seen: list[tuple[bytes, bytes]] = []

    def fsync(descriptor: int) -> None:
        temporary = Path(f"/proc/self/fd/{descriptor}")
        seen.append((path.read_bytes(), temporary.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"new")
    assert seen == [(b"old", b"new")]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_at_the_flush_keeps_the_old_file(
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


def test_a_file_in_place_of_a_folder_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(StorageError, match=r"could not write.*file/inner"):
        write_atomically(tmp_path / "file" / "inner", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_refused_with_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    for fine in (tmp_path, tmp_path / "new" / "deeper", tmp_path / "file"):
        check_writable(fine, "--output")
    with pytest.raises(StorageError, match="--artifacts cannot be written: Not a directory; name another"):
        check_writable(tmp_path / "file" / "x", "--artifacts")
    with pytest.raises(StorageError, match="--output cannot be written: File name too long"):
        check_writable(tmp_path / ("x" * 300), "--output")
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a read-only file system; root may write anywhere else
    with pytest.raises(StorageError, match=f"cannot be written: {tmp_path} is read-only, or not yours; name another"):
        check_writable(tmp_path / "new", "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_storage_error_can_be_pickled() -> None:
    error = StorageError(errno.ENOSPC, "no space left", "/somewhere/checkpoint.pt")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.errno, str(back)) == (StorageError, errno.ENOSPC, str(error))


def test_json_is_sorted_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(files, "write_atomically", lambda _path, content: written.append(content))
    write_json(tmp_path / "one.json", {"b": [1, 2.5, None], "a": {"x": "ä"}})
    write_json(tmp_path / "two.json", {"a": {"x": "ä"}, "b": [1, 2.5, None]})
    assert written[0] == written[1]
    assert json.loads(written[0]) == {"a": {"x": "ä"}, "b": [1, 2.5, None]}


def test_checked_json_refuses_any_other_content(tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    values = {"psnr": 28.25, "steps": 40, "name": "ä", "loss": [float("inf")]}
    write_checked_json(path, values)
    text = path.read_text()
    assert read_checked_json(path) == values
    for damaged in (text.replace("28.25", "98.25"), text.replace("}", ""), "", "[]", "7", text.replace("40", "41")):
        path.write_text(damaged)
        with pytest.raises(DamagedError, match=r"point\.json is damaged"):
            read_checked_json(path)
    path.write_text(json.dumps(values))  # of a person, or of an earlier version
    assert read_checked_json(path, required=False) == values
    with pytest.raises(DamagedError, match="an earlier version"):
        read_checked_json(path)


def test_the_file_system_is_found_behind_other_errors() -> None:
    def raised(error: OSError, *, hidden: bool) -> Exception:
        try:
            try:
                raise error
            except OSError as fault:
                raise ValueError("cannot be read") from (None if hidden else fault)
        except ValueError as outer:
            return outer

    for number in (errno.EIO, errno.EROFS, errno.EXDEV, errno.ESTALE, errno.ENOENT, errno.ENOSPC):
        fault = OSError(number, os.strerror(number))
        assert storage_fault(raised(fault, hidden=False)) is fault
        assert storage_fault(raised(fault, hidden=True)) is None
    assert storage_fault(OSError("cannot identify image file")) is None  # Pillow's, about a file's content
    assert storage_fault(ValueError("diverged")) is None
