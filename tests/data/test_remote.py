"""A remote store is copied once and completely, for any number of processes; a local one is not copied."""

import multiprocessing
import os
import re
import threading
from pathlib import Path

import pyarrow.fs
import pytest

from study.data import remote
from study.data.remote import RemoteError, is_uri, local_copy

CONTENT = bytes(range(256)) * 40_000  # 10 MB


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(remote.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "storage" / "set.arrow"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def copies(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.suffix != ".lock")


def test_uris_are_distinguished_from_paths() -> None:
    assert is_uri("s3://bucket/set.arrow")
    assert is_uri("file:///data/set.arrow")
    assert not is_uri("/data/set.arrow")
    assert not is_uri("C:set.arrow")


def test_a_local_path_is_returned_unchanged(store: Path, cache: Path) -> None:
    assert local_copy(str(store)) == store
    assert local_copy(str(store.parent)) == store.parent
    assert not cache.exists()


def test_a_uri_is_copied_once(store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = local_copy(store.as_uri())
    assert copy.parent == cache
    assert copy.read_bytes() == CONTENT
    monkeypatch.setattr(remote, "_fetch", lambda *_: pytest.fail("copied again"))
    assert local_copy(store.as_uri()) == copy


def test_a_changed_store_is_copied_anew(store: Path, cache: Path) -> None:
    first = local_copy(store.as_uri())
    store.write_bytes(CONTENT[::-1])
    os.utime(store, ns=(1, 1))
    second = local_copy(store.as_uri())
    assert first != second
    assert second.read_bytes() == CONTENT[::-1]


def test_many_threads_and_processes_make_one_copy(store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    original = remote._fetch
    monkeypatch.setattr(remote, "_fetch", lambda *args: (fetched.append(1), original(*args)))
    threads = [threading.Thread(target=local_copy, args=(store.as_uri(),)) for _ in range(8)]
    forked = [multiprocessing.get_context("fork").Process(target=local_copy, args=(store.as_uri(),)) for _ in range(3)]
    for starter in (*forked, *threads):
        starter.start()
    for starter in (*forked, *threads):
        starter.join()
    assert [process.exitcode for process in forked] == [0, 0, 0]
    assert len(fetched) <= 1  # 0 where a forked process was first
    assert [copy.read_bytes() == CONTENT for copy in copies(cache)] == [True]


def test_a_partial_copy_is_started_again(store: Path, cache: Path) -> None:
    copy = local_copy(store.as_uri())
    copy.rename(copy.with_suffix(".partial"))
    copy.with_suffix(".partial").write_bytes(b"cut")
    assert local_copy(store.as_uri()).read_bytes() == CONTENT
    assert copies(cache) == [copy]


def test_an_object_store(store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an object store gives (size and time, a stream), through pyarrow's own in-memory file system."""
    objects = pyarrow.fs._MockFileSystem()
    objects.create_dir("bucket")
    with objects.open_output_stream("bucket/set.arrow") as stream:
        stream.write(CONTENT)
    monkeypatch.setattr(remote, "connect", lambda uri: (objects, uri.removeprefix("s3://")))
    assert local_copy("s3://bucket/set.arrow").read_bytes() == CONTENT
    with pytest.raises(RemoteError, match=r"s3://bucket/other\.arrow: there is no such store"):
        local_copy("s3://bucket/other.arrow")


def test_a_store_on_a_network_file_system_is_copied(store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_on_network", lambda path: path == store)
    copy = local_copy(str(store))
    assert copy.parent == cache
    assert copy.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/data/x.arrow", True), ("/data/fast disk/x.arrow", False), ("/database/x.arrow", False), ("/x.arrow", False)],
)
def test_mounts_are_read_by_the_longest_prefix(path: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = "disk / ext4 rw 0 0\nserver:/export /data nfs4 rw 0 0\ndisk /data/fast\\040disk xfs rw 0 0\n"
    original = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self: mounts if str(self) == "/proc/self/mounts" else original(self))
    assert remote._on_network(Path(path)) is expected


def test_a_long_copy_logs_its_progress(
    store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(remote, "LOG_SECONDS", 0)
    monkeypatch.setattr(remote, "_CHUNK", len(CONTENT) // 4)
    with caplog.at_level("INFO"):
        local_copy(store.as_uri())
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == f"copying {store.as_uri()} (0.01 GB) to {cache}"
    assert len(messages) == 5
    assert re.fullmatch(r"0\.01 of 0\.01 GB, \d+ MB/s, 0 s left", messages[-1])


def test_missing_room_is_reported_before_copying(store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(RemoteError, match=r"0\.01 GB do not fit into .*cache.*AESOP_STUDY_CACHE"):
        local_copy(store.as_uri())
    assert copies(cache) == []


def test_an_incomplete_copy_is_refused(store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_copy", lambda stream, file, size: 17)
    with pytest.raises(RemoteError, match=f"17 of {len(CONTENT)} bytes came; run the same command again"):
        local_copy(store.as_uri())
    assert copies(cache) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gopher://host/set.arrow", r"gopher://host/set\.arrow: this storage cannot be reached"),
        ("file:///nowhere/at/all.arrow", "there is no such store; check the name"),
    ],
)
def test_unreachable_storage_is_named(uri: str, message: str) -> None:
    with pytest.raises(RemoteError, match=message):
        local_copy(uri)


def test_a_remote_folder_is_refused(store: Path) -> None:
    with pytest.raises(RemoteError, match="pack it into one store"):
        local_copy(store.parent.as_uri())


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAEXAMPLE:hunter2@bucket/set.arrow",
        "s3://bucket/set.arrow?region=eu&secret_key=hunter2",
        "abfs://:hunter2@account/set.arrow",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(RemoteError, match=r"set\.arrow: credentials do not belong into the URI") as caught:
        local_copy(uri)
    assert "hunter2" not in str(caught.value)
    assert "AKIA" not in str(caught.value)
