"""What a finished study publishes: recorded once, uploaded once, and opened again from MLflow alone."""

from pathlib import Path

import mlflow.artifacts
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from study.config import replace, to_dict
from study.config.recipes import aesop
from study.evaluation.systems import open_checkpoint
from study.files import write_checked_json
from study.models import save_weights
from study.models.build import build_generator
from study.record.events import (
    FrontMoved,
    InterpolationEvaluated,
    ModelPublished,
    PointEvaluated,
    ReferenceEvaluated,
    StudyStateChanged,
    TrialEnded,
    TrialStarted,
)
from study.record.journal import Journal
from study.record.paths import RunDirectory, point_samples, reference_samples
from study.record.points import FidelityPoint, InterpolatedPoint, Spent, TrialPoint
from study.record.state import Recorder
from study.search.pareto_archive import Candidate
from study.tracking.exporter import Exporter
from study.tracking.publishing import aliases, contributions, publish
from study.tracking.registry import model_name
from study.training.artifact_store import ArtifactFolder
from tests.tracking.journals import GOALS, evaluated, rewrite_study, write_study

CONFIG = replace(aesop("tiny"), {"generator.features": 4, "generator.blocks": 1})
KEY = "fidelity-0123456789abcdef"
GENERATOR, POINT = FidelityPoint(KEY), TrialPoint(0, 160)
OF_WEIGHTS, OF_IMAGES = (InterpolatedPoint(GENERATOR, POINT, space, 0.5) for space in ("weights", "images"))
PAIR = OF_WEIGHTS.pair


