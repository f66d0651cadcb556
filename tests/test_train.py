"""A single run from the command line: bit-exact continuation, option files, and refused inputs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image

from study import train
from study.cli import run
from study.files import read_checked_json
from study.models import Autoencoder, MSRResNet, save_weights
from study.record.events import (
    ArtifactEnded,
    Event,
    PointEvaluated,
    ReferenceEvaluated,
    StudyStateChanged,
    TrialEnded,
    TrialExtended,
)
from study.record.journal import read_entries
from study.record.stored import read_study
from study.train import main
from study.training import preflight
from study.training.stages import adversarial, artifacts

ROOT = Path(__file__).resolve().parents[1]
POINTS = ["0000012", "0000024"]
SETTINGS = [
    *("generator.features=4", "generator.blocks=1", "autoencoder.features=4", "autoencoder.blocks=1"),
    *("autoencoder.growth=4", "discriminator.features=2", "loss.perceptual=0", "optimiser.warmup=10"),
    *("fidelity.budget.iterations=4", "fidelity.budget.batch=2", "fidelity.budget.patch=32"),
    *("autoencoder.budget.iterations=4", "autoencoder.budget.batch=2", "autoencoder.budget.patch=32"),
    *("budget.iterations=24", "budget.batch=2", "budget.patch=32"),
    *("eval_schedule.evaluate_every=12", "eval_schedule.evaluate_share=100", "eval_schedule.checkpoint_every=3"),
]


def save_images(folder: Path, count: int, side: int, seed: int) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        coarse = generator.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(folder / f"image{index}.png")
    return folder


def read_with(changes: Sequence[str]) -> list[str]:
    """The settings that a run reads with some changes: others are refused."""
    unread = {"loss.guidance=": "autoencoder.", "loss.adversarial=0 ": "discriminator.", "generator.init=": "fidelity."}
    parts = tuple(part for change, part in unread.items() if any(f"{each} ".startswith(change) for each in changes))
    return [each for each in SETTINGS if not parts or not each.startswith(parts)]


def arguments(place: Path, output: str, *, changes: tuple[str, ...] = ()) -> list[str]:
    """A tiny run on the images under a place, sharing artifacts with its other runs."""
    sources = ["--data", str(place / "train"), "--val", str(place / "test")]
    settings = [part for each in [*read_with(changes), *changes] for part in ("--set", each)]
    folders = ["--artifacts", str(place / "artifacts"), "--output", str(place / output)]
    return ["aesop", "--size", "tiny", *sources, *settings, *folders]


def start(place: Path, output: str) -> subprocess.Popen[str]:
    """Start a run in another process, without weights and without a network to download them."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TORCH_HOME": str(place / "no_cache"),
        "https_proxy": "http://127.0.0.1:9",
    }
    command = [sys.executable, str(ROOT / "study" / "train.py"), *arguments(place, output)]
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kill_when_there(process: subprocess.Popen[str], path: Path, seconds: float) -> None:
    """kill -9 as soon as a file appears."""
    deadline = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert path.exists(), output
    assert process.returncode == -signal.SIGKILL, output


def trial_of(place: Path, output: str) -> Path:
    return place / output / "trials" / "0000"


