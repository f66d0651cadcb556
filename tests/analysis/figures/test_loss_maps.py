"""The paper's figure 2 for a study's own points, against the losses themselves."""

import json
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch

from analysis.figures.loss_maps import draw_loss_maps, loss_maps
from analysis.figures.saved import save_figures
from analysis.statistics.compute import compute_statistics
from analysis.statistics.tables import load_results
from study.losses import aesop_loss, pixel_loss
from study.models import Autoencoder, save_weights

PART = {
    "bottleneck_channels": 3,
    "factor": 4,
    "features": 4,
    "blocks": 1,
    "growth": 2,
    "encoder": "learned",
    "decoder": "rrdb",
    "bicubic_skip": False,
    "scale_head": False,
}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The auto-encoders of the made-up study, with random weights."""
    folder = tmp_path_factory.mktemp("artifacts")
    for channels in (3, 12):
        key = f"autoencoder-{channels:016d}"
        part = {**PART, "bottleneck_channels": channels}
        torch.manual_seed(channels)
        (folder / key).mkdir()
        save_weights(made(part), folder / key / "weights.safetensors", layout="plain")
        (folder / key / "config.json").write_text(json.dumps({"key": key, "part": part}))
    return folder


def made(part: dict) -> Autoencoder:
    return Autoencoder(**part)


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def test_the_maps_means_are_the_losses(full_run: Path, artifacts: Path) -> None:
    results = load_results(full_run)
    found = loss_maps(full_run, results, artifacts)
    assert found[0].title == "fidelity generator, astronaut"
    assert len(found) == 3
    losses = []
    for channels in (3, 12):
        folder = artifacts / f"autoencoder-{channels:016d}"
        torch.manual_seed(channels)
        network = made({**PART, "bottleneck_channels": channels}).eval()
        with torch.no_grad():
            losses.append([float(aesop_loss(network, as_tensor(each.sr), as_tensor(each.hr))) for each in found])
        assert folder.is_dir()
    aesop = [float(each.aesop.mean()) for each in found]
    assert any(np.allclose(aesop, values, rtol=1e-4) for values in losses)
    for each in found:
        assert each.pixel.mean() == pytest.approx(float(pixel_loss(as_tensor(each.sr), as_tensor(each.hr))), rel=1e-4)
        assert each.pixel.shape == each.aesop.shape == each.hr.shape[:2]
    assert len(draw_loss_maps(found).axes) == 12


def test_without_auto_encoders_or_crops_there_are_none(full_run: Path, artifacts: Path, tmp_path: Path) -> None:
    results = load_results(full_run)
    assert loss_maps(full_run, results, tmp_path) == ()
    assert loss_maps(tmp_path, results, artifacts) == ()


def test_a_damaged_auto_encoder_does_not_cost_the_report(full_run: Path, artifacts: Path, tmp_path: Path) -> None:
    damaged = copytree(artifacts, tmp_path / "damaged")
    for folder in damaged.iterdir():
        (folder / "weights.safetensors").write_bytes(b"no weights")
    run = copytree(full_run, tmp_path / "run")
    results = load_results(run)
    saved = save_figures(run, run, results, compute_statistics(results, draws=20), damaged)
    assert "loss_maps" not in saved.figures
    assert "front" in saved.figures
    assert "weights.safetensors" in saved.problems[0]