def metrics(psnr: float, swd: float) -> dict[str, float]:
    return {"psnr_y": psnr, "swd": swd}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A study that trained one trial, whose late point, fidelity generator and interpolations are its front."""
    output = tmp_path / "runs" / "quick: one"
    for seed, place in enumerate(
        (
            output / "trials/0000/points/0000080.safetensors",
            output / "trials/0000/points/0000160.safetensors",
            output / f"interpolations/{PAIR}/weights-5000.safetensors",
            ArtifactFolder(tmp_path / "artifacts").partial_dir(KEY) / "weights.safetensors",
        )
    ):
        torch.manual_seed(seed)
        place.parent.mkdir(parents=True, exist_ok=True)
        save_weights(build_generator(CONFIG.generator, 4), place, layout="plain")
    part = {"data": {"scale": 4}, "generator": to_dict(CONFIG)["generator"]}
    store = ArtifactFolder(tmp_path / "artifacts")
    write_checked_json(store.partial_dir(KEY) / "config.json", {"key": KEY, "part": part})
    store.publish(KEY)
    for folder in ("references/hr", "references/lq", "references/bicubic", f"references/{KEY}"):
        add_crop(output / folder)
    for point in (POINT, OF_WEIGHTS, OF_IMAGES):
        add_crop(output / point_samples(point))
    write_study(output, config=to_dict(CONFIG), id="0af1")
    return output


def add_crop(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "baby.png").write_bytes(f"crop of {folder.name}".encode())


@pytest.fixture
def recorder(output: Path) -> Recorder:
    recorder = Recorder(Journal(output / "journal.jsonl"))
    recorder.add(StudyStateChanged(state="RUNNING"))
    for name, kind, values in (("bicubic", "bicubic", metrics(26.0, 50.0)), (KEY, "fidelity", metrics(30.0, 40.0))):
        samples = reference_samples(name)
        recorder.add(ReferenceEvaluated(name=name, kind=kind, metrics=values, images={}, samples=samples))
    run_trial(recorder, evaluated(0, 80, metrics(28.0, 30.0)), point_evaluated(POINT, metrics(29.0, 20.0)))
    recorder.add(FrontMoved(trials_ended=1, hypervolume=1.0, members=(POINT, GENERATOR)))
    for point, values in ((OF_WEIGHTS, metrics(29.5, 25.0)), (OF_IMAGES, metrics(29.2, 24.0))):
        samples = point_samples(point)
        recorder.add(InterpolationEvaluated(point=point, metrics=values, images={}, spent=Spent(), samples=samples))
    recorder.add(StudyStateChanged(state="COMPLETE"))
    return recorder


def point_evaluated(point: TrialPoint, values: dict[str, float]) -> PointEvaluated:
    return evaluated(point.trial, point.iteration, values, samples=point_samples(point))


def run_trial(recorder: Recorder, *points: PointEvaluated) -> None:
    trial = points[0].point.trial
    recorder.add(TrialStarted(trial=trial, config=to_dict(CONFIG), params={}, upstream={"fidelity": KEY}))
    for point in points:
        recorder.add(point)
    recorder.add(TrialEnded(trial=trial, state="COMPLETE"))


def publish_all(output: Path, recorder: Recorder) -> list[str]:
    def report(folder: Path) -> list[Path]:
        (folder / "report.html").write_text("<p>the answer</p>")
        return [folder / "report.html"]

    return publish(output, recorder, GOALS, ArtifactFolder(output.parents[1] / "artifacts"), report)


def events(output: Path) -> list[str]:
    return [entry.event.type for entry in Journal(output / "journal.jsonl").entries()]


def models(output: Path) -> list[str]:
    entries = Journal(output / "journal.jsonl").entries()
    return [entry.event.point.label for entry in entries if isinstance(entry.event, ModelPublished)]


def send(output: Path, uri: str) -> None:
    exporter = Exporter(output, uri)
    exporter.start()
    assert exporter.close() == 0


def test_weights_and_crops_of_the_front_are_recorded_once(output: Path, recorder: Recorder) -> None:
    assert publish_all(output, recorder) == []
    once = events(output)
    # The point, the generator and the interpolation of weights; one of images has none.
    assert once.count("model_published") == 3
    # Interpolations moved the front after its first event.
    assert once.count("aliases_published") == once.count("front_moved") - 1 == 1
    assert models(output) == ["fidelity abcdef", f"{PAIR} weights-5000", "trial 0 at 160"]
    again = Recorder(Journal(output / "journal.jsonl"))
    assert publish_all(output, again) == []
    assert events(output) == once
    assert len(again.record.hypervolumes) == 1  # the final front is no step of the search


def test_changed_report_is_published_and_failing_report_is_a_warning(output: Path, recorder: Recorder) -> None:
    publish_all(output, recorder)
    before = events(output)

    def another(folder: Path) -> list[Path]:
        (folder / "report.html").write_text("<p>another answer</p>")
        return [folder / "report.html"]

    def broken(folder: Path) -> list[Path]:
        raise RuntimeError("no glyph for this")

    artifacts = ArtifactFolder(output.parents[1] / "artifacts")
    assert publish(output, recorder, GOALS, artifacts, another) == []
    assert events(output) == [*before, "files_published"]
    assert publish(output, recorder, GOALS, artifacts, broken) == [
        "the report could not be published: RuntimeError: no glyph for this"
    ]
    assert publish(output, recorder, GOALS, artifacts, None) == []


def test_registered_models_hold_the_weights(
    output: Path, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(output, recorder)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    send(output, uri)
    (output / "mlflow.json").unlink()  # as if the cursor had never been saved
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


def test_tags_and_aliases_follow_the_front(output: Path, recorder: Recorder, tmp_path: Path) -> None:
    publish_all(output, recorder)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    send(output, uri)
    run_trial(recorder, evaluated(1, 80, metrics(31.0, 19.0)))
    place = output / "trials/0001/points/0000080.safetensors"
    place.parent.mkdir(parents=True)
    save_weights(build_generator(CONFIG.generator, 4), place, layout="plain")
    publish_all(output, recorder)
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


def test_second_study_of_a_name_gets_its_own_model(output: Path, recorder: Recorder, tmp_path: Path) -> None:
    publish_all(output, recorder)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    send(output, uri)
    rewrite_study(output, id="another0id")
    (output / "mlflow.json").unlink()
    send(output, uri)
    client = MlflowClient(uri)
    assert [model.name for model in client.search_registered_models()] == ["quick-one", "quick-one-another0"]
    assert len(client.search_model_versions("name = 'quick-one-another0'")) == 3


def test_damaged_weights_are_named_and_not_registered(output: Path, recorder: Recorder) -> None:
    place = output / "trials/0000/points/0000160.safetensors"
    content = bytearray(place.read_bytes())
    content[-100] ^= 1
    place.write_bytes(content)
    (problem,) = publish_all(output, recorder)
    assert f"weights could not be published: ValueError: {place} is damaged" in problem
    assert models(output) == ["fidelity abcdef", f"{PAIR} weights-5000"]


def test_missing_weights_are_left_out(output: Path, recorder: Recorder) -> None:
    (output / "trials/0000/points/0000160.safetensors").unlink()
    assert publish_all(output, recorder) == []
    assert models(output) == ["fidelity abcdef", f"{PAIR} weights-5000"]


def test_interpolation_of_two_generators_is_registered(output: Path, recorder: Recorder) -> None:
    point = InterpolatedPoint(GENERATOR, FidelityPoint("fidelity-fedcba9876543210"), "weights", 0.5)
    directory = RunDirectory(output)
    directory.weights(point).parent.mkdir()
    directory.weights(point).write_bytes(directory.weights(OF_WEIGHTS).read_bytes())
    values = metrics(31.0, 19.0)
    recorder.add(InterpolationEvaluated(point=point, metrics=values, images={}, spent=Spent(), samples=""))
    assert publish_all(output, recorder) == []
    assert models(output) == [point.label]
    assert open_checkpoint(directory.model(point) / "weights.safetensors").scale == 4


# --- aliases -------------------------------------------------------------------------------------------------------


A, B, C, D = (TrialPoint(trial, 80) for trial in range(4))


def member(point: TrialPoint, psnr: float, swd: float) -> Candidate:
    return Candidate(point, (psnr, swd))


def test_contribution_is_the_area_that_one_member_alone_dominates() -> None:
    front = [member(A, 30.0, 50.0), member(B, 28.0, 30.0), member(C, 25.0, 20.0)]
    # From the corner (20, 60): a alone has (30 - 28) x (60 - 50), b (28 - 25) x (50 - 30), c (25 - 20) x (30 - 20).
    assert contributions(front, GOALS) == pytest.approx([20.0, 60.0, 50.0])


def test_balanced_alias_lies_between_the_ends_if_possible() -> None:
    front = [member(A, 30.0, 59.0), member(B, 28.0, 58.0), member(C, 27.0, 50.0), member(D, 26.0, 1.0)]
    assert contributions(front, GOALS)[3] == max(contributions(front, GOALS))
    chosen = aliases(front, (A, B, C, D), GOALS)
    assert chosen == {"most-faithful": A, "most-perceptual": D, "balanced": C}
    assert aliases(front, (A, B), GOALS) == {"most-faithful": A, "most-perceptual": B, "balanced": A}
    assert aliases(front, (C,), GOALS) == dict.fromkeys(("most-faithful", "most-perceptual", "balanced"), C)
    assert aliases(front, (), GOALS) == aliases([], (), GOALS) == {}


@pytest.mark.parametrize(
    ("study", "name"),
    [("quick", "quick"), ("a/b:c", "a-b-c"), ("..", "study"), ("it's", "it-s"), ("v1.2", "v1-2"), ("größe", "gr-e")],
)
def test_model_name_has_only_allowed_characters(study: str, name: str) -> None:
    assert model_name(study) == name
