"""Trials on two workers: one stopped, one trained to its end (stages: tests/training/test_distributed.py)."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from PIL import Image
from ray import tune

from study.cluster.jobs import Job
from study.cluster.messages import Happened, JobRequest, Message, read_message, write_request
from study.cluster.worker import Worker
from study.config import LargestPatch, replace
from study.record.events import PointEvaluated, TrialEnded
from study.search.spaces import load_space
from study.training.checkpoints import load_checkpoint
from study.training.context_spec import ContextSpec
from tests.cluster.small_studies import entries
from tests.cluster.small_studies import run as run_study

pytestmark = pytest.mark.cluster

SPACE = """
from study.config import replace
from study.config.recipes import aesop

SIZE = "tiny"
TRIALS = 1
REFERENCE = {"psnr_y": 0.0, "lpips_alex": 2.0, "swd": 2000.0}
GROUPS = ()
SMALL = {"features": 4, "blocks": 1}

def base(size, networks):
    return replace(aesop(size), {
        "generator": SMALL, "discriminator": {"name": "unet", "features": 2}, "loss.perceptual": 0,
        "start": "scratch", "loss.guidance": "pixel",  # no upstream stage: each group takes most of a minute to start
        "budget": {"iterations": 200, "batch": 2, "patch": 32},
        "eval_schedule": {"evaluate_every": 50, "evaluate_share": 100, "checkpoint_every": 25},
    })

def sample(trial, base):
    return {"loss.adversarial": trial.suggest_float("loss.adversarial", 1e-4, 1e-2, log=True)}
"""


def wait_until(true: Callable[[], bool], seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "did not come to pass"
        time.sleep(0.1)


def cpus_are_free() -> bool:
    return ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("train/a", "train/b", "test/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "space.py").write_text(SPACE)
    return tmp_path


def test_a_stopped_group_saves_and_releases_its_resources(shared_ray: str, images: Path) -> None:
    space = load_space(str(images / "space.py"))
    run = replace(
        space.base("tiny", {}),
        {"data.train": str(images / "train"), "data.val": str(images / "test"), "budget.iterations": 5000},
    )
    job = Job("trial-0000", "trial", "adversarial", run, ready_at=0.0, trial=0, workers=2)
    context_spec = ContextSpec(run.data, LargestPatch(32, "budget.patch"), str(images / "artifacts"), {}, None)
    request = JobRequest(job.spec, context_spec.to_dict(), str(images), threads=1, workers=2)
    sent: list[Message] = []

    class Stop(tune.stopper.Stopper):
        """Stop after the first point, as an early-stopping scheduler does."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            sent.append(read_message(result["message"]))
            return isinstance(sent[-1], Happened)

        def stop_all(self) -> bool:
            return False

    wait_until(cpus_are_free)
    tune.Tuner(
        Worker,
        param_space={"request": write_request(request), "lane": 0},
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(images),
            stop=Stop(),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    wait_until(cpus_are_free, seconds=120)
    assert "entered" in [message.type for message in sent]
    assert isinstance(sent[-1], Happened)
    assert isinstance(sent[-1].event, PointEvaluated)
    saved = load_checkpoint(
        images / "trials" / "0000" / "checkpoint.pt",
        json.loads((images / "trials/0000/config.json").read_text())["key"],
    )
    assert saved is not None
    assert 50 <= saved["counters"]["iteration"] < 5000
    assert not (images / "trials" / "0000" / "done.json").exists()


def test_two_workers_train_a_study(shared_ray: str, images: Path) -> None:
    output = images / "study"
    arguments = ["--space", str(images / "space.py"), "--workers", "2", "--interpolate", "0", "--output", str(output)]
    run_study(shared_ray, [*arguments, "--data", str(images / "train"), "--val", str(images / "test")])
    assert [(end.trial, end.state) for end in entries(output, TrialEnded)] == [(0, "COMPLETE")]
    assert Counter(point.point.iteration for point in entries(output, PointEvaluated)) == dict.fromkeys(
        (50, 100, 150, 200), 1
    )
    wait_until(cpus_are_free, seconds=120)
