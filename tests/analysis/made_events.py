"""Builders of a journal's events with small valid values, and of a study's metadata, for the tests of analysis."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.record.events import (
    ArtifactEnded,
    Event,
    InterpolationEvaluated,
    PointEvaluated,
    ReferenceEvaluated,
    TrialEnded,
    TrialStarted,
)
from study.record.goals import Constraint, Goals, Objective
from study.record.metadata import ImageSetInfo, SearchInfo, StudyMetadata, write_metadata
from study.record.paths import RunDirectory, point_samples, reference_samples
from study.record.points import Distribution, FidelityPoint, InterpolatedPoint, Spent, TrialPoint
from tests.record.lines import line_of

IMAGES = ("astronaut", "chelsea", "coffee")
NAN = float("nan")


def metadata_of(config: Mapping[str, Any], **changes: Any) -> StudyMetadata:
    """Return what a small study is."""
    metadata = StudyMetadata(
        name="quick",
        search=SearchInfo(
            space="quick",
            trials=12,
            seed=7,
            groups=("loss.guidance", "autoencoder.bottleneck_channels", "budget.patch"),
        ),
        goals=Goals(
            objectives=(
                Objective("psnr_y", "maximize", "dB", "PSNR-Y"),
                Objective("swd", "minimize", "", "SWD (sliced Wasserstein distance of Laplacian patches)"),
            ),
            reference={"psnr_y": 20.0, "swd": 60.0},
        ),
        images={
            "train": ImageSetInfo("photographs", "5f3c9a11", ("rocket", "retina")),
            "val": ImageSetInfo("photographs", "77ab01ce", IMAGES),
        },
        config=config,
        notes=("Published LPIPS weights were not found: the perceptual axis is SWD, not LPIPS.",),
        code_version="0123abc",
        identity={},
        id="0af1" * 8,
    )
    return replace(metadata, **changes)


def with_groups(metadata: StudyMetadata, *groups: str) -> StudyMetadata:
    """Return the study with other groups."""
    return replace(metadata, search=replace(metadata.search, groups=groups))


def with_constraint(metadata: StudyMetadata, constraint: Constraint) -> StudyMetadata:
    """Return the study with a constraint."""
    return replace(metadata, goals=replace(metadata.goals, constraints=(constraint,)))


def write_study(run_dir: Path, metadata: StudyMetadata, events: Iterable[Event], tail: str = "") -> Path:
    """Write a run directory whose events are a second apart; `tail` follows the journal's last line."""
    run_dir.mkdir(exist_ok=True)
    directory = RunDirectory(run_dir)
    directory.study.unlink(missing_ok=True)
    write_metadata(run_dir, metadata)
    lines = [line_of(second + 1, 1.7e9 + second, event) for second, event in enumerate(events)]
    directory.journal.write_text("".join(lines) + tail)
    return run_dir


def trial(
    number: int,
    config: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    distributions: Mapping[str, Distribution] | None = None,
    **upstream: str,
) -> TrialStarted:
    """Return the start of a trial."""
    return TrialStarted(
        trial=number,
        config=config or {},
        params=params or {},
        distributions=distributions or {},
        upstream=upstream,  # type: ignore[arg-type]
    )


def point(number: int, iteration: int, psnr: float, swd: float, **more: Any) -> PointEvaluated:
    """Return a trial's point; `more` has further metrics, and `images`, `terms`, `spent` and `samples` of the event."""
    fields = {name: more.pop(name) for name in ("images", "terms", "spent", "samples") if name in more}
    identity = TrialPoint(number, iteration)
    nothing = {"images": {}, "terms": {}, "spent": Spent(), "samples": point_samples(identity)}
    metrics = {"psnr_y": psnr, "swd": swd, **more}
    return PointEvaluated(point=identity, metrics=metrics, **{**nothing, **fields})


def end(number: int, state: Any = "COMPLETE", cause: str | None = None, **more: Any) -> TrialEnded:
    """Return the end of a trial."""
    return TrialEnded(trial=number, state=state, cause=cause, **more)


def artifact(key: str, seconds: float = 0.0, **changes: Any) -> ArtifactEnded:
    """Return an artifact that took so many device-seconds; its stage is the key's first part."""
    stage: Any = key.partition("-")[0]
    event = ArtifactEnded(key=key, stage=stage, config={}, state="COMPLETE", spent=Spent(device_seconds=seconds))
    return replace(event, **changes)


def reference(name: str, kind: Any, psnr: float, swd: float, **changes: Any) -> ReferenceEvaluated:
    """Return a reference."""
    metrics = {"psnr_y": psnr, "swd": swd}
    event = ReferenceEvaluated(name=name, kind=kind, metrics=metrics, images={}, samples=reference_samples(name))
    return replace(event, **changes)


def interpolation(
    first: TrialPoint | FidelityPoint, second: TrialPoint, space: Any, share: float, psnr: float, swd: float
) -> InterpolationEvaluated:
    """Return an interpolation whose evaluation took 2.5 device-seconds."""
    identity = InterpolatedPoint(first, second, space, share)
    return InterpolationEvaluated(
        point=identity,
        metrics={"psnr_y": psnr, "swd": swd},
        images={},
        spent=Spent(device_seconds=2.5),
        samples=point_samples(identity),
    )