def journal_of(run_dir: Path) -> list[Event]:
    return [entry.event for entry, _ in read_entries(run_dir / "journal.jsonl")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was killed and continued, `killed`, and an uninterrupted one, `unbroken`."""
    place = tmp_path_factory.mktemp("runs")
    save_images(place / "train", count=3, side=64, seed=0)
    save_images(place / "test", count=2, side=48, seed=1)
    kill_when_there(start(place, "killed"), trial_of(place, "killed") / "checkpoint.pt", seconds=120)
    assert not (trial_of(place, "killed") / "done.json").exists()
    assert len(list((trial_of(place, "killed") / "points").glob("*.json"))) < len(POINTS)
    for process in [start(place, "killed"), start(place, "unbroken")]:
        output, _ = process.communicate(timeout=480)
        assert process.returncode == 0, output
    return place


def test_a_killed_run_ends_bit_for_bit_like_another(finished: Path) -> None:
    killed, unbroken = trial_of(finished, "killed"), trial_of(finished, "unbroken")
    names = sorted(path.relative_to(unbroken) for path in unbroken.rglob("*") if path.is_file())
    assert sorted(path.relative_to(killed) for path in killed.rglob("*") if path.is_file()) == names
    assert {path.stem for path in names if path.suffix == ".safetensors"} == set(POINTS)
    for name in names:
        if name.suffix in (".json", ".pt"):  # they hold what a clock said
            continue
        assert (killed / name).read_bytes() == (unbroken / name).read_bytes(), name
    for point in POINTS:
        numbers = [read_checked_json(trial / "points" / f"{point}.json") for trial in (killed, unbroken)]
        for number in numbers:
            assert number["spent"].pop("device_seconds") > 0
            assert number["spent"].pop("peak_gib") > 0
        assert numbers[0] == numbers[1]


def test_the_weights_did_change_between_the_points(finished: Path) -> None:
    first, last = (
        (trial_of(finished, "unbroken") / "points" / f"{point}.safetensors").read_bytes() for point in POINTS
    )
    assert first != last


def test_upstream_stages_were_trained_once_for_all_runs(finished: Path) -> None:
    made = [path.name.partition("-")[0] for path in (finished / "artifacts").iterdir() if path.name[0] != "."]
    assert sorted(made) == ["autoencoder", "fidelity"]


def test_the_journal_has_one_complete_trial(finished: Path) -> None:
    for output in ("killed", "unbroken"):
        events = journal_of(finished / output)
        assert [event.state for event in events if isinstance(event, TrialEnded)] == ["COMPLETE"]
        points = {event.point.iteration for event in events if isinstance(event, PointEvaluated)}
        assert sorted(points) == [int(point) for point in POINTS]
        assert events[-1] == StudyStateChanged(state="COMPLETE")


def test_a_finished_run_is_not_trained_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trial_of(finished, "unbroken") / "points" / "0000024.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    monkeypatch.setattr(artifacts, "train", None)  # calling it would fail
    assert ended(monkeypatch, arguments(finished, "unbroken")) == 0
    assert (trial_of(finished, "unbroken") / "points" / "0000024.safetensors").stat().st_mtime_ns == before
    assert "NOT LPIPS" in capsys.readouterr().out


@pytest.mark.parametrize("fastest", ["fp32", "bf16"])
def test_a_continued_run_keeps_its_precision(fastest: str, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = json.loads((finished / "unbroken" / "study.json").read_text())["config"]["precision"]
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    monkeypatch.setattr(artifacts, "train", None)
    monkeypatch.setattr(train, "fastest_precision", lambda _device: fastest)
    assert ended(monkeypatch, arguments(finished, "unbroken")) == 0
    assert json.loads((finished / "unbroken" / "study.json").read_text())["config"]["precision"] == began


def test_a_directory_of_another_run_is_refused(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    journal = (finished / "unbroken" / "journal.jsonl").read_bytes()
    other = arguments(finished, "unbroken", changes=("loss.adversarial=0.5",))
    assert ended(monkeypatch, other) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "unbroken holds another study; it differs in loss.adversarial (there 0.001, here 0.5). Go back" in said
    assert (finished / "unbroken" / "journal.jsonl").read_bytes() == journal


def extend(finished: Path, name: str, *changes: str) -> list[str]:
    """The command that trains a copy of the finished run further."""
    if not (finished / name).exists():
        shutil.copytree(finished / "unbroken", finished / name)
    return arguments(finished, name, changes=changes)


def test_a_finished_run_is_trained_further_bit_for_bit(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    longer = extend(finished, "longer", "budget.iterations=36")
    point = trial_of(finished, "longer") / "points" / "0000024.safetensors"
    before = point.stat().st_mtime_ns
    assert ended(monkeypatch, longer) == 0
    assert "complete run at 36" in " ".join(capsys.readouterr().out.split())
    assert point.stat().st_mtime_ns == before
    assert ended(monkeypatch, arguments(finished, "straight", changes=("budget.iterations=36",))) == 0
    for path in trial_of(finished, "straight").glob("points/**/*"):
        if path.suffix in (".safetensors", ".png"):
            again = trial_of(finished, "longer") / path.relative_to(trial_of(finished, "straight"))
            assert again.read_bytes() == path.read_bytes(), path.name
    records = [read_study(finished / name).record for name in ("longer", "straight")]
    assert [record.trials[0].config["budget"]["iterations"] for record in records] == [36, 36]
    assert [[(point, event.metrics) for point, event in record.points.items()] for record in records[:1]] == [
        [(point, event.metrics) for point, event in record.points.items()] for record in records[1:]
    ]
    events = journal_of(finished / "longer")
    assert [event.state for event in events if isinstance(event, TrialEnded)] == ["COMPLETE", "COMPLETE"]
    assert sum(isinstance(event, TrialExtended) for event in events) == 1
    assert json.loads((finished / "longer" / "study.json").read_text())["config"]["budget"]["iterations"] == 36
    monkeypatch.setattr(adversarial, "train", None)  # calling it would fail
    assert ended(monkeypatch, longer) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("budget.iterations=12",), "budget.iterations 12 is below the 24 with which it was started"),
        (
            ("budget.iterations=48", "optimiser.schedule=cosine"),
            "holds a run of another length: 48 iterations (budget.iterations) do not continue 24: iteration 2 had the",
        ),
        (
            ("budget.iterations=48", "fidelity.budget.iterations=8"),
            "Of a run that was started, budget.iterations alone may grow: it began from the finished upstream stages",
        ),
    ],
)
def test_a_run_that_a_budget_does_not_continue_is_refused(
    changes: tuple[str, ...],
    said: str,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    given = extend(finished, "refused", *changes)
    before = {path: path.read_bytes() for path in (finished / "refused").rglob("*") if path.is_file()}
    assert ended(monkeypatch, given) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert {path: path.read_bytes() for path in (finished / "refused").rglob("*") if path.is_file()} == before


def test_a_finished_run_without_its_state_is_not_trained_further(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    given = extend(finished, "stateless", "budget.iterations=36")
    for path in trial_of(finished, "stateless").glob("checkpoint*"):
        path.unlink()
    assert ended(monkeypatch, given) == 2
    assert "checkpoint.pt is missing; restore it, or name another --output" in " ".join(capsys.readouterr().err.split())
    assert ended(monkeypatch, extend(finished, "stateless")) == 0  # it is still the finished run


def ended(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> object:
    """Run the command in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["train.py", *given])
    with pytest.raises(SystemExit) as caught:
        run(main)
    return caught.value.code


