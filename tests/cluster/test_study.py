"""Complete studies on one shared Ray: results, interruptions and refused inputs."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from rich.console import Console

from study import sweep
from study.record.events import (
    ArtifactEnded,
    InterpolationEvaluated,
    PairEnded,
    PointEvaluated,
    RungDecided,
    StudyStateChanged,
    TrialEnded,
    TrialStarted,
    WorkerDied,
)
from study.record.points import pair_name
from tests.cluster.small_studies import (
    ROOT,
    SPACE,
    TRIALS,
    arguments_of,
    entries,
    events,
    final_weights,
    run,
    start,
    states_and_statuses,
    states_everywhere,
    wait_for,
)

pytestmark = pytest.mark.cluster


def test_every_trial_ends_the_same_way_everywhere(undisturbed: Path) -> None:
    expected = dict.fromkeys(range(TRIALS), "COMPLETE") | {3: "FAILED"}
    assert states_everywhere(undisturbed) == {"journal": expected, "optuna": expected, "mlflow": expected}
    client = MlflowClient(f"sqlite:///{undisturbed.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {int(run.data.tags["trial"]): run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert children[3].info.status == "FAILED"
    assert "diverged" in children[3].data.tags["cause"]
    history = client.get_metric_history(children[0].info.run_id, "psnr_y")
    assert [metric.step for metric in history] == [20, 40]


def test_concurrent_studies_train_each_artifact_once(neighbours: tuple[Path, Path]) -> None:
    undisturbed, _ = neighbours
    for study in neighbours:
        assert set(Counter(event.key for event in entries(study, ArtifactEnded)).values()) == {1}
    made = Counter(event.key for study in neighbours for event in entries(study, ArtifactEnded) if not event.reused)
    trained = {event.key for event in entries(undisturbed, ArtifactEnded)}
    assert made == Counter(trained)
    assert any(event.reused for study in neighbours for event in entries(study, ArtifactEnded))
    needed = {key for trial in entries(undisturbed, TrialStarted) for key in trial.upstream.values()}
    assert trained == needed
    assert {path.name for path in (undisturbed.parent / "artifacts").iterdir() if path.name[0] != "."} == needed


def test_a_study_stops_trials_early_and_interpolates_its_front(neighbours: tuple[Path, Path]) -> None:
    """Two trials and one rung: the first to come goes on, and the other one unless it is better."""
    _, study = neighbours
    states = {end.trial: end.state for end in entries(study, TrialEnded)}
    assert states_everywhere(study) == {"journal": states, "optuna": states, "mlflow": states}
    decisions = {rung.trial: rung for rung in entries(study, RungDecided)}
    assert {trial: "COMPLETE" if rung.go_on else "PRUNED" for trial, rung in decisions.items()} == states
    assert all(rung.position == 1 for rung in decisions.values() if rung.go_on)
    reached = {
        trial: max(p.point.iteration for p in entries(study, PointEvaluated) if p.point.trial == trial)
        for trial in states
    }
    assert all(reached[trial] == (40 if state == "COMPLETE" else 20) for trial, state in states.items())
    interpolations = entries(study, InterpolationEvaluated)
    assert interpolations
    ended = {pair_name(pair.first, pair.second) for pair in entries(study, PairEnded)}
    assert {interpolation.point.pair for interpolation in interpolations} == ended
    points = pd.read_parquet(study / "points.parquet")
    assert (points["kind"] == "interpolation").sum() == len(interpolations)
    assert all((study / interpolation.samples).is_dir() for interpolation in interpolations)


def test_the_best_settings_are_repeated_with_new_seeds(shared_ray: str, undisturbed: Path, material: Path) -> None:
    again = undisturbed.with_name("again")
    options = ("--repeat", str(undisturbed), "--repeat-members", "1", "--repeat-seeds", "2")
    said = run(shared_ray, arguments_of(material, again, *options))
    assert "2 settings of it, 2 seeds each" in said
    expected = dict.fromkeys(range(4), "COMPLETE") | {3: "FAILED"}  # the space makes every trial 3 diverge
    assert states_everywhere(again) == {"journal": expected, "optuna": expected, "mlflow": expected}
    before: dict[int, Any] = {trial.trial: trial.config for trial in entries(undisturbed, TrialStarted)}
    repeated = [trial.config for trial in entries(again, TrialStarted)]
    assert sorted(config["seed"] for config in repeated) == [1, 1, 2, 2]
    assert {config["loss"]["guidance"] for config in repeated} == {"pixel", "aesop"}
    assert all(any({**config, "seed": 0} == other for other in before.values()) for config in repeated[:3])
    assert all(event.reused for event in entries(again, ArtifactEnded))
    weights = [values for path, values in final_weights(again).items() if path.endswith("0000040.safetensors")]
    assert len(weights) == len(set(weights)) == 3, "each seed trains other weights"
    assert "Trials have seeds of their own (1 and 2)" in (again / "report.html").read_text()


def test_the_tables_hold_every_point(undisturbed: Path) -> None:
    points = pd.read_parquet(undisturbed / "points.parquet")
    trials = points[points["kind"] == "trial"]
    complete = trials[trials.state == "COMPLETE"]
    assert sorted(complete["trial"].unique()) == [0, 1, 2, 4]
    assert set(complete["iteration"]) == {20, 40}
    assert {"psnr_y", "ssim_y", "config.loss.guidance"} <= set(points.columns)
    assert (undisturbed / "report.html").stat().st_size > 10_000


def test_the_first_trial_has_the_values_of_the_recipe(undisturbed: Path) -> None:
    first = next(trial for trial in entries(undisturbed, TrialStarted) if trial.trial == 0)
    assert first.params == {
        "loss.guidance": "aesop",
        "loss.adversarial": 1e-3,
        "autoencoder.bottleneck_channels": 3,
    }


def test_orchestration_takes_a_small_share(undisturbed: Path) -> None:
    warm = [end.overhead_seconds for end in entries(undisturbed, TrialEnded) if end.warm]
    assert len(warm) >= 2
    assert all(seconds >= 0 for seconds in warm)


def test_a_complete_study_only_writes_its_report_again(material: Path, undisturbed: Path) -> None:
    before = [event for event in events(undisturbed) if not isinstance(event, StudyStateChanged)]
    (undisturbed / "report.html").unlink()
    assert sweep.main(arguments_of(material, undisturbed, "--resume"), Console(quiet=True)) == 0
    assert (undisturbed / "report.html").exists()
    assert (undisturbed / "space.py").read_text() == (material / "space.py").read_text()
    assert [event for event in events(undisturbed) if not isinstance(event, StudyStateChanged)] == before


def test_an_interrupted_study_loses_and_repeats_nothing(
    shared_ray: str, material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "study"
    arguments = arguments_of(material, output, "--resume")

    def ended() -> int:
        return len(entries(output, TrialEnded))

    first = start(shared_ray, arguments)
    wait_for(first, lambda: ended() >= 1)
    first.send_signal(signal.SIGINT)
    text, _ = first.communicate(timeout=240)
    assert first.returncode == 130, text
    assert "--resume" in text
    assert states_and_statuses(output) <= {("INTERRUPTED", "KILLED"), ("COMPLETE", "FINISHED"), ("FAILED", "FAILED")}

    run(shared_ray, arguments)
    for kind in (TrialStarted, TrialEnded):
        assert Counter(event.trial for event in entries(output, kind)) == dict.fromkeys(range(TRIALS), 1)
    points = Counter(entry.point for entry in entries(output, PointEvaluated))
    assert set(points.values()) == {1}
    assert set(Counter(entry.key for entry in entries(output, ArtifactEnded)).values()) == {1}
    # The first eight trials are drawn at random, so the two studies are the same, down to the last weight.
    assert final_weights(output) == final_weights(undisturbed)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sum("mlflow.parentRunId" in run.data.tags for run in runs) == TRIALS
    for made in runs:
        if made.data.tags.get("state") == "COMPLETE" and "trial" in made.data.tags:
            assert len(client.get_metric_history(made.info.run_id, "psnr_y")) == 2


def test_a_worker_saves_on_sigterm_and_another_continues(
    shared_ray: str, material: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output, artifacts = tmp_path / "study", str(undisturbed.parent / "artifacts")
    more = ("--artifacts", artifacts, "--trials", "1", "--set", "budget.iterations=400")
    rare = ("--set", "eval_schedule.checkpoint_every=1000", "--set", "eval_schedule.evaluate_every=400")
    process = start(shared_ray, arguments_of(material, output, *more, *rare))
    # The loop checks for stop requests every 25 iterations: shortly after the start is well before the 400th.
    wait_for(process, lambda: (output / "trials" / "0000" / "config.json").exists())
    subprocess.run([sys.executable, str(ROOT / "cluster" / "save_and_leave.py"), "60"], check=True)
    text, _ = process.communicate(timeout=240)
    assert process.returncode == 0, text
    (death,) = entries(output, WorkerDied)
    assert death.cause.endswith("the worker received SIGTERM and saved a checkpoint")
    assert [(end.trial, end.state) for end in entries(output, TrialEnded)] == [(0, "COMPLETE")]
    (point,) = entries(output, PointEvaluated)
    assert (point.point.iteration, point.spent.iterations) == (400, 400)


def test_more_workers_than_fit_on_the_cluster_are_refused(shared_ray: str, material: Path, tmp_path: Path) -> None:
    changes = [f"{stage}budget.batch=16" for stage in ("", "fidelity.", "autoencoder.")]
    batches = [word for change in changes for word in ("--set", change)]
    text = run(shared_ray, arguments_of(material, tmp_path / "study", "--workers", "8", *batches), expected=2)
    assert "a job needs 8 CPUs and 0 GPUs for its 8 workers, but the cluster has 2 and 0; lower --workers" in text
    assert [path.name for path in (tmp_path / "study").iterdir()] == [".driver.lock"]  # free for the corrected command


def test_a_full_disk_halts_a_study_without_loss(
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
        arguments = arguments_of(material, small / "study", *more)
        process = start(shared_ray, arguments)
        wait_for(process, lambda: list(small.glob("study/trials/*/checkpoint.pt")))
        _fill(small / "ballast")
        text, _ = process.communicate(timeout=240)
        assert process.returncode == 1, text
        assert "no space left" in text or "disk is full" in text
        assert not any(end.state == "FAILED" for end in entries(small / "study", TrialEnded))
        (small / "ballast").unlink()
        run(shared_ray, arguments)
        ends = {end.trial: end.state for end in entries(small / "study", TrialEnded)}
        assert ends == {0: "COMPLETE", 1: "COMPLETE"}
        assert all(event.reused for event in entries(small / "study", ArtifactEnded))
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
    _refused(arguments_of(material, undisturbed), "holds the study 'study' already; continue it with --resume")
    other = tmp_path / "other.py"
    other.write_text(SPACE + "\n# another text\n")
    arguments = ["--space", str(other), *arguments_of(material, undisturbed, "--resume")[2:]]
    _refused(arguments, "holds another study; it differs in space")
    longer = arguments_of(material, undisturbed, "--resume", "--seed", "5", "--set", "budget.iterations=80")
    _refused(
        longer,
        r"differs in budget\.iterations \(there 40, here 80\); --seed \(there 0, here 5\)\. .* with --warm-start",
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    _refused(arguments_of(material, tmp_path / "full", "--resume"), "is not empty and holds no study")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_space_that_raises_is_refused_before_anything_runs(material: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(SPACE.replace("changes = {", "changes = {'loss.gan': 1, "))
    _refused(["--space", str(broken), *arguments_of(material, tmp_path / "out")[2:]], "broken.py.*loss.gan")
    broken.write_text(SPACE.replace("def sample", "raise RuntimeError('no')\ndef sample"))
    _refused(
        ["--space", str(broken), *arguments_of(material, tmp_path / "out")[2:]], "cannot be read: RuntimeError: no"
    )
    assert not (tmp_path / "out").exists()


def test_images_too_small_are_refused_before_anything_runs(material: Path, tmp_path: Path) -> None:
    arguments = arguments_of(material, tmp_path / "out", "--set", "fidelity.budget.patch=128")
    _refused(arguments, "128")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--grace-period", "500"),
            "--grace-period 500 leaves no rung below the 40 iterations of a trial",
        ),
        (("--reduction-factor", "2"), "which needs --grace-period N; add it"),
        (("--sampler", "grid"), "--sampler must be one of tpe, .* but got grid"),
        (("--constraint", "niqe<=4"), "the study does not measure niqe; it measures psnr_y"),
        (("--plateau", "soon"), "--plateau must look like 16 or 16:0.005, but got 'soon'"),
        (("--device-hours", "0"), "--device-hours must be above 0"),
        (("--learn-from-trials",), "uses the trials of --warm-start RUN_DIR"),
        (
            ("--warm-start", "nowhere"),
            r"--warm-start nowhere holds no study \(study\.json, journal\.jsonl and optuna\.db\)",
        ),
        (("--interpolate", "-1"), "--interpolate must not be negative, but got -1"),
        (("--repeat", "nowhere"), r"--repeat nowhere holds no study \(study\.json, journal\.jsonl and optuna\.db\)"),
    ],
)
def test_an_invalid_search_is_refused_before_anything_runs(
    material: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    _refused(arguments_of(material, tmp_path / "out", *options), said)
    assert not (tmp_path / "out").exists()
