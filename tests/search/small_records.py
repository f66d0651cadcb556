"""A small study's record, event by event."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from study.config import RunConfig, to_dict
from study.record.events import (
    ArtifactEnded,
    Event,
    InterpolationEvaluated,
    PointEvaluated,
    ReferenceEvaluated,
    TrialEnded,
    TrialStarted,
    TrialState,
)
from study.record.goals import Goals, Objective
from study.record.journal import Journal
from study.record.metadata import ImageSetInfo, SearchInfo, StudyMetadata, new_id, write_metadata
from study.record.paths import RunDirectory
from study.record.points import FidelityPoint, InterpolatedPoint, InterpolationSpace, Spent, TrialPoint
from study.record.state import StudyRecord

KEY = "fidelity-0123456789abcdef"
GENERATOR = FidelityPoint(KEY)
OBJECTIVES = (Objective("psnr_y", "maximize"), Objective("lpips_alex", "minimize"))
GOALS = Goals(OBJECTIVES, {"psnr_y": 20.0, "lpips_alex": 1.0})


def metrics(psnr: float, lpips: float, lr_psnr: float = 50.0) -> dict[str, float]:
    return {"psnr_y": psnr, "lpips_alex": lpips, "lr_psnr": lr_psnr}


def started(trial: int, config: RunConfig, key: str = KEY, **params: object) -> TrialStarted:
    return TrialStarted(trial=trial, config=to_dict(config), params=params, upstream={"fidelity": key})


def evaluated(trial: int, iteration: int, *values: float, peak_gib: float | None = None) -> PointEvaluated:
    return PointEvaluated(
        point=TrialPoint(trial, iteration),
        metrics=metrics(*values),
        images={},
        terms={},
        spent=Spent(iterations=iteration, device_seconds=float(iteration), peak_gib=peak_gib),
        samples="",
    )


def ended(trial: int, state: TrialState = "COMPLETE") -> TrialEnded:
    return TrialEnded(trial=trial, state=state)


def generator(psnr: float, lpips: float, key: str = KEY) -> ReferenceEvaluated:
    return ReferenceEvaluated(name=key, kind="fidelity", metrics=metrics(psnr, lpips), images={}, samples="")


def interpolated(
    *values: float, share: float = 0.5, space: InterpolationSpace = "weights", seconds: float = 3.0
) -> InterpolationEvaluated:
    return InterpolationEvaluated(
        point=InterpolatedPoint(GENERATOR, TrialPoint(0, 40), space, share),
        metrics=metrics(*values),
        images={},
        spent=Spent(device_seconds=seconds),
        samples="",
    )


def small_record(config: RunConfig) -> StudyRecord:
    """Trials 0 (COMPLETE), 1 (PRUNED), 2 (FAILED) and 3 (RUNNING), each of which has a point on the front but 2."""
    record = StudyRecord()
    record.apply(
        ArtifactEnded(
            key=KEY, stage="fidelity", config=to_dict(config), state="COMPLETE", spent=Spent(device_seconds=100.0)
        )
    )
    record.apply(generator(30, 0.5))
    for number in range(4):
        record.apply(started(number, config))
    for number, *points in ((0, (29, 0.4), (28, 0.3)), (1, (27, 0.2)), (2, (40, 0.0)), (3, (26, 0.1), (25, 0.6))):
        for index, values in enumerate(points):
            record.apply(evaluated(number, 20 * (index + 1), *values))
    record.apply(ended(0))
    record.apply(ended(1, "PRUNED"))
    record.apply(ended(2, "FAILED"))
    return record


def write_study(
    run_dir: Path,
    events: Iterable[Event],
    *,
    groups: tuple[str, ...] = (),
    identity: Mapping[str, object] | None = None,
) -> None:
    """Write a study's metadata and journal."""
    images = {name: ImageSetInfo(name, fingerprint, ()) for name, fingerprint in (("train", "abc"), ("val", "xyz"))}
    metadata = StudyMetadata(
        name=run_dir.name,
        search=SearchInfo("mine", 6, 0, groups),
        goals=GOALS,
        images=images,  # type: ignore[arg-type]
        config={},
        notes=(),
        code_version="0",
        identity=identity or {},
        id=new_id(),
    )
    run_dir.mkdir(exist_ok=True)
    write_metadata(run_dir, metadata)
    journal = Journal(RunDirectory(run_dir).journal)
    for event in events:
        journal.append(event)
