"""What the messages about options advise, given to the commands' own parsers and checks."""

from pathlib import Path

import pytest

from analysis import report
from study import evaluate, sweep, train
from study.cluster.connection import check_address
from study.cluster.local_ray import temporary_folder
from study.record.directory import check_output
from study.tracking.client import tracking_uri
from tests.remedies.pairs import (
    Act,
    Pair,
    after,
    pair,
    parsing,
    planning,
    preparing,
    searching,
    starting,
    training,
    with_images,
    write_images,
)

SWEEP, EVALUATE, REPORT = "--space quick --output PLACE/run", "--hr PLACE", "PLACE/run"
LANDSCAPE = "--image PLACE/a.png --output PLACE/a.png"


def sweeping(line: str) -> Act:
    """Return: read the command line of study/sweep.py."""
    return parsing(sweep._parse, f"{SWEEP} {line}")


def scoring(line: str) -> Act:
    """Return: read the command line of study/evaluate.py."""
    return parsing(evaluate._parse, f"{line} {EVALUATE}")


def reporting(line: str) -> Act:
    """Return: read the command line of analysis/report.py."""
    return parsing(report._parse, line)


def into(output: str, *, resume: bool = False) -> Act:
    """Return: check an --output."""
    return lambda place: check_output(place / output, resume=resume)