NO_SCALE_3 = (
    *("data.scale=3", "generator.name=swinir", "generator.heads=2", "generator.upsampler=nearest+conv"),
    *("budget.patch=48", "fidelity.budget.patch=48", "loss.adversarial=0", "loss.guidance=pixel"),
)


def test_a_run_that_fails_in_training_ends_in_one_sentence_and_in_its_journal(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = (
        "calls = []\ndef loss(sr, hr, lq):\n    calls.append(1 // (len(calls) < 5))\n"
        "    return (sr - hr).abs().mean(dim=(1, 2, 3))\n"
    )
    (finished / "late.py").write_text(loss)
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    custom = ("loss.guidance=custom", f"loss.custom={finished / 'late.py'}")
    assert ended(monkeypatch, arguments(finished, "late", changes=custom)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"CustomLossError: {finished / 'late.py'}: loss failed in training: ZeroDivisionError" in said.replace(
        "Error Error", "Error"
    )
    assert "Traceback" not in said
    assert journal_of(finished / "late")[-1] == StudyStateChanged(state="INTERRUPTED")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:120])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["--set", "loss.adversarail=0.1"], "unknown field 'loss.adversarail'; did you mean loss.adversarial"),
        (["--set", "loss.adversarial=-1"], "loss.adversarial: "),
        (["--set", "loss.adversarial"], "--set takes FIELD=VALUE"),
        (["--set", "budget.patch=33"], "budget.patch must be a multiple of data.scale (4), but got 33"),
        (["--set", "budget.patch=48"], "multiple of 32 below 256"),
        (["--set", "budget.patch=96"], "all images are smaller than the largest patch, 96 px (budget.patch): image0"),
        (["--set", "loss.perceptual=1"], "loss.perceptual_network is squeezenet"),
        (["--data", "EMPTY"], "EMPTY"),
        (["--data", "ABSENT"], "ABSENT"),
        (["--data", "TRUNCATED"], "image1.png: "),
        (["--lq", "EMPTY"], "no image in this folder"),
        (["--lq", "ABSENT"], "ABSENT"),
        (["--lq", "TRAIN"], "image0.png: 64 x 64 px is not image0.png (64 x 64 px) at scale 4: it would fit scale 1"),
        (["--lq", "TRAIN", "--set", "data.degradation=aesop-real"], "train_lq names TRAIN, but data.degradation"),
        (["--val", "TRAIN"], "validation images must not be trained on"),
        (["--weights", "ABSENT"], "--weights must name a directory"),
        (["--output", "TRAIN"], "is not empty and holds no study"),
        (["--set", "generator.init=ABSENT"], "generator.init must name a weight file"),
        (["--set", "autoencoder.init=setup.cfg"], "autoencoder.init"),
        (["--task", "denoise"], "task denoise needs its noise in levels of 255"),
        (["--task", "denoise:25", "--set", "generator.name=edsr"], "needs a generator that keeps the images' size"),
        (
            ["--set", "data.task=jpeg", "--set", "data.scale=1"],
            "task jpeg needs its distortion, but quality is not set",
        ),
        (["--set", "loss.guidance=mdf", "--set", "critics.image=stone"], "critics.image must name a training image"),
        (["--set", "loss.guidance=mdf", "--set", "critics.smallest_side=60"], "needs an image whose shorter side is"),
        (["--set", "loss.guidance=custom"], "guidance custom needs a Python file"),
        (["--set", "loss.custom=FAULTY"], "which guidance custom alone reads, but guidance is aesop"),
        (["--set", "loss.guidance=custom", "--set", "loss.custom=ABSENT"], "loss.custom must name a Python file"),
        (
            ["--set", "loss.guidance=custom", "--set", "loss.custom=FAULTY"],
            "faulty.py: loss must return one value per image",
        ),
        (["--set", "loss.guidance=mdf", "--set", "critics.init=ABSENT"], "critics.init must name a weight file"),
        (["--set", "loss.guidance=consistency", "--task", "jpeg:10"], "loss.guidance consistency shrinks the SR image"),
        (
            ["--set", "generator.head=espcn", "--set", "generator.name=edsr"],
            "unknown field 'generator.head' of generator edsr; only rrdb and msrresnet have it",
        ),
        (
            [part for each in NO_SCALE_3 for part in ("--set", each)],
            "generator.upsampler nearest+conv enlarges by 4 alone",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_inputs_are_refused_before_training(
    changes: list[str],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_images(tmp_path / "train", count=3, side=64, seed=0)
    save_images(tmp_path / "test", count=2, side=48, seed=1)
    (tmp_path / "empty").mkdir()
    truncate(save_images(tmp_path / "truncated", count=3, side=64, seed=0) / "image1.png")
    faulty = tmp_path / "faulty.py"
    faulty.write_text("def loss(sr, hr, lq):\n    return (sr - hr).abs().mean()\n")
    folders = {name.upper(): str(tmp_path / name) for name in ("train", "empty", "absent", "truncated")}
    folders["loss.custom=FAULTY"] = f"loss.custom={faulty}"
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    monkeypatch.setattr(artifacts, "train", None)
    options = [(option, folders.get(value, value)) for option, value in zip(changes[::2], changes[1::2], strict=True)]
    given = arguments(tmp_path, "run", changes=tuple(value for option, value in options if option == "--set"))
    for option, value in options:
        if option in given and option != "--set":
            given[given.index(option) + 1] = value
        elif option != "--set":
            given += [option, value]
    assert ended(monkeypatch, given) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert folders.get(problem, problem.replace("TRAIN", folders["TRAIN"])) in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["esrgam", "--output", "x"], "recipe must be one of "),
        (["aesop", "--size", "huge", "--output", "x"], "invalid choice: 'huge'"),
        (["aesop"], "required: --output"),
        (["--output", "x"], "name either a RECIPE or an option file with --basicsr"),
        (["aesop", "--basicsr", "options.yml", "--output", "x"], "name either a RECIPE or an option file"),
        (["--basicsr", "options.yml", "--size", "tiny", "--output", "x"], "an option file specifies its networks"),
        (["--basicsr", "absent.yml", "--output", "x"], "absent.yml cannot be read"),
        (["aesop", "--scale", "8", "--output", "x"], "invalid choice: 8"),
        (["aesop", "--until", "end", "--output", "x"], "invalid choice: 'end'"),
    ],
)
def test_an_invalid_command_is_refused(
    given: list[str], problem: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, given) == 2
    assert problem in capsys.readouterr().err


