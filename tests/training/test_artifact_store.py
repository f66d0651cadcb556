"""Artifacts in a folder and in an object store: there whole or not at all, the same on every node."""

import os
from collections.abc import Callable
from dataclasses import replace as with_field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file, save_file

from study.config import RunConfig
from study.data.remote import CACHE_VARIABLE, RemoteError
from study.files import DamagedError, StorageError
from study.record.paths import BUDGET, CONFIG, WEIGHTS
from study.training.artifact_store import CHECKPOINT, MANIFEST, ArtifactFolder, RemoteArtifacts, open_artifacts
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
    content = {path.name: path.read_bytes() for path in other.open(KEY).iterdir()}
    assert content.keys() == {"weights", "budget", MANIFEST}
    assert (content["weights"], content["budget"]) == (b"w" * 1000, b"{}")
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
    with pytest.raises(DamagedError, match=rf"storage/{KEY} is damaged: weights is not what was stored"):
        on_node("b").open(KEY)
    assert not (on_node("b").folder / KEY).exists()
    (tmp_path / "storage" / KEY / MANIFEST).write_text('{"../../weights": "0"}')
    with pytest.raises(DamagedError, match=r"is damaged: its complete\.json is no list of its files"):
        on_node("b").verify(KEY)


def test_a_damaged_local_copy_is_fetched_again(on_node: Callable[[str], RemoteArtifacts]) -> None:
    finished(on_node("a"), weights=b"good")
    place = on_node("b").open(KEY)
    (place / "weights").write_bytes(b"evil")
    assert (on_node("b").open(KEY) / "weights").read_bytes() == b"good"


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda folder: os.truncate(folder / WEIGHTS, 1000),
    "emptied": lambda folder: os.truncate(folder / WEIGHTS, 0),
    "NaN": lambda folder: fill_with_nan(folder / WEIGHTS),
    "a flipped bit": lambda folder: flip(folder / WEIGHTS, -100),
    "another cost": lambda folder: (folder / BUDGET).write_text("{}"),
    "lost weights": lambda folder: (folder / WEIGHTS).unlink(),
    "lost manifest": lambda folder: (folder / MANIFEST).unlink(),
    "a manifest that is none": lambda folder: (folder / MANIFEST).write_text("[]"),
}


def fill_with_nan(file: Path) -> None:
    """Replace all weights by NaN, as a tool would that knows no checksum."""
    tensors = {name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(file).items()}
    save_file(tensors, file)


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["folder", "remote"])
def test_a_damaged_artifact_is_trained_again(
    damage: str,
    kind: str,
    on_node: Callable[[str], RemoteArtifacts],
    open_context: Callable[[Path], RunContext],
    small_run: RunConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = open_context(tmp_path / "storage")
    opened = context if kind == "folder" else with_field(context, artifacts=on_node("a"))
    first = ensure_artifact(small_run, "fidelity", opened)
    good = first.weights.read_bytes()
    DAMAGES[damage](tmp_path / "storage" / first.key)
    if kind == "remote":
        opened = with_field(context, artifacts=on_node("b"))
        if damage == "lost manifest":
            assert not opened.artifacts.has(first.key)
    again = ensure_artifact(small_run, "fidelity", opened)
    assert (again.reused, again.weights.read_bytes()) == (False, good)
    if (kind, damage) != ("remote", "lost manifest"):
        assert "it is trained again" in caplog.text
    assert ensure_artifact(small_run, "fidelity", opened).reused
    assert sorted(path.name for path in (tmp_path / "storage" / first.key).iterdir()) == sorted(
        [BUDGET, CONFIG, MANIFEST, WEIGHTS]
    )


def test_an_artifact_is_published_from_another_file_system(tmp_path: Path) -> None:
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("/dev/shm is no other file system")
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (tmp_path / ".partial").symlink_to(elsewhere)
        store = ArtifactFolder(tmp_path)
        finished(store, weights=b"w" * 1000, **{CHECKPOINT: b"state"})
        assert os.listdir(elsewhere) == []
    assert store.verify(KEY)
    assert sorted(path.name for path in store.open(KEY).iterdir()) == [MANIFEST, "weights"]
    assert sorted(os.listdir(tmp_path)) == [".partial", KEY]


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
