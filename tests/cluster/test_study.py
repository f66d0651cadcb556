"""Whole studies on one shared Ray: what a user runs, what may go wrong with it, and what must come out."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image
from rich.console import Console

from study import sweep

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 5

# Five trials of everything, in seconds: larger networks and real photographs would only make it slower.
SPACE = """
from study.config import replace
from study.recipes import aesop

SIZE = "tiny"
TRIALS = 5
REFERENCE = {"psnr_y": 0.0, "lpips_alex": 2.0, "swd": 2000.0}
GROUPS = ("loss.guidance",)
SMALL = {"features": 4, "blocks": 1, "growth": 2}

def base(size, networks):
    return replace(aesop(size), {
        "generator": SMALL, "discriminator.features": 2, "loss.perceptual": 0,
        "fidelity.budget": {"iterations": 30, "batch": 2, "patch": 32},
        "autoencoder": {**SMALL, "budget": {"iterations": 10, "batch": 2, "patch": 32}},
        "budget": {"iterations": 40, "batch": 2, "patch": 32},
        "cadence": {"evaluate_every": 20, "evaluate_share": 100, "checkpoint_every": 5},
    })

def sample(trial, base):
    guidance = trial.suggest_categorical("loss.guidance", ["pixel", "aesop"])
    weight = trial.suggest_float("loss.adversarial", 1e-4, 1e-2, log=True)
    changes = {"loss.guidance": guidance, "loss.adversarial": weight}
    if guidance == "aesop":
        name = "autoencoder.bottleneck_channels"
        changes[name] = trial.suggest_categorical(name, [3, 6])
    if trial.number == 3:
        changes["optimiser.learning_rate"] = 100.0
    return changes
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space, images to train on and images to judge by."""
    folder = tmp_path_factory.mktemp("material")
    random = np.random.default_rng(0)
    for name, count, side in (("train", 4, 72), ("test", 2, 60)):
        (folder / name).mkdir()
        for index in range(count):
            waves = np.sin(np.linspace(0, 20 + 9 * index, side))
            image = 128 + 60 * waves[:, None, None] * waves[None, :, None] + random.normal(0, 9, (side, side, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name / f"{index}.png")
    (folder / "space.py").write_text(SPACE)
    return folder


def _arguments(material: Path, output: Path, *more: str) -> list[str]:
    common = [
        "--space",
        str(material / "space.py"),
        "--data",
        str(material / "train"),
        "--test",
        str(material / "test"),
    ]
    return [*common, "--output", str(output), *more]


@pytest.fixture(scope="module")
def undisturbed(shared_ray: str, material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nothing happened to, with artifacts of its own."""
    output = tmp_path_factory.mktemp("undisturbed") / "study"
    _run(shared_ray, _arguments(material, output))
    return output


def _start(address: str, arguments: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "study" / "sweep.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _run(address: str, arguments: list[str], expected: int = 0) -> str:
    process = _start(address, arguments)
    text, _ = process.communicate(timeout=480)
    assert process.returncode == expected, text
    return text


def _events(output: Path) -> list[dict[str, Any]]:
    path = output / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _of(output: Path, event: str) -> list[dict[str, Any]]:
    return [entry for entry in _events(output) if entry["event"] == event]


def _wait_for(process: subprocess.Popen[str], condition: Any, seconds: float = 240) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            pytest.fail(f"did not come to pass: {process.communicate()[0]}")
        time.sleep(0.02)


def _final_weights(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.glob("trials/*/points/*.safetensors"))
    }


