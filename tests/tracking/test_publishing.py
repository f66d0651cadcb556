"""What a finished study publishes: recorded once, uploaded once, and opened again from MLflow alone."""

import json
from pathlib import Path

import mlflow.artifacts
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from study.config import replace, to_dict
from study.config.recipes import aesop
from study.evaluation.systems import open_checkpoint
from study.models import save_weights
from study.models.build import build_generator
from study.record.journal import Journal
from study.record.state import Records
from study.search.pareto_archive import Candidate, Goals
from study.tracking.exporter import Exporter
from study.tracking.publishing import aliases, contributions, publish
from study.tracking.registry import model_name
from study.training.artifact_store import ArtifactFolder

CONFIG = replace(aesop("tiny"), {"generator.features": 4, "generator.blocks": 1})
GOALS = Goals({"psnr_y": "maximize", "swd": "minimize"}, {"psnr_y": 20.0, "swd": 60.0})
KEY = "fidelity-0123456789abcdef"
PAIR = f"{KEY}--0000-0000160"
VALUES = {"fidelity": (30.0, 40.0), "interpolation": (29.5, 25.0), "images": (29.2, 24.0), "late": (29.0, 20.0)}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A study that trained one trial, whose late point, fidelity generator and interpolations are its front."""
    output = tmp_path / "runs" / "quick: one"
    for seed, place in enumerate(
        (
            output / "trials/0000/points/0000080.safetensors",
            output / "trials/0000/points/0000160.safetensors",
            output / f"interpolations/{PAIR}/weights-5000.safetensors",
            tmp_path / "artifacts" / KEY / "weights.safetensors",
        )
    ):
        torch.manual_seed(seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        save_weights(build_generator(CONFIG.generator, 4), place, layout="plain")
    part = {"data": {"scale": 4}, "generator": to_dict(CONFIG)["generator"]}
    (tmp_path / "artifacts" / KEY / "config.json").write_text(json.dumps({"key": KEY, "part": part}))
    for folder in ("references/hr", "references/lq", "references/bicubic", f"references/{KEY}"):
        add_crop(output / folder)
    for folder in (
        "trials/0000/points/0000160",
        f"interpolations/{PAIR}/weights-5000",
        f"interpolations/{PAIR}/pixels-5000",
    ):
        add_crop(output / folder)
    axes = [{"metric": name, "direction": direction} for name, direction in GOALS.directions.items()]
    images = {name: {"name": name, "fingerprint": "5f3c", "images": ["baby"]} for name in ("train", "test")}
    facts = {"id": "0af1", "name": output.name, "space": "quick", "recipe": "aesop", "size": "tiny", "objectives": axes}
    (output / "study.json").write_text(json.dumps(facts | {"code_version": "0.1", "data": images}))
    return output


def add_crop(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "baby.png").write_bytes(f"crop of {folder.name}".encode())


@pytest.fixture
def records(output: Path) -> Records:
    def metrics(name: str) -> dict[str, float]:
        return dict(zip(GOALS.directions, VALUES[name], strict=True))

    records = Records(Journal(output / "journal.jsonl"))
    records.study("RUNNING")
    records.reference("bicubic", kind="bicubic", metrics={"psnr_y": 26.0, "swd": 50.0}, samples="references/bicubic")
    records.reference(KEY, kind="fidelity", metrics=metrics("fidelity"), samples=f"references/{KEY}")
    records.trial(0, to_dict(CONFIG), {}, {"fidelity": KEY})
    records.point(0, {"iteration": 80, "metrics": {"psnr_y": 28.0, "swd": 30.0}, "terms": {}, "budget": {}})
    point = {"iteration": 160, "metrics": metrics("late"), "terms": {}, "budget": {}}
    records.point(0, {**point, "samples": "trials/0000/points/0000160"})
    records.end(0, "COMPLETE")
    records.front(trials_ended=1, hypervolume=1.0, members=["trial 0 at 160", "fidelity abcdef"])
    parents = [{"trial": None, "iteration": None, "fidelity": KEY}, {"trial": 0, "iteration": 160, "fidelity": KEY}]
    for name, values in (("weights-5000", "interpolation"), ("pixels-5000", "images")):
        facts = {"space": name.split("-")[0], "share": 0.5, "parents": parents, "metrics": metrics(values)}
        records.interpolation(PAIR, name, {**facts, "samples": f"interpolations/{PAIR}/{name}"})
    records.study("COMPLETE")
    return records


def publish_all(output: Path, records: Records) -> list[str]:
    def report(folder: Path) -> list[Path]:
        (folder / "report.html").write_text("<p>the answer</p>")
        return [folder / "report.html"]

    return publish(output, records, GOALS, ArtifactFolder(output.parents[1] / "artifacts"), report)


def events(output: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (output / "journal.jsonl").read_text().splitlines()]


def send(output: Path, uri: str) -> None:
    exporter = Exporter(output, uri)
    exporter.start()
    assert exporter.close() == 0


def test_weights_and_crops_of_the_front_are_recorded_once(output: Path, records: Records) -> None:
    assert publish_all(output, records) == []
    once = events(output)
    assert once.count("model") == 3  # the point, the generator, the interpolation of weights; images have none
    assert once.count("aliases") == once.count("front") - 1 == 1  # interpolations have moved the front on
    models = [event["label"] for event in records.journal.events() if event["event"] == "model"]
    assert models == ["fidelity abcdef", f"{PAIR} weights-5000", "trial 0 at 160"]
    again = Records(Journal(output / "journal.jsonl"))
    assert publish_all(output, again) == []
    assert events(output) == once
    assert len(again.hypervolumes) == 1  # the final front is no step of the search


def test_a_changed_report_is_published_anew_and_a_broken_one_is_said(output: Path, records: Records) -> None:
    publish_all(output, records)
    before = events(output)

    def another(folder: Path) -> list[Path]:
        (folder / "report.html").write_text("<p>another answer</p>")
        return [folder / "report.html"]

    def broken(folder: Path) -> list[Path]:
        raise RuntimeError("no glyph for this")

    artifacts = ArtifactFolder(output.parents[1] / "artifacts")
    assert publish(output, records, GOALS, artifacts, another) == []
    assert events(output) == [*before, "files"]
    assert publish(output, records, GOALS, artifacts, broken) == [
        "the report could not be published: RuntimeError: no glyph for this"
    ]
    assert publish(output, records, GOALS, artifacts, None) == []


def test_the_registry_gives_the_weights_back(
    output: Path, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(output, records)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    send(output, uri)
    (output / "mlflow.json").unlink()  # as if nothing had been noted
    send(output, uri)
    client = MlflowClient(uri)
    assert [model.name for model in client.search_registered_models()] == ["quick-one"]
    versions = {version.tags["label"]: version for version in client.search_model_versions("name = 'quick-one'")}
    assert len(client.search_model_versions("name = 'quick-one'")) == len(versions) == 3
    assert versions["trial 0 at 160"].tags["psnr_y"] == "29"
    assert {"trial": "0", "iteration": "160", "front": "yes"}.items() <= versions["trial 0 at 160"].tags.items()
    assert "trial" not in versions["fidelity abcdef"].tags
    run = client.get_run(versions["trial 0 at 160"].run_id)
    assert run.data.tags["trial"] == "0"
    crops = client.list_artifacts(run.info.run_id, "samples/0000160")
    assert [crop.path for crop in crops] == ["samples/0000160/baby.png"]
    for alias, weights in {
        "most-faithful": tmp_path / "artifacts" / KEY / "weights.safetensors",
        "balanced": output / f"interpolations/{PAIR}/weights-5000.safetensors",
        "most-perceptual": output / "trials/0000/points/0000160.safetensors",
    }.items():
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/quick-one@{alias}"))
        opened = open_checkpoint(folder / "weights.safetensors")
        expected = load_file(weights)
        assert opened.scale == 4
        assert all(torch.equal(tensor, expected[name]) for name, tensor in opened.generator.state_dict().items())
    flavours = mlflow.models.Model.load(str(folder)).flavors
    assert set(flavours) == {"aesop_study"}


def test_a_member_that_left_the_front_says_so_and_the_alias_moves(
    output: Path, records: Records, tmp_path: Path
) -> None:
    publish_all(output, records)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    send(output, uri)
    better = {"iteration": 80, "metrics": {"psnr_y": 31.0, "swd": 19.0}, "terms": {}, "budget": {}}
    records.trial(1, to_dict(CONFIG), {}, {"fidelity": KEY})
    records.point(1, better)
    records.end(1, "COMPLETE")
    place = output / "trials/0001/points/0000080.safetensors"
    place.parent.mkdir(parents=True)
    save_weights(build_generator(CONFIG.generator, 4), place, layout="plain")
    publish_all(output, records)
    send(output, uri)
    client = MlflowClient(uri)
    versions = {version.tags["label"]: version for version in client.search_model_versions("name = 'quick-one'")}
    assert {label: version.tags["front"] for label, version in versions.items()} == {
        "fidelity abcdef": "no",
        f"{PAIR} weights-5000": "no",
        "trial 0 at 160": "no",
        "trial 1 at 80": "yes",
    }
    found = client.get_model_version_by_alias("quick-one", "balanced")
    assert found.tags["label"] == "trial 1 at 80"


def test_a_second_study_of_the_name_has_a_model_of_its_own(output: Path, records: Records, tmp_path: Path) -> None:
    publish_all(output, records)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    send(output, uri)
    facts = json.loads((output / "study.json").read_text())
    (output / "study.json").write_text(json.dumps(facts | {"id": "another0id"}))
    (output / "mlflow.json").unlink()
    send(output, uri)
    client = MlflowClient(uri)
    assert [model.name for model in client.search_registered_models()] == ["quick-one", "quick-one-another0"]
    assert len(client.search_model_versions("name = 'quick-one-another0'")) == 3


def test_weights_that_are_gone_are_left_out(output: Path, records: Records) -> None:
    (output / "trials/0000/points/0000160.safetensors").unlink()
    assert publish_all(output, records) == []
    models = [event["label"] for event in records.journal.events() if event["event"] == "model"]
    assert models == ["fidelity abcdef", f"{PAIR} weights-5000"]


# --- aliases -------------------------------------------------------------------------------------------------------


def member(label: str, psnr: float, swd: float) -> Candidate:
    return Candidate(label, (psnr, swd))


def test_what_members_add_is_the_area_that_only_they_dominate() -> None:
    front = [member("a", 30.0, 50.0), member("b", 28.0, 30.0), member("c", 25.0, 20.0)]
    # From the corner (20, 60): a alone has (30 - 28) x (60 - 50), b (28 - 25) x (50 - 30), c (25 - 20) x (30 - 20).
    assert contributions(front, GOALS) == pytest.approx([20.0, 60.0, 50.0])


def test_the_balanced_one_lies_between_the_ends_if_anything_does() -> None:
    front = [member("a", 30.0, 59.0), member("b", 28.0, 58.0), member("c", 27.0, 50.0), member("d", 26.0, 1.0)]
    assert contributions(front, GOALS)[3] == max(contributions(front, GOALS))
    chosen = aliases(front, "abcd", GOALS)
    assert chosen == {"most-faithful": "a", "most-perceptual": "d", "balanced": "c"}
    assert aliases(front, "ab", GOALS) == {"most-faithful": "a", "most-perceptual": "b", "balanced": "a"}
    assert aliases(front, "c", GOALS) == dict.fromkeys(("most-faithful", "most-perceptual", "balanced"), "c")
    assert aliases(front, "", GOALS) == aliases([], "", GOALS) == {}


@pytest.mark.parametrize(
    ("study", "name"),
    [("quick", "quick"), ("a/b:c", "a-b-c"), ("..", "study"), ("it's", "it-s"), ("v1.2", "v1-2"), ("größe", "gr-e")],
)
def test_a_study_s_name_becomes_a_model_s(study: str, name: str) -> None:
    assert model_name(study) == name
