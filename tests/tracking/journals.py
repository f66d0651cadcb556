"""What journals of tests are made of."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config import to_dict
from study.config.recipes import aesop
from study.record.events import PointEvaluated
from study.record.goals import Goals, Objective
from study.record.metadata import ImageSetInfo, SearchInfo, StudyMetadata, read_metadata, write_metadata
from study.record.points import Spent, TrialPoint

CONFIG = to_dict(aesop("tiny"))
GOALS = Goals(
    (Objective("psnr_y", "maximize", "dB", "PSNR"), Objective("swd", "minimize", "", "SWD")),
    {"psnr_y": 20.0, "swd": 60.0},
)


def write_study(run_dir: Path, **changes: Any) -> StudyMetadata:
    """Write the `study.json` of a small study that is called as its directory, unless `changes` say otherwise."""
    study = StudyMetadata(
        name=run_dir.name,
        search=SearchInfo("quick", trials=2, seed=0, groups=("loss.guidance",)),
        goals=GOALS,
        images={
            "train": ImageSetInfo("photographs", "5f3c9a11", ("a", "b")),
            "val": ImageSetInfo("held <b>out</b>", "00ff" * 16, ("c",)),
        },
        config=CONFIG,
        notes=(),
        code_version="0.1+abcdef012345-dirty",
        identity={},
        id=f"id-of-{run_dir.name}",
    )
    return write_metadata(run_dir, replace(study, **changes))


def rewrite_study(run_dir: Path, **changes: Any) -> StudyMetadata:
    """Replace fields of a `study.json`."""
    study = read_metadata(run_dir)
    (run_dir / "study.json").unlink()
    return write_metadata(run_dir, replace(study, **changes))


def evaluated(
    trial: int,
    iteration: int,
    metrics: dict[str, float],
    *,
    terms: dict[str, float] | None = None,
    spent: Spent | None = None,
    samples: str = "",
) -> PointEvaluated:
    """Make the event of a trial's point."""
    return PointEvaluated(
        point=TrialPoint(trial, iteration),
        metrics=metrics,
        images={},
        terms=terms or {},
        spent=spent or Spent(iterations=iteration),
        samples=samples,
    )
