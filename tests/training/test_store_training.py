"""Training from a store and from the folder that it was packed from is the same, bit for bit, and shares artifacts."""

from pathlib import Path

import pytest
from PIL import Image

from study.config import DataConfig, LargestPatch, RunConfig
from study.data import ImageSet
from study.data.packing import pack, plan_pack
from study.record.paths import TrialDirectory
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import ensure_artifact


@pytest.fixture
def folders(training_images: ImageSet, held_out_images: ImageSet, tmp_path: Path) -> dict[str, Path]:
    places = {}
    for part, images in (("train", training_images), ("test", held_out_images)):
        places[part] = tmp_path / part
        places[part].mkdir()
        for name, image in zip(images.names, images.images, strict=True):
            Image.fromarray(image).save(places[part] / f"{name}.png")
    return places


def context(train: Path | str, test: Path | str, artifacts: Path) -> RunContext:
    data = DataConfig(train=str(train), val=str(test), scale=4)
    return ContextSpec(
        data, largest_patch=LargestPatch(32, "budget.patch"), artifacts=str(artifacts), backbones={}, lpips_weights=None
    ).open()


def results(opened: RunContext, config: RunConfig, directory: Path) -> dict[str, bytes]:
    """All that a run leaves but what a clock said."""
    for stage in ("fidelity", "autoencoder"):
        ensure_artifact(config, stage, opened)
    metrics = []
    trial = TrialDirectory(directory, 0)
    train_adversarial(config, opened, trial, lambda point: metrics.append(point.metrics))
    weights = [*opened.artifacts.folder.glob("*/weights.safetensors"), *trial.points.glob("*.safetensors")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in weights} | {
        "metrics": repr(metrics).encode()
    }


def test_from_a_folder_a_store_and_a_remote_store_come_the_same_weights(
    folders: dict[str, Path], small_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AESOP_STUDY_CACHE", str(tmp_path / "cache"))
    stores = {part: tmp_path / f"{part}.arrow" for part in folders}
    for part, store in stores.items():
        pack(plan_pack([folders[part]], scale=4), store, jobs=1)
    sources = {
        "folder": (folders["train"], folders["test"]),
        "store": (stores["train"], stores["test"]),
        "remote": (stores["train"].as_uri(), stores["test"].as_uri()),
    }
    left = {
        name: results(context(*source, tmp_path / name / "artifacts"), small_run, tmp_path / name / "run")
        for name, source in sources.items()
    }
    assert len(left["folder"]) == 5  # two artifacts, two points, their metrics
    assert left["store"] == left["folder"]
    assert left["remote"] == left["folder"]


def test_what_a_folder_trained_a_store_finds(folders: dict[str, Path], small_run: RunConfig, tmp_path: Path) -> None:
    store = tmp_path / "train.arrow"
    pack(plan_pack([folders["train"]], scale=4), store, jobs=1)
    first = ensure_artifact(small_run, "fidelity", context(folders["train"], folders["test"], tmp_path / "artifacts"))
    again = ensure_artifact(small_run, "fidelity", context(store, folders["test"], tmp_path / "artifacts"))
    assert (first.reused, again.reused) == (False, True)
    assert first.key == again.key
