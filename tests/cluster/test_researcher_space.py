"""The study of docs/researcher.md, with its command, on the shared Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from study.record.events import ArtifactEnded, TrialEnded, TrialStarted
from tests.cluster.small_studies import entries
from tests.researcher_page import ROOT, commands, furnish

pytestmark = pytest.mark.cluster


def test_a_custom_space_compares_a_custom_and_the_pixel_loss(shared_ray: str, tmp_path: Path) -> None:
    place = furnish(tmp_path)
    ((script, *arguments),) = commands("Your search space")
    environment = os.environ | {"RAY_ADDRESS": shared_ray, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / script), *arguments, "--precision", "fp32"]
    done = subprocess.run(
        command,
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stdout

    study = place / "runs" / "my_space"
    assert {end.trial: end.state for end in entries(study, TrialEnded)} == dict.fromkeys(range(4), "COMPLETE")
    configs = {trial.trial: trial.config["loss"] for trial in entries(study, TrialStarted)}
    assert [configs[number]["guidance"] for number in range(4)] == ["pixel", "custom"] * 2
    (kept,) = (study / "custom_losses").iterdir()
    assert kept.read_text() == (ROOT / "docs" / "examples" / "my_loss.py").read_text()
    named = f"{place / 'docs' / 'examples' / 'my_loss.py'}@sha256:{kept.stem}"
    assert [(configs[number]["custom"] or "").startswith(named) for number in range(4)] == [False, True] * 2
    assert json.loads((study / "study.json").read_text())["identity"]["custom losses"] == [kept.stem]
    assert [event.stage for event in entries(study, ArtifactEnded)] == ["fidelity"]
    points = pd.read_parquet(study / "points.parquet")
    assert set(points["config.loss.guidance"].dropna()) == {"pixel", "custom"}
    assert (study / "report.html").is_file()
    assert "hypervolume" in done.stdout
