"""Training with a loss of the user's: the same bits as with ours, and by no text but a given one."""

import json
from collections.abc import Callable
from dataclasses import replace as replace_field
from pathlib import Path

import pytest

from study.config import RunConfig, pin_custom_loss, replace, to_dict
from study.losses.custom import CustomLossError
from study.record.paths import RunDirectory
from study.training.context import RunContext
from study.training.preflight import read_custom_losses
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import make_artifact

L1 = "def loss(sr, hr, lq):\n    return (sr - hr).abs().mean(dim=(1, 2, 3))\n"


@pytest.fixture
def run(small_run: RunConfig) -> RunConfig:
    return replace(small_run, {"loss.guidance": "pixel"})


def own_run(run: RunConfig, path: Path, text: str) -> RunConfig:
    path.write_text(text)
    return pin_custom_loss(replace(run, {"loss.guidance": "custom", "loss.custom": str(path)}))


def trained(run: RunConfig, context: RunContext, directory: Path) -> list[bytes]:
    """The weights of each point."""
    make_artifact(run, "fidelity", context, RunDirectory(directory))
    trial = RunDirectory(directory).trial(0)
    train_adversarial(run, context, trial, lambda _: None)
    return [path.read_bytes() for path in sorted(trial.points.glob("*.safetensors"))]


def test_pixel_l1_as_a_file_trains_to_the_bits_of_guidance_pixel(
    run: RunConfig, open_context: Callable[[Path], RunContext], tmp_path: Path
) -> None:
    context = open_context(tmp_path / "artifacts")
    own = own_run(run, tmp_path / "mine.py", L1)
    double = own_run(run, tmp_path / "other.py", L1.replace("(sr - hr)", "2 * (sr - hr)"))
    given = replace_field(context, custom_losses=read_custom_losses([own, double]))

    expected = trained(run, context, tmp_path / "pixel")
    assert len(expected) == 2
    assert trained(own, given, tmp_path / "own") == expected
    assert trained(double, given, tmp_path / "double")[-1] != expected[-1]  # it is the file that is descended
    assert len(list((tmp_path / "artifacts").glob("fidelity-*"))) == 1  # what comes before does not hang on it


def test_a_trials_folder_belongs_to_the_text_that_it_began_with(
    run: RunConfig, open_context: Callable[[Path], RunContext], tmp_path: Path
) -> None:
    context = open_context(tmp_path / "artifacts")
    first = own_run(run, tmp_path / "mine.py", L1)
    trained(first, replace_field(context, custom_losses=read_custom_losses([first])), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    moved = own_run(run, tmp_path / "elsewhere" / "same.py", L1)
    trained(moved, context, tmp_path / "run")  # it is complete: nothing is run
    edited = own_run(run, tmp_path / "mine.py", L1 + "\n")
    with pytest.raises(ValueError, match="belongs to adversarial-"):
        trained(edited, replace_field(context, custom_losses=read_custom_losses([edited])), tmp_path / "run")


def test_a_configuration_from_a_store_runs_nothing(
    run: RunConfig, open_context: Callable[[Path], RunContext], tmp_path: Path
) -> None:
    evil = own_run(run, tmp_path / "evil.py", f"open({str(tmp_path / 'it ran')!r}, 'w')\n" + L1)
    read_back = replace(run, json.loads(json.dumps(to_dict(evil))))
    with pytest.raises(CustomLossError, match="not given to the command"):
        trained(read_back, open_context(tmp_path / "artifacts"), tmp_path / "run")
    assert not (tmp_path / "it ran").exists()
