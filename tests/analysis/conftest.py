"""A run directory like the driver writes, made up from a seed, for the tests of analysis."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data as photographs

IMAGES = ("astronaut", "chelsea", "coffee")
FIDELITY = "fidelity-00aa11bb22cc33dd"


@pytest.fixture(scope="session")
def study_json() -> dict[str, Any]:
    """What study.json of a small study holds."""
    return {
        "name": "quick",
        "space": "quick",
        "recipe": "aesop",
        "size": "tiny",
        "trials": 12,
        "seed": 7,
        "objectives": [
            {"metric": "psnr_y", "direction": "maximize", "unit": "dB", "label": "PSNR-Y"},
            {
                "metric": "swd",
                "direction": "minimize",
                "unit": "",
                "label": "SWD (sliced Wasserstein distance of Laplacian patches)",
            },
        ],
        "reference": {"psnr_y": 20.0, "swd": 60.0},
        "notes": ["Published LPIPS weights were not found: the perceptual axis is SWD, not LPIPS."],
        "data": {
            "train": {"name": "photographs", "fingerprint": "5f3c9a11", "images": ["rocket", "retina"]},
            "val": {"name": "photographs", "fingerprint": "77ab01ce", "images": list(IMAGES)},
        },
        "scale": 4,
        "code_version": "0123abc",
        "config": _config("aesop", 3, 64, 0.001),
        "groups": ["loss.guidance", "autoencoder.bottleneck_channels", "budget.patch"],
    }


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run directory from the content of study.json and events; returns its path."""

    def write(study: Mapping[str, Any], events: Iterable[Mapping[str, Any]], *, tail: str = "") -> Path:
        return _write(tmp_path / "run", study, events, tail)

    return write


@pytest.fixture(scope="session")
def study_events() -> list[dict[str, Any]]:
    """The journal of a study of 12 trials: 9 COMPLETE, 1 PRUNED, 1 FAILED, 1 RUNNING."""
    random = np.random.default_rng(5)
    events = [_artifact("fidelity", FIDELITY, 0.02), _reference("bicubic", "bicubic", 29.3, 34.0)]
    events.append(_reference(FIDELITY, "fidelity", 29.99, 21.3))
    events += [_artifact("autoencoder", f"autoencoder-{channels:016d}", 0.01) for channels in (3, 12)]
    for trial in range(12):
        events += _trial_events(trial, random)
    return events


