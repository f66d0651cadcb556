"""A trial that two workers train, stopped in the middle and continued. (Stages: tests/training/test_team.py.)"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]

SPACE = """
from study.config import replace
from study.recipes import aesop

SIZE = "tiny"
TRIALS = 1
REFERENCE = {"psnr_y": 0.0, "lpips_alex": 2.0, "swd": 2000.0}
GROUPS = ()
SMALL = {"features": 4, "blocks": 1, "growth": 2}

def base(size, networks):
    return replace(aesop(size), {
        "generator": SMALL, "discriminator": {"name": "unet", "features": 2}, "loss.perceptual": 0,
        "start": "scratch", "loss.guidance": "pixel",  # no stage before it: each group takes most of a minute to start
        "budget": {"iterations": 200, "batch": 2, "patch": 32},
        "cadence": {"evaluate_every": 50, "evaluate_share": 100, "checkpoint_every": 25},
    })

def sample(trial, base):
    return {"loss.adversarial": trial.suggest_float("loss.adversarial", 1e-4, 1e-2, log=True)}
"""


def events(output: Path, kind: str) -> list[dict[str, Any]]:
    path = output / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [event for event in found if event["event"] == kind]


def wait_until(true: Callable[[], bool], seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "did not come to pass"
        time.sleep(0.1)


def test_two_workers_train_a_trial_and_give_back_what_they_held(shared_ray: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("train/a", "train/b", "test/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "space.py").write_text(SPACE)
    output = tmp_path / "study"
    command = [sys.executable, str(ROOT / "study" / "sweep.py"), "--space", str(tmp_path / "space.py"), "--resume"]
    command += ["--data", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--workers", "2"]
    environment = os.environ | {"RAY_ADDRESS": shared_ray, "OMP_NUM_THREADS": "1"}

    def start() -> "subprocess.Popen[str]":
        options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([*command, "--output", str(output)], **options)

    first = start()
    wait_until(lambda: len(events(output, "point")) >= 1 or first.poll() is not None)
    first.send_signal(signal.SIGTERM)
    text, _ = first.communicate(timeout=240)
    assert first.returncode == 130, text
    wait_until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], seconds=120)
    reached = len(events(output, "point"))
    assert events(output, "end") == []
    assert reached < 4

    second = start()
    text, _ = second.communicate(timeout=400)
    assert second.returncode == 0, text
    assert [(end["trial"], end["state"]) for end in events(output, "end")] == [(0, "COMPLETE")]
    assert Counter(point["iteration"] for point in events(output, "point")) == dict.fromkeys((50, 100, 150, 200), 1)
    wait_until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], seconds=120)
