"""What `--dry-run` prints: what a study would train, and what that would cost."""

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
    """A study as it would be.

    Attributes:
        title: which study.
        stages: what each would cost.
        measured, kinds: how many kinds of work were measured, of how many.
        slots, where: how many jobs run at once, and on what.
        output: where it would write.
        plan: how it would search.
        notes: sentences that every reader has to see.
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
    """Print a table of the stages and what else there is to say."""
    table = Table("stage", "jobs", "there already", "steps left", "device-hours", title=study.title)
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
    running = study.slots * max(stage.checkpoint_bytes for stage in stages)
    peak = max(stage.peak_bytes for stage in stages)
    return [
        f"of it {evaluation / 3600:.2f} device-hours for the evaluation of points on {study.where}; "
        f"{study.measured} of {study.kinds} kinds of work were measured",
        f"about {duration(total / study.slots)} with the {study.slots} jobs at once that {study.where} has room for, "
        "if all are busy",
        f"storage: {size_text(stored)} of weights, {size_text(running)} of checkpoints while it runs; "
        f"{size_text(_free(study.output))} are free at --output",
        *([f"GPU memory: at most {size_text(peak)} a job; --pack auto would use it"] if peak else []),
        *guessed(study.plan),
        *_not_counted(study.plan),
        *(f"note: {note}" for note in study.notes),
        "missing: nothing; without --dry-run, the same command starts it",
    ]


def guessed(plan: SearchPlan) -> list[str]:
    """Return what is not known before the search, a sentence each; of runs that are repeated, all is known."""
    if plan.repeat is not None:
        return []
    return ["the artifacts of later trials depend on what the sampler learns: their number is that of draws at random"]


def _not_counted(plan: SearchPlan) -> list[str]:
    left_out = ["what early stopping saves"] if plan.rungs is not None else []
    left_out += ["what interpolations of the front cost"] if plan.interpolations else []
    limits = ["--device-hours or --plateau may end it earlier"] if plan.device_hours or plan.plateau else []
    return [*([f"not counted: {' and '.join(left_out)}"] if left_out else []), *limits]


def _free(output: Path) -> int:
    existing = next(path for path in (output.resolve(), *output.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free
