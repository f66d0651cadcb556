"""Artifacts in a folder and in an object store: there whole or not at all, the same on every node."""

from collections.abc import Callable
from dataclasses import replace as with_field
from pathlib import Path

import pytest

from study.config import RunConfig
from study.data.remote import CACHE_VARIABLE, RemoteError
from study.files import StorageError
from study.record.paths import WEIGHTS
from study.training.artifact_store import ArtifactFolder, RemoteArtifacts, open_artifacts
from study.training.context import RunContext
from study.training.loop import Progress
from study.training.stages.artifacts import ensure_artifact

KEY = "fidelity-0123456789ab"


class Killed(Exception):
    """Stands for a kill -9."""


@pytest.fixture
def on_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RemoteArtifacts]:
    """Open the same storage from a node, which has a disk of its own."""

    def open_there(node: str) -> RemoteArtifacts:
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / node))
        return RemoteArtifacts((tmp_path / "storage").as_uri())

    return open_there


def finished(store: ArtifactFolder, **files: bytes) -> None:
    place = store.partial_dir(KEY)
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    store.publish(KEY)


def test_a_path_is_a_folder_and_a_uri_is_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert type(open_artifacts("runs/artifacts")) is ArtifactFolder
    remote = open_artifacts(tmp_path.as_uri())
    assert (type(remote), str(remote)) == (RemoteArtifacts, tmp_path.as_uri())
    with pytest.raises(RemoteError, match="nowhere://bucket/x: this storage cannot be reached"):
        open_artifacts("nowhere://bucket/x")


def test_what_one_node_finished_the_others_have(on_node: Callable[[str], RemoteArtifacts], tmp_path: Path) -> None:
    first = on_node("a")
    assert not first.has(KEY)
    finished(first, weights=b"w" * 1000, budget=b"{}")
    other = on_node("b")
    assert other.has(KEY)
    assert {path.name: path.read_bytes() for path in other.open(KEY).iterdir()} == {
        "weights": b"w" * 1000,
        "budget": b"{}",
    }
    (tmp_path / "storage").rename(tmp_path / "away")
    assert other.has(KEY)  # copied once: the storage is not asked any more
    assert (other.open(KEY) / "weights").exists()


def test_files_without_the_manifest_are_no_artifact(on_node: Callable[[str], RemoteArtifacts], tmp_path: Path) -> None:
    (tmp_path / "storage" / KEY).mkdir(parents=True)
    (tmp_path / "storage" / KEY / "weights").write_bytes(b"half of th")
    assert not on_node("a").has(KEY)
    finished(on_node("a"), weights=b"all of them")
    assert (on_node("b").open(KEY) / "weights").read_bytes() == b"all of them"


def test_what_is_not_what_was_stored_is_refused(on_node: Callable[[str], RemoteArtifacts], tmp_path: Path) -> None:
    finished(on_node("a"), weights=b"good")
    (tmp_path / "storage" / KEY / "weights").write_bytes(b"evil")
    with pytest.raises(StorageError, match=r"weights is not what was stored; remove the artifact"):
        on_node("b").open(KEY)
    assert not (on_node("b").folder / KEY).exists()
    (tmp_path / "storage" / KEY / "complete.json").write_text('{"../../weights": "0"}')
    with pytest.raises(StorageError, match=r"names a file outside the artifact: \.\./\.\./weights"):
        on_node("b").open(KEY)


@pytest.mark.parametrize("kind", ["folder", "remote"])
def test_the_second_to_publish_discards_its_copy(
    kind: str, on_node: Callable[[str], RemoteArtifacts], tmp_path: Path
) -> None:
    open_there = on_node if kind == "remote" else lambda _: ArtifactFolder(tmp_path / "shared")
    finished(open_there("a"), weights=b"first")
    finished(open_there("b"), weights=b"second")
    assert (open_there("b").open(KEY) / "weights").read_bytes() == b"first"
    assert not open_there("b").partial_dir(KEY).exists()


def test_another_node_goes_on_from_the_checkpoint_to_the_same_bits(
    on_node: Callable[[str], RemoteArtifacts],
    open_context: Callable[[Path], RunContext],
    small_run: RunConfig,
    tmp_path: Path,
) -> None:
    unbroken = ensure_artifact(small_run, "fidelity", open_context(tmp_path / "unbroken")).weights.read_bytes()

    def at(node: str) -> RunContext:
        return with_field(open_context(tmp_path), artifacts=on_node(node))

    def killed(progress: Progress) -> None:
        if progress.iteration == 4:
            raise Killed

    with pytest.raises(Killed):
        ensure_artifact(small_run, "fidelity", at("a"), killed)
    reached: list[int] = []
    made = ensure_artifact(small_run, "fidelity", at("b"), lambda progress: reached.append(progress.iteration))
    assert reached == [4]  # from a's checkpoint at 2
    assert made.weights.read_bytes() == unbroken
    assert not list((tmp_path / "storage" / ".partial").rglob("*.pt"))

    found = ensure_artifact(small_run, "fidelity", at("a"))
    assert (found.reused, found.weights.name, found.weights.read_bytes()) == (True, WEIGHTS, unbroken)


def test_a_checkpoint_that_only_this_node_has_is_not_gone_on_from(on_node: Callable[[str], RemoteArtifacts]) -> None:
    place = on_node("a").partial_dir(KEY)
    place.mkdir(parents=True)
    (place / "checkpoint.pt").write_bytes(b"of an upload that failed")
    assert not (on_node("a").partial_dir(KEY) / "checkpoint.pt").exists()


def test_storage_that_refuses_is_named(on_node: Callable[[str], RemoteArtifacts], tmp_path: Path) -> None:
    store = on_node("a")
    place = store.partial_dir(KEY)
    place.mkdir(parents=True)
    (place / "checkpoint.pt").write_bytes(b"x")
    (tmp_path / "storage").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"storage/\.partial/fidelity.*could not|could not.*storage/\.partial"):
        store.checkpoint_saved(KEY)