def test_every_trial_ends_the_same_way_everywhere(undisturbed: Path) -> None:
    expected = dict.fromkeys(range(TRIALS), "COMPLETE") | {3: "FAILED"}
    assert {end["trial"]: end["state"] for end in _of(undisturbed, "end")} == expected
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{undisturbed / 'optuna.db'}")
    states = {trial.number: trial.state.name.replace("FAIL", "FAILED") for trial in study.trials}
    assert states == expected
    client = MlflowClient(f"sqlite:///{undisturbed.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {int(run.data.tags["trial"]): run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert {number: run.data.tags["state"] for number, run in children.items()} == expected
    assert children[3].info.status == "FAILED"
    assert "diverged" in children[3].data.tags["cause"]
    history = client.get_metric_history(children[0].info.run_id, "psnr_y")
    assert [metric.step for metric in history] == [20, 40]


def test_each_artifact_is_trained_once(undisturbed: Path) -> None:
    trained = Counter(event["key"] for event in _of(undisturbed, "artifact"))
    assert set(trained.values()) == {1}
    assert not any(event["reused"] for event in _of(undisturbed, "artifact"))
    needed = {key for trial in _of(undisturbed, "trial") for key in trial["upstream"].values()}
    assert set(trained) == needed
    assert {path.name for path in (undisturbed.parent / "artifacts").iterdir() if path.name[0] != "."} == needed


def test_the_tables_hold_every_point(undisturbed: Path) -> None:
    points = pd.read_parquet(undisturbed / "points.parquet")
    trials = points[points["kind"] == "trial"]
    complete = trials[trials["state"] == "COMPLETE"]
    assert sorted(complete["trial"].unique()) == [0, 1, 2, 4]
    assert set(complete["iteration"]) == {20, 40}
    assert {"psnr_y", "ssim_y", "config.loss.guidance"} <= set(points.columns)
    assert (undisturbed / "report.html").stat().st_size > 10_000


def test_first_trial_has_the_recipe_own_values(undisturbed: Path) -> None:
    first = next(trial for trial in _of(undisturbed, "trial") if trial["trial"] == 0)
    assert first["params"] == {
        "loss.guidance": "aesop",
        "loss.adversarial": 1e-3,
        "autoencoder.bottleneck_channels": 3,
    }


def test_orchestration_takes_a_small_share(undisturbed: Path) -> None:
    warm = [end["overhead_seconds"] for end in _of(undisturbed, "end") if end["warm"]]
    assert len(warm) >= 2
    assert all(seconds >= 0 for seconds in warm)


def test_a_complete_study_only_gets_its_report_anew(material: Path, undisturbed: Path) -> None:
    before = [event for event in _events(undisturbed) if event["event"] != "study"]
    (undisturbed / "report.html").unlink()
    assert sweep.main(_arguments(material, undisturbed, "--resume"), Console(quiet=True)) == 0
    assert (undisturbed / "report.html").exists()
    assert [event for event in _events(undisturbed) if event["event"] != "study"] == before


def test_an_interrupted_study_loses_and_repeats_nothing(
    shared_ray: str, material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "study"
    arguments = _arguments(material, output, "--resume")

    def ended() -> int:
        return len(_of(output, "end"))

    first = _start(shared_ray, arguments)
    _wait_for(first, lambda: ended() >= 1)
    first.send_signal(signal.SIGINT)
    text, _ = first.communicate(timeout=240)
    assert first.returncode == 130, text
    assert "--resume" in text

    second = _start(shared_ray, arguments)
    before = ended()
    _wait_for(second, lambda: ended() > before)
    second.kill()
    second.communicate(timeout=240)

    _run(shared_ray, arguments)
    for event in ("trial", "end"):
        assert Counter(entry["trial"] for entry in _of(output, event)) == dict.fromkeys(range(TRIALS), 1)
    points = Counter((entry["trial"], entry["iteration"]) for entry in _of(output, "point"))
    assert set(points.values()) == {1}
    assert set(Counter(entry["key"] for entry in _of(output, "artifact")).values()) == {1}
    # The first eight trials are drawn at random, so the two studies are the same, down to the last weight.
    assert _final_weights(output) == _final_weights(undisturbed)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sum("mlflow.parentRunId" in run.data.tags for run in runs) == TRIALS
    for run in runs:
        if run.data.tags.get("state") == "COMPLETE" and "trial" in run.data.tags:
            assert len(client.get_metric_history(run.info.run_id, "psnr_y")) == 2


def test_a_full_disk_halts_a_study_that_loses_nothing_and_reuses_artifacts(
    shared_ray: str, material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    artifacts = undisturbed.parent / "artifacts"
    modified = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*.safetensors")}
    try:
        database = f"sqlite:///{tmp_path / 'mlflow.db'}"
        more = ("--mlflow", database, "--artifacts", str(artifacts), "--trials", "2", "--resume")
        arguments = _arguments(material, small / "study", *more)
        process = _start(shared_ray, arguments)
        _wait_for(process, lambda: list(small.glob("study/trials/*/checkpoint.pt")))
        _fill(small / "ballast")
        text, _ = process.communicate(timeout=240)
        assert process.returncode == 1, text
        assert "no space left" in text or "disk is full" in text
        assert not any(end["state"] == "FAILED" for end in _of(small / "study", "end"))
        (small / "ballast").unlink()
        _run(shared_ray, arguments)
        ends = {end["trial"]: end["state"] for end in _of(small / "study", "end")}
        assert ends == {0: "COMPLETE", 1: "COMPLETE"}
        assert all(event["reused"] for event in _of(small / "study", "artifact"))
        assert {path: path.stat().st_mtime_ns for path in artifacts.rglob("*.safetensors")} == modified
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=False)


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def _refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sweep.main(arguments, Console(quiet=True))


def test_a_directory_with_another_study_is_refused(material: Path, undisturbed: Path, tmp_path: Path) -> None:
    _refused(_arguments(material, undisturbed), "holds the study 'study' already; continue it with --resume")
    other = tmp_path / "other.py"
    other.write_text(SPACE + "\n# another text\n")
    arguments = ["--space", str(other), *_arguments(material, undisturbed, "--resume")[2:]]
    _refused(arguments, "holds another study; it differs in space")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    _refused(_arguments(material, tmp_path / "full", "--resume"), "is not empty and holds no study")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_space_that_raises_is_found_out_before_anything_runs(material: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(SPACE.replace("changes = {", "changes = {'loss.gan': 1, "))
    _refused(["--space", str(broken), *_arguments(material, tmp_path / "out")[2:]], "broken.py.*loss.gan")
    broken.write_text(SPACE.replace("def sample", "raise RuntimeError('no')\ndef sample"))
    _refused(["--space", str(broken), *_arguments(material, tmp_path / "out")[2:]], "cannot be read: RuntimeError: no")
    assert not (tmp_path / "out").exists()


def test_images_too_small_are_refused_before_anything_runs(material: Path, tmp_path: Path) -> None:
    arguments = _arguments(material, tmp_path / "out", "--set", "fidelity.budget.patch=128")
    _refused(arguments, "128")
    assert not (tmp_path / "out").exists()
