"""A configuration from elsewhere that names a Python file is read, evaluated, exported; the file never runs."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from study import evaluate, export
from study.cluster.jobs import Job
from study.cluster.messages import JobEnded, JobRequest, Message
from study.cluster.run_job import run_job
from study.config import (
    LargestPatch,
    RunConfig,
    custom_loss_digest,
    from_dict,
    pin_custom_loss,
    replace,
    stage_key,
    to_dict,
)
from study.config.recipes import aesop
from study.files import write_json
from study.models import save_weights
from study.models.build import build_generator
from study.training.context_spec import ContextSpec
from study.training.distributed import SINGLE_PROCESS

ROOT = Path(__file__).resolve().parents[1]
BUDGET = {"iterations": 2, "batch": 2, "patch": 32}


@pytest.fixture(params=["a path", "a path and its hash"])
def evil(request: pytest.FixtureRequest, tmp_path: Path) -> RunConfig:
    """A run whose loss would leave a mark beside it."""
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')\ndef loss(sr, hr, lq):\n    return sr.mean((1, 2, 3))\n")
    small = {"generator": {"features": 4, "blocks": 1}, "start": "scratch", "loss.perceptual": 0}
    config = replace(aesop("tiny"), {**small, "loss.guidance": "custom", "loss.custom": str(path)})
    return pin_custom_loss(config) if "hash" in request.param else config


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name / "a.png")
    return tmp_path / "test"


def put_weights(config: RunConfig, path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(build_generator(config.generator, config.data.scale), path, layout="plain")
    return path


def test_evaluate_and_export_do_not_run_what_a_folder_names(evil: RunConfig, images: Path, tmp_path: Path) -> None:
    plain = to_dict(evil)
    point = put_weights(evil, tmp_path / "trials" / "0003" / "points" / "0000160.safetensors")
    write_json(point.parent.parent / "config.json", {"key": stage_key(evil, "adversarial", ""), "config": plain})
    write_json(tmp_path / "model" / "config.json", {"config": plain})
    put_weights(evil, tmp_path / "model" / "weights.safetensors")
    rows = [str(point), str(point.parent.parent), str(tmp_path / "model")]

    console, table = Console(width=160, record=True), tmp_path / "table.json"
    given = [*rows, "--hr", str(images), "--metrics", "psnr_y", "--output", str(table)]
    assert evaluate.main(given, console) == 0
    assert len(json.loads(table.read_text())["means"]["psnr_y"]) == 3
    assert export.main([str(point), "--output", str(tmp_path / "out.pth")], console) == 0
    assert (tmp_path / "out.pth").exists()
    assert not (tmp_path / "it ran").exists()


def end_of(run: RunConfig, custom_losses: dict[str, str], images: Path, folder: Path) -> JobEnded:
    """Train a run as a worker does, as Optuna's database has an interrupted trial."""
    data = {"data.train": str(images.with_name("train")), "data.val": str(images)}
    run = replace(from_dict(json.loads(json.dumps(to_dict(run)))), {**data, "budget": BUDGET})
    patch = LargestPatch(BUDGET["patch"], "budget.patch")
    context_spec = ContextSpec(run.data, patch, str(folder / "artifacts"), {}, None, custom_losses)
    (folder / "run").mkdir(exist_ok=True)
    job = Job("trial-0000", "trial", "adversarial", run, trial=0, ready_at=0.0).spec
    sent: list[Message] = []
    run_job(JobRequest(job, context_spec.to_dict(), str(folder / "run"), threads=1), SINGLE_PROCESS, sent.append)
    assert isinstance(sent[-1], JobEnded)
    return sent[-1]


def test_a_worker_does_not_run_what_a_database_names_unless_it_was_named_by_a_person(
    evil: RunConfig, images: Path, tmp_path: Path
) -> None:
    other = {"sha256:another": "def loss(sr, hr, lq):\n    return sr.mean((1, 2, 3))\n"}
    for custom_losses in ({}, other):
        ended = end_of(evil, custom_losses, images, tmp_path)
        assert ended.state == "FAILED"
        assert "evil.py" in str(ended.cause)
        assert "was not given to the command that runs" in str(ended.cause)
    assert not (tmp_path / "it ran").exists()
    given = {custom_loss_digest(evil.loss.custom or ""): (tmp_path / "evil.py").read_text()}
    assert end_of(evil, given, images, tmp_path).state == "COMPLETE"
    assert (tmp_path / "it ran").exists()  # it would have told


def test_text_is_run_in_two_places_alone() -> None:
    """A loss's, if it was given to the command; a search space's, which `--space` names."""
    runs = {"exec", "eval", "compile", "exec_module", "run_path", "unsafe_load"}
    found = set()
    for path in (each for folder in ("study", "analysis") for each in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else None
            if isinstance(node.func, ast.Attribute) and node.func.attr in runs - {"eval", "compile"}:
                called = node.func.attr  # networks have an `eval`, regular expressions a `compile`
            if called in runs:
                found.add(str(path.relative_to(ROOT)))
    assert found == {"study/losses/custom.py", "study/search/spaces.py"}