@pytest.fixture(scope="session")
def full_run(study_json: dict, study_events: list, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of that study, with sample crops of real photographs; only reports may change it."""
    run_dir = _write(tmp_path_factory.mktemp("full") / "run", study_json, study_events, "")
    for image in IMAGES:
        window = Image.fromarray(getattr(photographs, image)()).crop((200, 60, 296, 156))
        low = window.resize((24, 24), Image.Resampling.BICUBIC)
        bicubic = low.resize((96, 96), Image.Resampling.BICUBIC)
        _save(window, run_dir / "references/hr", image)
        _save(low, run_dir / "references/lq", image)
        _save(bicubic, run_dir / "references/bicubic", image)
        _save(bicubic.filter(ImageFilter.SHARPEN), run_dir / "references" / FIDELITY, image)
        for event in study_events:
            # Trial 4 has no samples: a crop that is missing must not break the page.
            if event["event"] == "point" and event["trial"] != 4:
                sharp = bicubic.filter(ImageFilter.UnsharpMask(2, 20 * event["trial"]))
                _save(sharp, run_dir / event["samples"], image)
    return run_dir


def _write(run_dir: Path, study: Mapping[str, Any], events: Iterable[Mapping[str, Any]], tail: str) -> Path:
    run_dir.mkdir(exist_ok=True)
    (run_dir / "study.json").write_text(json.dumps(study))
    lines = "".join(json.dumps({"time": 1.7e9, **event}) + "\n" for event in events)
    (run_dir / "journal.jsonl").write_text(lines + tail)
    return run_dir


def _trial_events(trial: int, random: np.random.Generator) -> list[dict[str, Any]]:
    guidance, channels, patch = (
        ("aesop", "pixel")[trial % 2],
        (3, 12)[trial // 2 % 2],
        (48, 64)[trial // 4 % 2],
    )
    weight = float(10 ** random.uniform(-3.5, -1.5))
    upstream = {"fidelity": FIDELITY, "autoencoder": f"autoencoder-{channels:016d}"}
    if guidance == "pixel":
        upstream.pop("autoencoder")
    begun = {
        "event": "trial",
        "trial": trial,
        "config": _config(guidance, channels, patch, weight),
        "params": {
            "loss.guidance": guidance,
            "autoencoder.bottleneck_channels": channels,
            "budget.patch": patch,
            "loss.adversarial": weight,
        },
        "upstream": upstream,
    }
    state = {9: "PRUNED", 10: "FAILED"}.get(trial, "COMPLETE")
    reached = {"COMPLETE": 4, "PRUNED": 2, "FAILED": 1}[state]
    strength = np.log10(weight) + 3.5
    points = [_point(trial, guidance, 100 * step, strength, random) for step in range(1, reached + 1)]
    if trial == 11:
        return [begun, *points[:2]]
    return [begun, *points, _end(trial, state)]


def _point(trial: int, guidance: str, iteration: int, strength: float, random: np.random.Generator) -> dict:
    progress = iteration / 400
    better = 0.35 if guidance == "aesop" else 0.0
    psnr = 29.6 + better - 1.6 * strength * progress + random.normal(0, 0.12)
    swd = 21 - 15 * progress * min(1.0, 0.3 + 0.5 * strength) + random.normal(0, 0.6)
    metrics = {"psnr_y": psnr, "swd": max(swd, 3.0), "ssim_y": 0.82 - 0.02 * strength * progress}
    return {
        "event": "point",
        "trial": trial,
        "iteration": iteration,
        "metrics": metrics,
        "images": _images(metrics),
        "terms": {"fidelity": 0.02, "adversarial": 4.1},
        "budget": _budget(iteration, 0.14 if guidance == "aesop" else 0.09),
        "samples": f"trials/{trial:04d}/samples/{iteration:06d}",
    }


def _end(trial: int, state: str) -> dict[str, Any]:
    cause = "loss.adversarial is not finite at iteration 131" if state == "FAILED" else None
    overhead = {"overhead_seconds": 0.02 + trial / 1000, "warm": trial > 1, "waited": trial == 2}
    return {"event": "end", "trial": trial, "state": state, "cause": cause, **overhead}


def _artifact(stage: str, key: str, seconds: float) -> dict[str, Any]:
    return {
        "event": "artifact",
        "key": key,
        "stage": stage,
        "state": "COMPLETE",
        "cause": None,
        "reused": False,
        "config": _config("pixel", 3, 64, 0.0),
        "metrics": {"psnr_y": 29.99, "swd": 21.3},
        "budget": _budget(600, seconds),
    }


def _reference(name: str, kind: str, psnr: float, swd: float) -> dict[str, Any]:
    metrics = {"psnr_y": psnr, "swd": swd, "ssim_y": 0.81}
    return {
        "event": "reference",
        "name": name,
        "kind": kind,
        "metrics": metrics,
        "images": _images(metrics),
        "samples": f"references/{name}",
    }


def _images(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {
        image: {name: value * (0.95 + 0.05 * i) for name, value in metrics.items()} for i, image in enumerate(IMAGES)
    }


def _budget(iterations: int, seconds: float) -> dict[str, Any]:
    return {
        "iterations": iterations,
        "pixels_seen": iterations * 16 * 64 * 64,
        "device_seconds": iterations * seconds,
    }


def _config(guidance: str, channels: int, patch: int, weight: float) -> dict[str, Any]:
    return {
        "loss": {"guidance": guidance, "adversarial": weight, "layers": [0.1, 1.0], "ldl": False},
        "autoencoder": {"bottleneck_channels": channels},
        "budget": {"patch": patch, "batch": 16},
    }


def _save(image: Image.Image, directory: Path, name: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    image.save(directory / f"{name}.png")
