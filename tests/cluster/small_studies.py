"""A small study, run with the command as a user does, and functions that read its results."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

import optuna
import psutil
import pytest
from mlflow import MlflowClient

from study.record.events import Event, TrialEnded
from study.record.journal import read_entries

ROOT = Path(__file__).resolve().parents[2]
TRIALS = 5
Kind = TypeVar("Kind")

# Five trials in seconds: larger networks and real photographs would only be slower.
SPACE = """
from study.config import replace
from study.config.recipes import aesop

SIZE = "tiny"
TRIALS = 5
REFERENCE = {"psnr_y": 0.0, "lpips_alex": 2.0, "swd": 2000.0}
GROUPS = ("loss.guidance",)
SMALL = {"features": 4, "blocks": 1}

def base(size, networks):
    return replace(aesop(size), {
        "generator": SMALL, "discriminator.features": 2, "loss.perceptual": 0,
        "fidelity.budget": {"iterations": 30, "batch": 2, "patch": 32},
        "autoencoder": {**SMALL, "growth": 2, "budget": {"iterations": 10, "batch": 2, "patch": 32}},
        "budget": {"iterations": 40, "batch": 2, "patch": 32},
        "eval_schedule": {"evaluate_every": 20, "evaluate_share": 100, "checkpoint_every": 5},
    })

def sample(trial, base):
    guidance = trial.suggest_categorical("loss.guidance", ["pixel", "aesop"])
    weight = trial.suggest_float("loss.adversarial", 1e-4, 1e-2, log=True)
    changes = {"loss.guidance": guidance, "loss.adversarial": weight}
    if guidance == "aesop":
        name = "autoencoder.bottleneck_channels"
        changes[name] = trial.suggest_categorical(name, [3])
    if trial.number == 3:
        changes["optimiser.learning_rate"] = 100.0
    return changes
"""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill_children(of: int | None = None) -> None:
    """Kill all descendants of a process, by default of this one."""
    for started in psutil.Process(of).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            started.kill()


def arguments_of(material: Path, output: Path, *more: str) -> list[str]:
    common = [
        "--space",
        str(material / "space.py"),
        "--data",
        str(material / "train"),
        "--val",
        str(material / "val"),
        "--interpolate",
        "0",
        "--precision",  # the same on every simulated cluster and CPU
        "fp32",
    ]
    pairs = zip(common[::2], common[1::2], strict=True)
    kept = [part for option, value in pairs if option not in more for part in (option, value)]
    return [*kept, "--output", str(output), *more]


def start(address: str, arguments: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "study" / "sweep.py"), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(address: str, arguments: list[str], expected: int = 0) -> str:
    process = start(address, arguments)
    text, _ = process.communicate(timeout=480)
    assert process.returncode == expected, text
    return text


def events(output: Path) -> list[Event]:
    return [entry.event for entry, _ in read_entries(output / "journal.jsonl")]


def entries(output: Path, kind: type[Kind]) -> list[Kind]:
    return [event for event in events(output) if isinstance(event, kind)]


def states_and_statuses(output: Path) -> set[tuple[str, str]]:
    """Return the state and the status of every run of a study in MLflow."""
    client = MlflowClient(f"sqlite:///{output.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(output.name)
    assert experiment is not None
    return {(made.data.tags["state"], made.info.status) for made in client.search_runs([experiment.experiment_id])}


def states_everywhere(output: Path) -> dict[str, dict[int, str]]:
    """Return how each trial ended in the journal, in Optuna and in MLflow; each holds a trial once."""
    ends = [(end.trial, str(end.state)) for end in entries(output, TrialEnded)]
    study = optuna.load_study(study_name=output.name, storage=f"sqlite:///{output / 'optuna.db'}")
    optuna_states = [(trial.number, trial.state.name.replace("FAIL", "FAILED")) for trial in study.trials]
    client = MlflowClient(f"sqlite:///{output.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(output.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    logged = [(int(run.data.tags["trial"]), run.data.tags["state"]) for run in runs if "trial" in run.data.tags]
    for found in (ends, optuna_states, logged):
        assert len(found) == len(dict(found)), found
    return {"journal": dict(ends), "optuna": dict(optuna_states), "mlflow": dict(logged)}


def wait_for(process: subprocess.Popen[str], condition: Any, seconds: float = 240) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            pytest.fail(f"the condition was not met: {process.communicate()[0]}")
        time.sleep(0.02)


def final_weights(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.glob("trials/*/points/*.safetensors"))
    }