# --- stages by themselves, option files ------------------------------------------------------------------------------

L1 = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}


def psnr_file(place: Path) -> Path:
    """An option file that trains a small MSRResNet for its PSNR."""
    options = {
        "name": "psnr",
        "model_type": "SRModel",
        "scale": 4,
        "num_gpu": 1,
        "datasets": {
            "train": {
                "dataroot_gt": str(place / "train"),
                "gt_size": 32,
                "batch_size_per_gpu": 2,
                "use_hflip": True,
                "use_rot": True,
            },
            "val": {"dataroot_gt": str(place / "test")},
        },
        "network_g": {"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1},
        "train": {
            "optim_g": {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.99]},
            "total_iter": 3,
            "pixel_opt": L1,
            "color_shift": 0.5,
        },
    }
    path = place / "psnr.yml"
    path.write_text(yaml.safe_dump(options))
    return path


def gan_file(place: Path, **train: object) -> Path:
    """An option file that trains a small MSRResNet by a GAN, from random weights."""
    options = yaml.safe_load(psnr_file(place).read_text()) | {"model_type": "SRGANModel", "manual_seed": 0}
    del options["train"]["color_shift"]
    adam = {"type": "Adam", "lr": 2e-4, "betas": [0.9, 0.99]}
    schedule = {"type": "MultiStepLR", "milestones": [2], "gamma": 0.5}
    options["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 2}
    options["path"] = {"pretrain_network_g": None}
    options["train"] |= {"optim_d": adam, "scheduler": schedule, "gan_opt": {"type": "GANLoss", "gan_type": "vanilla"}}
    options["train"] |= train
    path = place / "gan.yml"
    path.write_text(yaml.safe_dump(options))
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_images(tmp_path / "train", count=3, side=64, seed=0)
    save_images(tmp_path / "test", count=2, side=48, seed=1)
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    return tmp_path


def test_an_option_file_trains_and_reports_unsupported_keys(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smaller = ["--set", "budget.patch=64", "--set", "autoencoder.budget.patch=32"]
    given = ["--basicsr", str(psnr_file(place)), *smaller, "--output", str(place / "run")]
    assert ended(monkeypatch, given) == 2
    assert "train.color_shift: 0.5: no field of a configuration says this" in capsys.readouterr().err
    assert not (place / "run").exists()
    assert ended(monkeypatch, [*given, "--accept-differences"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not as in psnr.yml: train.color_shift: 0.5" in said
    (artifact,) = (place / "artifacts").glob("fidelity-*")
    assert str(artifact / "weights.safetensors") in said
    assert json.loads((artifact / "budget.json").read_text())["iterations"] == 3
    assert not (place / "run" / "trials").exists()


def test_a_gan_without_initial_weights_trains_no_other_stage_and_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, ["--basicsr", str(gan_file(place)), "--output", str(place / "run")]) == 0
    said = capsys.readouterr().out
    assert "assumed for gan.yml: path.pretrain_network_g: names no weights, so the generator starts from random" in said
    assert said.count("assumed for gan.yml") == 1
    assert not list(place.glob("artifacts/fidelity-*"))
    config = read_study(place / "run").record.trials[0].config
    assert (config["start"], config["budget"]["iterations"], config["loss"]["adversarial"]) == ("scratch", 3, 1.0)


def test_stages_that_an_option_file_does_not_describe_are_listed_first(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decoder = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4, "num_block": 1, "num_grow_ch": 4}
    arch = {"type": "AutoEncoder_RRDBNet", "dec_opt": decoder}
    aesop = {"type": "AutoEncoderLoss", "autoencoder_arch": arch}
    file, output = gan_file(place, pixel_opt=None, aesop_opt=aesop), ["--output", str(place / "run")]
    fidelity = "stage fidelity: not in the file; here it has 1,000,000 iterations of 16 patches of 128 px"
    autoencoder = "stage autoencoder: not in the file; here it has 100,000 iterations of 64 patches of 256 px"
    assert ended(monkeypatch, ["--basicsr", str(file), *output]) == 2
    said = capsys.readouterr().err
    assert all(text in said for text in (fidelity, autoencoder, "--set autoencoder.init=FILE"))
    save_weights(Autoencoder(3, 4, 4, 1, 4), place / "ae.pth")
    assert ended(monkeypatch, ["--basicsr", str(file), *output, "--set", f"autoencoder.init={place / 'ae.pth'}"]) == 0
    assert "stage " not in capsys.readouterr().out
    later = [*output, "--until", "adversarial", "--set", "budget.patch=32", "--set", "loss.guidance=pixel"]
    assert ended(monkeypatch, ["--basicsr", str(psnr_file(place)), *later]) == 2
    said = capsys.readouterr().err
    assert "stage adversarial: not in the file; here it has 300,000 iterations of 64 patches of 32 px" in said
    assert "stage fidelity" not in said


def test_an_option_files_lq_images_are_trained_on_and_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_images(place / "lq", count=3, side=16, seed=0)
    save_images(place / "mixed" / "HR", count=3, side=64, seed=0)
    save_images(place / "mixed" / "LR", count=3, side=16, seed=7)
    save_images(place / "small", count=1, side=24, seed=5)
    (place / "small" / "image0.png").rename(place / "mixed" / "HR" / "small.png")
    save_images(place / "small_lq", count=1, side=8, seed=5)
    Image.open(place / "small_lq" / "image0.png").resize((6, 6)).save(place / "mixed" / "LR" / "small.png")
    file = psnr_file(place)
    options = yaml.safe_load(file.read_text())
    options["datasets"]["train"]["dataroot_lq"] = str(place / "lq")
    file.write_text(yaml.safe_dump(options))
    shared = ["--basicsr", str(file), "--accept-differences", "--artifacts", str(place / "artifacts")]
    runs = {
        "file": [],
        "made": ["--lq", "made"],
        "mixed": ["--data", str(place / "mixed"), "--val", str(place / "test")],
    }
    said = {}
    for name, more in runs.items():
        assert ended(monkeypatch, [*shared, *more, "--output", str(place / "runs" / name)]) == 0
        said[name] = " ".join(capsys.readouterr().out.split())
    metadata = {name: json.loads((place / "runs" / name / "study.json").read_text()) for name in runs}
    assert f"the low-quality images are those in {place}/lq; --lq made" in said["file"]
    assert any(f"those in {place}/mixed/LR" in note for note in metadata["mixed"]["notes"])
    left_out = "mixed: 1 of 4 images are left out, smaller than the largest patch, 32 px (fidelity.budget.patch): small"
    assert left_out in said["mixed"]
    assert any(note.startswith(left_out) for note in metadata["mixed"]["notes"])
    fingerprints = {values["images"]["train"]["fingerprint"] for values in metadata.values()}
    artifacts_of = list((place / "artifacts").glob("fidelity-*"))
    assert (len(fingerprints), len(artifacts_of)) == (3, 3)


def test_an_upstream_stage_that_diverges_ends_in_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*arguments(place, "diverged"), "--until", "fidelity", "--set", "fidelity.optimiser.learning_rate=1e9"]
    assert ended(monkeypatch, given) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "diverged: fidelity: the pixel term is nan at iteration" in said
    assert "; lower fidelity.optimiser.learning_rate (1e+09), or raise" in said
    assert all("COMPLETE" not in str(event) for event in journal_of(place / "diverged"))


def test_a_run_that_ended_early_continues(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(place, "run")
    assert ended(monkeypatch, [*given, "--until", "autoencoder"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "autoencoder-" in said
    assert sorted(path.name.partition("-")[0] for path in (place / "artifacts").iterdir() if path.name[0] != ".") == [
        "autoencoder",
        "fidelity",
    ]
    assert ended(monkeypatch, given) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "complete run at 24" in said
    exported = torch.load(place / "run" / "generator.pth", weights_only=True)
    points = place / "run" / "trials" / "0000" / "points"
    plain = safetensors.torch.load_file(points / "0000024.safetensors")
    assert all(torch.equal(exported["params"][name], tensor) for name, tensor in plain.items())


def test_a_run_may_start_from_released_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    save_weights(MSRResNet(4, 1, 4), place / "released.pth")
    monkeypatch.chdir(place)  # relative paths refer to the working directory
    released = ("generator.init=released.pth",)
    given = arguments(place, "run", changes=released)
    assert ended(monkeypatch, given) == 0
    (artifact,) = (place / "artifacts").glob("fidelity-*")
    assert json.loads((artifact / "budget.json").read_text())["iterations"] == 0
    assert ended(monkeypatch, arguments(place, "other", changes=released)) == 0
    save_weights(MSRResNet(5, 1, 4), place / "released.pth")
    capsys.readouterr()
    assert ended(monkeypatch, arguments(place, "third", changes=released)) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "generator.init: " in error
    assert "released.pth does not fit MSRResNet" in error


def test_a_continued_run_keeps_its_custom_loss(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "def loss(sr, hr, lq):\n    return (sr - hr).abs().mean(dim=(1, 2, 3))\n"
    (place / "mine.py").write_text(text)
    monkeypatch.chdir(place)  # relative paths refer to the working directory
    given = [*arguments(place, "run", changes=("loss.guidance=custom",)), "--set"]
    assert ended(monkeypatch, [*given, "loss.custom=mine.py"]) == 0
    (kept,) = (place / "run" / "custom_losses").iterdir()
    assert kept.read_text() == text
    recorded = json.loads((place / "run" / "study.json").read_text())["config"]["loss"]["custom"]
    assert recorded.startswith(f"{place / 'mine.py'}@sha256:{kept.stem}")
    journal = (place / "run" / "journal.jsonl").read_bytes()

    (place / "mine.py").write_text(text.replace("abs", "square"))
    capsys.readouterr()
    assert ended(monkeypatch, [*given, "loss.custom=mine.py"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert f"holds another study; it differs in custom losses (there ['{kept.stem}'], here ['" in error
    assert (place / "run" / "journal.jsonl").read_bytes() == journal
    assert [path.name for path in (place / "run" / "custom_losses").iterdir()] == [kept.name]

    (place / "moved.py").write_text(text)  # the same text at another path is the same loss
    monkeypatch.setattr(artifacts, "train", None)
    assert ended(monkeypatch, [*given, "loss.custom=moved.py"]) == 0
    assert ended(monkeypatch, [*given, f"loss.custom={kept}"]) == 0  # the stored text continues the run


@pytest.mark.parametrize("scale", [2, 3])
def test_other_scales_have_a_matching_auto_encoder(scale: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = {2: 32, 3: 96}[scale]
    images = save_images(place / "large", count=3, side=96, seed=5)
    settings = [part for each in SETTINGS if "patch" not in each for part in ("--set", each)]
    patches = [f"{part}budget.patch={patch}" for part in ("", "fidelity.", "autoencoder.")]
    sources = ["--data", str(images), "--val", str(place / "test"), "--output", str(place / f"x{scale}")]
    settings += [part for each in patches for part in ("--set", each)]
    assert ended(monkeypatch, ["aesop", "--size", "tiny", "--scale", str(scale), *sources, *settings]) == 0
    config = json.loads((place / f"x{scale}" / "trials" / "0000" / "config.json").read_text())["config"]
    assert (config["data"]["scale"], config["autoencoder"]["factor"]) == (scale, scale)


# --- the other ways out of the pixel loss ----------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["sr", "denoise:25", "jpeg:10"])
def test_mdf_trains_its_critics_and_a_network_for_each_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_images(tmp_path / "train", count=2, side=64, seed=0)
    save_images(tmp_path / "test", count=2, side=48, seed=1)
    monkeypatch.setattr(preflight, "fetch_backbone", lambda *_, **__: None)
    levels = ("critics.levels=5", "critics.used_levels=4", "critics.smallest_side=14", "critics.features=2")
    small = (*levels, "critics.iterations=2", "budget.batch=2", "budget.iterations=4", "generator.features=4")
    settings = [
        part
        for each in (*small, "generator.blocks=1", "eval_schedule.evaluate_every=4", "eval_schedule.evaluate_share=100")
        for part in ("--set", each)
    ]
    folders = ["--data", str(tmp_path / "train"), "--val", str(tmp_path / "test"), "--output", str(tmp_path / "run")]
    assert ended(monkeypatch, ["mdf", "--size", "tiny", "--task", task, *settings, *folders]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "distorted against clean held-out images, area under the curve" in out
    events = journal_of(tmp_path / "run")
    baseline = next(event for event in events if isinstance(event, ReferenceEvaluated))
    assert baseline.name == ("bicubic" if task == "sr" else "input")
    critics = next(event for event in events if isinstance(event, ArtifactEnded))
    assert critics.stage == "critics"
    assert critics.metrics.keys() == {"auc", "auc_0", "auc_1", "auc_2", "auc_3"}
    point = next(event for event in events if isinstance(event, PointEvaluated))
    assert point.terms.keys() == {"fidelity", "pixel"}
    assert point.metrics.keys() == {"psnr_y", "ssim_y", "swd"} | ({"lr_psnr", "null_energy"} if task == "sr" else set())