def touch(name: str) -> Act:
    """Return: make a file, with its folders."""

    def act(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("")

    return act


def two_folders(place: Path) -> None:
    """Write PLACE/a and PLACE/b, with images of different names."""
    write_images(place / "a", 2)
    write_images(place / "b", 2, first=2)


PAIRS: list[Pair] = [
    # The search
    pair("--sampler must be one of", planning("--sampler best"), planning("--sampler tpe"), planning("--sampler qmc")),
    pair("--interpolate must not be negative", planning("--interpolate -1"), planning("--interpolate 0")),
    pair(
        "which needs --grace-period N; add it",
        planning("--tie-break crowding"),
        planning("--tie-break crowding --grace-period 40"),
    ),
    pair(
        "--learn-from-trials uses the trials of --warm-start",
        planning("--learn-from-trials"),
        planning("--learn-from-trials --warm-start PLACE/earlier"),
    ),
    pair("--pack sets the fraction of a GPU", sweeping("--pack auto --workers 2"), sweeping("--pack auto")),
    pair("--retries must not be negative", sweeping("--retries -1"), sweeping("--retries 0")),
    pair(
        "need --repeat RUN_DIR; add it",
        sweeping("--repeat-seeds 2"),
        sweeping("--repeat-seeds 2 --repeat PLACE/earlier"),
    ),
    pair(
        "--repeat trains the settings",
        sweeping("--repeat PLACE/e --trials 4"),
        sweeping("--repeat PLACE/e"),
    ),
    pair(
        ("--plateau must look like 16 or 16:0.005", "--plateau must cover"),
        planning("--plateau 0"),
        planning("--plateau 16"),
        planning("--plateau 16:0.005"),
    ),
    pair("--plateau's share must be", planning("--plateau 16:2"), planning("--plateau 16:0.005")),
    pair("--constraint must look like", planning("--constraint psnr"), planning("--constraint 'lr_psnr>=45'")),
    pair(
        "--constraint {text}: {number}",
        planning("--constraint 'lr_psnr>=1.2.3'"),
        planning("--constraint 'lr_psnr>=45'"),
    ),
    pair("the bound must be within", planning("--constraint 'psnr_y>=1e300'"), planning("--constraint 'psnr_y>=4'")),
    pair("--trials must be at most", sweeping("--trials 9999999"), sweeping("--trials 1000000")),
    pair("--seed must have at most 64 bits", sweeping(f"--seed {2**64}"), sweeping("--seed 7")),
    pair("the study does not measure", planning("--constraint 'beauty>=4'"), planning("--constraint 'psnr_y>=4'")),
    pair("--grace-period must be at least 1", planning("--grace-period 0"), planning("--grace-period 1")),
    pair(
        "--reduction-factor must be above 1",
        planning("--grace-period 40 --reduction-factor 1"),
        planning("--grace-period 40 --reduction-factor 1.5"),
    ),
    pair("--device-hours must be above 0", starting("--device-hours 0"), starting("--device-hours 0.1")),
    pair(
        "no search space at {path}",
        searching("", space="fast"),
        searching("", space="quick"),
    ),
    pair(
        ("leaves no rung below the {budget}", "lower --grace-period to {latest} or less"),
        starting("--grace-period 100000"),
        starting("--grace-period 40"),
    ),
    pair(
        ("leaves no rung below the {budget}", "lower eval_schedule.evaluate_every, and raise"),
        starting("--grace-period 40 --set eval_schedule.evaluate_every=100000"),
        starting("--grace-period 40 --set eval_schedule.evaluate_every=10 --set eval_schedule.evaluate_share=1"),
    ),
    # Workers
    pair(
        "{field}, but that is {",
        starting("--workers 3"),
        starting("--workers 2"),
        starting("--workers 3 --set budget.batch=12 --set fidelity.budget.batch=12 --set autoencoder.budget.batch=12"),
    ),
    pair(
        "leaves each worker one image of budget.batch",
        starting("--workers 2 --set budget.batch=2"),
        starting("--workers 2 --set budget.batch=4"),
        starting("--workers 1 --set budget.batch=2"),
    ),
    # Where results go
    pair("--output must be a directory", after(touch("run"), into("run")), into("other")),
    pair("is not empty and holds no study", after(touch("run/photo.png"), into("run")), into("other")),
    pair(
        "{option} cannot be written: {cause}; name another",
        after(touch("file"), into("file/run")),
        into("other/run"),
    ),
    pair(
        "MLflow's database cannot be in a folder",
        lambda place: tracking_uri(None, place / "what?" / "run"),
        lambda place: tracking_uri(f"sqlite:///{place}/mlflow.db", place / "what?" / "run"),
    ),
    pair(
        "--mlflow must begin with one of",
        lambda place: tracking_uri("mlruns", place),
        lambda place: tracking_uri(f"sqlite:///{place}/mlflow.db", place),
        lambda place: tracking_uri("http://localhost:5000", place),
    ),
    # The cluster
    pair(
        "--address must be local, auto or HOST:PORT", lambda _: check_address("head"), lambda _: check_address("local")
    ),
    pair(
        ("Ray's temporary files need a folder", "RAY_TMPDIR {chosen}"),
        lambda place: in_temporary(place / "none", temporary_folder),
        lambda place: in_temporary("/tmp", temporary_folder),
    ),
    # The other commands
    pair("name either a RECIPE or an option file", training(""), training("aesop")),
    pair(
        ("--jobs must be at least 1"),
        preparing("pack PLACE/images --output PLACE/a.arrow --jobs 0"),
        with_images(preparing("pack PLACE/images --output PLACE/a.arrow --jobs 1")),
    ),
    pair(
        "name weights or folders of images to evaluate",
        parsing(evaluate._parse, EVALUATE),
        scoring("PLACE/a.pth"),
        scoring("--interpolate PLACE/a.pth PLACE/b.pth"),
    ),
    pair(
        "--autoencoder is for the metric ae_psnr",
        scoring("bicubic --autoencoder PLACE/a.pth --metrics swd"),
        scoring("bicubic --autoencoder PLACE/a.pth --metrics swd ae_psnr"),
        scoring("bicubic --metrics swd"),
    ),
    pair(
        "--recipe describes weight files",
        scoring("bicubic --recipe aesop"),
        scoring("bicubic"),
    ),
    pair(
        "--output and --per-image both name",
        scoring("bicubic --output PLACE/a.csv --per-image PLACE/a.csv"),
        scoring("bicubic --output PLACE/a.csv --per-image PLACE/b.csv"),
    ),
    pair(
        "--save-images {} is in {folder}",
        parsing(evaluate._parse, f"bicubic {EVALUATE}/hr --save-images PLACE/hr/sr"),
        parsing(evaluate._parse, f"bicubic {EVALUATE}/hr --save-images PLACE/sr"),
    ),
    pair(
        "would be one of the files of the study in",
        after(touch("run/study.json"), scoring("bicubic --output PLACE/run/study.json")),
        scoring("bicubic --output PLACE/other.json"),
    ),
    pair(
        "is a file of the artifact {}",
        after(touch("a/budget.json"), scoring("bicubic --output PLACE/a/config.json")),
        scoring("bicubic --output PLACE/other.json"),
    ),
    pair(
        "has a study with a report of its own",
        after(touch("other/study.json"), reporting(f"{REPORT} --output PLACE/other")),
        reporting(f"{REPORT} --output PLACE/third"),
    ),
    pair(
        "pack the folders into one store",
        parsing(train._parse, "esrgan --data PLACE/a --data PLACE/b --output PLACE/run"),
        after(
            two_folders,
            after(
                preparing("pack PLACE/a PLACE/b --output PLACE/both.arrow"),
                parsing(train._parse, "esrgan --data PLACE/both.arrow --output PLACE/run"),
            ),
        ),
    ),
    pair(
        "--alphas are shares of an interpolation",
        scoring("PLACE/a.pth --alphas 0.5"),
        scoring("--alphas 0.5 --interpolate PLACE/a.pth PLACE/b.pth"),
    ),
    pair(
        "--memory must be at least 1 GiB",
        scoring("PLACE/a.pth --memory 0.5"),
        scoring("PLACE/a.pth --memory 1"),
    ),
    pair(
        "--output must end in {",
        scoring("PLACE/a.pth --output PLACE/a.txt"),
        scoring("PLACE/a.pth --output PLACE/a.csv"),
        scoring("PLACE/a.pth --output PLACE/a.md"),
    ),
    pair(
        "make another report than the study's own",
        reporting(f"{REPORT} --last-points"),
        reporting(f"{REPORT} --last-points --output PLACE/other"),
    ),
    pair(
        "--watch updates the study's own report",
        reporting(f"{REPORT} --watch --output PLACE/o"),
        reporting(f"{REPORT} --watch"),
    ),
    pair(
        "go together: give both or neither",
        reporting("--mlflow sqlite:///a.db"),
        reporting("--mlflow sqlite:///a.db --study quick"),
        reporting(REPORT),
    ),
    pair(
        "name a run directory, such as runs/quick",
        reporting(""),
        reporting("runs/quick"),
        reporting("--mlflow http://a --study b"),
    ),
]


def in_temporary(folder: object, act: object) -> object:
    """Act with another RAY_TMPDIR."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        return act()
