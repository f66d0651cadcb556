"""The metadata of a study (`study.json`), from its search space, its run and its context."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import __version__
from study.config import RunConfig, flatten, to_dict
from study.data import ImageSet
from study.files import write_atomically
from study.metrics import METRICS
from study.record.goals import Goals, Objective
from study.record.metadata import ImageSetInfo, SearchInfo, StudyMetadata, new_id
from study.record.paths import RunDirectory
from study.search.plan import SearchPlan
from study.training.context import RunContext


@dataclass(frozen=True)
class Description:
    """A study but for its images.

    Attributes:
        name: the study's.
        search: space, number of trials, seed and groups.
        space_fingerprint: hash of the space's text; empty for a single run.
        base: the run that trials vary.
        goals: objectives, reference point and constraints.
        notes: caveats for readers of the results.
        plan: options of the search; None for a single run.
    """

    name: str
    search: SearchInfo
    space_fingerprint: str
    base: RunConfig
    goals: Goals
    notes: Sequence[str]
    plan: SearchPlan | None = None


def objectives_of(context: RunContext) -> tuple[Objective, ...]:
    """Return the two objectives: fidelity, then perceptual distance."""
    infos = {name: METRICS[name] for name in ("psnr_y", context.evaluator.perceptual)}
    return tuple(Objective(name, info.direction, info.unit, info.label) for name, info in infos.items())


def describe(study: Description, context: RunContext) -> StudyMetadata:
    """Return a study's metadata."""
    return StudyMetadata(
        name=study.name,
        search=study.search,
        goals=study.goals,
        images={"train": _image_set(context.train), "val": _image_set(context.val)},
        config=to_dict(study.base),
        notes=tuple(study.notes),
        code_version=code_version(),
        identity=identity_of(study, context),
        id=new_id(),
    )


def identity_of(study: Description, context: RunContext) -> dict[str, Any]:
    """Return the settings that a resumed study cannot change, by name."""
    losses = [sha256.removeprefix("sha256:")[:16] for sha256 in context.custom_losses]
    return {
        "space": study.search.space,
        "space_fingerprint": study.space_fingerprint,
        "config": _identifying_fields(study.base),
        "training images": context.train.fingerprint[:16],
        "held-out images": context.val.fingerprint[:16],
        "objectives": list(study.goals.metrics),
        **({} if study.plan is None else {"--seed": study.search.seed, **study.plan.identity}),
        **({"custom losses": sorted(losses)} if losses else {}),
    }


def write_custom_losses(output: Path, context: RunContext) -> None:
    """Write the texts of a study's custom losses into its directory."""
    for sha256, text in context.custom_losses.items():
        write_atomically(RunDirectory(output).custom_loss(sha256), text.encode())


def code_version() -> str:
    """Return the package's version, and the commit in a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return f"{__version__}+{commit}" if commit else __version__


def _identifying_fields(config: RunConfig) -> dict[str, Any]:
    """Return a run's fields by path, but for paths of images and of a custom loss: their identity is their content."""
    fields = flatten(to_dict(config))
    return {path: value for path, value in fields.items() if path not in ("data.train", "data.val", "loss.custom")}


def _image_set(images: ImageSet) -> ImageSetInfo:
    return ImageSetInfo(images.name, images.fingerprint, tuple(images.names))
