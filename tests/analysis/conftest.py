"""A run directory like the driver writes, made up from a seed, for the tests of analysis."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data as photographs

from study.record.events import ArtifactEnded, Event, PointEvaluated, ReferenceEvaluated
from study.record.metadata import StudyMetadata
from study.record.points import Distribution, Spent
from tests.analysis.made_events import IMAGES, artifact, end, metadata_of, point, reference, trial, write_study

FIDELITY = "fidelity-00aa11bb22cc33dd"
SAMPLED = {
    "loss.guidance": Distribution("categorical", choices=("aesop", "pixel")),
    "autoencoder.bottleneck_channels": Distribution("categorical", choices=(3, 12)),
    "budget.patch": Distribution("categorical", choices=(48, 64)),
    "loss.adversarial": Distribution("float", low=10**-3.5, high=10**-1.5, log=True),
}


@pytest.fixture(scope="session")
def metadata() -> StudyMetadata:
    """What a small study is."""
    return metadata_of(_config("aesop", 3, 64, 0.001))


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run directory from metadata and events; returns its path."""

    def write(metadata: StudyMetadata, events: Iterable[Event], *, tail: str = "") -> Path:
        return write_study(tmp_path / "run", metadata, events, tail)

    return write


@pytest.fixture(scope="session")
def study_events() -> list[Event]:
    """The journal of a study of 12 trials: 9 COMPLETE, 1 PRUNED, 1 FAILED, 1 RUNNING."""
    random = np.random.default_rng(5)
    events: list[Event] = [_artifact(FIDELITY, 0.02), _reference("bicubic", "bicubic", 29.3, 34.0)]
    events.append(_reference(FIDELITY, "fidelity", 29.99, 21.3))
    events += [_artifact(f"autoencoder-{channels:016d}", 0.01) for channels in (3, 12)]
    for number in range(12):
        events += _trial_events(number, random)
    return events


@pytest.fixture(scope="session")
def full_run(metadata: StudyMetadata, study_events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of that study, with sample crops of real photographs; only reports may change it."""
    run_dir = write_study(tmp_path_factory.mktemp("full") / "run", metadata, study_events)
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
            if isinstance(event, PointEvaluated) and event.point.trial != 4:
                sharp = bicubic.filter(ImageFilter.UnsharpMask(2, 20 * event.point.trial))
                _save(sharp, run_dir / event.samples, image)
    return run_dir


def _trial_events(number: int, random: np.random.Generator) -> list[Event]:
    guidance, channels, patch = (
        ("aesop", "pixel")[number % 2],
        (3, 12)[number // 2 % 2],
        (48, 64)[number // 4 % 2],
    )
    weight = float(10 ** random.uniform(-3.5, -1.5))
    upstream = {"fidelity": FIDELITY, "autoencoder": f"autoencoder-{channels:016d}"}
    if guidance == "pixel":
        upstream.pop("autoencoder")
    params = {
        "loss.guidance": guidance,
        "autoencoder.bottleneck_channels": channels,
        "budget.patch": patch,
        "loss.adversarial": weight,
    }
    begun = trial(number, _config(guidance, channels, patch, weight), params, SAMPLED, **upstream)
    state = {9: "PRUNED", 10: "FAILED"}.get(number, "COMPLETE")
    reached = {"COMPLETE": 4, "PRUNED": 2, "FAILED": 1}[state]
    strength = np.log10(weight) + 3.5
    points = [_point(number, guidance, 100 * step, strength, random) for step in range(1, reached + 1)]
    if number == 11:
        return [begun, *points[:2]]
    return [begun, *points, _end(number, state)]


def _point(number: int, guidance: str, iteration: int, strength: float, random: np.random.Generator) -> PointEvaluated:
    progress = iteration / 400
    better = 0.35 if guidance == "aesop" else 0.0
    psnr = 29.6 + better - 1.6 * strength * progress + random.normal(0, 0.12)
    swd = max(21 - 15 * progress * min(1.0, 0.3 + 0.5 * strength) + random.normal(0, 0.6), 3.0)
    ssim = 0.82 - 0.02 * strength * progress
    return point(
        number,
        iteration,
        float(psnr),
        float(swd),
        ssim_y=float(ssim),
        images=_images({"psnr_y": psnr, "swd": swd, "ssim_y": ssim}),
        terms={"fidelity": 0.02, "adversarial": 4.1},
        spent=_spent(iteration, 0.14 if guidance == "aesop" else 0.09),
    )


def _end(number: int, state: str) -> Event:
    cause = "loss.adversarial is not finite at iteration 131" if state == "FAILED" else None
    return end(number, state, cause, overhead_seconds=0.02 + number / 1000, warm=number > 1, waited=number == 2)


def _artifact(key: str, seconds: float) -> ArtifactEnded:
    config = _config("pixel", 3, 64, 0.0)
    return artifact(key, config=config, metrics={"psnr_y": 29.99, "swd": 21.3}, spent=_spent(600, seconds))


def _reference(name: str, kind: str, psnr: float, swd: float) -> ReferenceEvaluated:
    metrics = {"psnr_y": psnr, "swd": swd, "ssim_y": 0.81}
    return reference(name, kind, psnr, swd, metrics=metrics, images=_images(metrics))


def _images(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {
        image: {name: float(value) * (0.95 + 0.05 * i) for name, value in metrics.items()}
        for i, image in enumerate(IMAGES)
    }


def _spent(iterations: int, seconds: float) -> Spent:
    return Spent(iterations, iterations * 16 * 64 * 64, iterations * seconds)


def _config(guidance: str, channels: int, patch: int, weight: float) -> dict[str, Any]:
    return {
        "recipe": "aesop",
        "size": "tiny",
        "loss": {"guidance": guidance, "adversarial": weight, "layers": [0.1, 1.0], "ldl": False},
        "autoencoder": {"bottleneck_channels": channels},
        "budget": {"patch": patch, "batch": 16},
        "data": {"scale": 4},
    }


def _save(image: Image.Image, directory: Path, name: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    image.save(directory / f"{name}.png")
