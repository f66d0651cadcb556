"""Output of `--dry-run`: the stages of a study and their predicted cost."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from study.cost.forecast import StageForecast
from study.cost.packing import size_text
from study.formatting import duration
from study.search.plan import SearchPlan


@dataclass(frozen=True)
class DryRun:
    """Predicted cost of a study.

    Attributes:
        title: heading of the table.
        stages: cost of each stage.
        measured, kinds: number of measured kinds of work, and of all.
        slots, where: number of concurrent jobs, and their hardware in words.
        output: the study's directory.
        plan: its search plan.
        notes: caveats for readers of the results.
    """

    title: str
    stages: Sequence[StageForecast]
    measured: int
    kinds: int
    slots: int
    where: str
    output: Path
    plan: SearchPlan
    notes: Sequence[str]


def print_dry_run(study: DryRun, console: Console) -> None:
    """Print a table of the stages, then time, storage, memory and caveats."""
    table = Table("stage", "jobs", "finished", "steps left", "device-hours", title=study.title)
    table.title_justify = "left"
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in study.stages:
        hours = f"{stage.device_seconds / 3600:.2f}"
        table.add_row(stage.stage, str(stage.works), str(stage.finished), f"{stage.iterations:,}", hours)
    total = sum(stage.device_seconds for stage in study.stages)
    table.add_section()
    table.add_row("together", "", "", "", f"{total / 3600:.2f}")
    console.print(table)
    for line in _lines(study, total):
        console.print(line, highlight=False, soft_wrap=True)


def _lines(study: DryRun, total: float) -> list[str]:
    stages = study.stages
    evaluation = sum(stage.evaluation_seconds for stage in stages)
    stored = sum(stage.stored_bytes for stage in stages)
    running = 2 * study.slots * max(stage.checkpoint_bytes for stage in stages)
    peak = max(stage.peak_bytes for stage in stages)
    return [
        f"included: {evaluation / 3600:.2f} device-hours for the evaluation of points on {study.where}; "
        f"{study.measured} of {study.kinds} kinds of work were measured",
        f"about {duration(total / study.slots)} with {study.slots} concurrent jobs on {study.where}, if all are busy",
        f"storage: {size_text(stored)} of weights, {size_text(running)} of checkpoints during the study; "
        f"{size_text(_free(study.output))} are free at --output",
        *([f"GPU memory: at most {size_text(peak)} a job; --pack auto would use it"] if peak else []),
        *guessed(study.plan),
        *_not_counted(study.plan),
        *(f"note: {note}" for note in study.notes),
        "all checks passed; the same command without --dry-run starts the study",
    ]


def guessed(plan: SearchPlan) -> list[str]:
    """Return caveats of the prediction, a sentence each; none for runs that are repeated."""
    if plan.repeat is not None:
        return []
    return ["the sampler chooses the artifacts of later trials: their number is estimated from random draws"]


def _not_counted(plan: SearchPlan) -> list[str]:
    left_out = ["savings of early stopping"] if plan.rungs is not None else []
    left_out += ["interpolations of the front"] if plan.interpolations else []
    limits = ["--device-hours or --plateau may end it earlier"] if plan.device_hours or plan.plateau else []
    return [*([f"not counted: {', '.join(left_out)}"] if left_out else []), *limits]


def _free(output: Path) -> int:
    existing = next(path for path in (output.resolve(), *output.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free
