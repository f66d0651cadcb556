"""Live views of studies and single runs: redrawn in place on a terminal, else a line every `LOG_SECONDS`."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich import progress as rich_progress
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.formatting import duration
from study.training.loop import Progress

REDRAW_SECONDS = 0.5
LOG_SECONDS = 15.0
FRONT_ROWS = 8


@dataclass(frozen=True)
class Snapshot:
    """The state of a study at one moment.

    Attributes:
        total: number of trials of the study.
        counts: number of trials in each state.
        jobs: running jobs: name, iterations done, all iterations.
        seconds_left: estimate; NaN while there is none.
        front: the present front, best fidelity first: a label and the objectives' values.
        objectives: names of the objectives.
        hypervolume: of the front.
        elsewhere: other studies that train required artifacts, by key.
        limits: progress towards the limits of the search, other than the number of trials.
    """

    total: int
    counts: dict[str, int]
    jobs: Sequence[tuple[str, int, int]]
    seconds_left: float
    front: Sequence[tuple[str, tuple[float, ...]]]
    objectives: Sequence[str]
    hypervolume: float
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()


class ProgressView:
    """Shows snapshots of a study; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._shown_at = 0.0

    def __enter__(self) -> "ProgressView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def due(self) -> bool:
        """Whether it is time for another snapshot."""
        every = LOG_SECONDS if self._live is None else REDRAW_SECONDS
        return time.monotonic() - self._shown_at >= every

    def show(self, snapshot: Snapshot) -> None:
        """Show a snapshot now."""
        self._shown_at = time.monotonic()
        if self._live is None:
            self._console.print(one_line(snapshot), soft_wrap=True, highlight=False)
        else:
            self._live.update(_drawing(snapshot), refresh=True)


def one_line(snapshot: Snapshot) -> str:
    """Return a snapshot as a line of a log."""
    jobs = ", ".join(f"{name} {done}/{total}" for name, done, total in snapshot.jobs) or "nothing running"
    front = " ".join("/".join(f"{value:.4g}" for value in values) for _, values in snapshot.front[:FRONT_ROWS])
    axes = "/".join(snapshot.objectives)
    jobs = "; ".join([jobs, *_elsewhere(snapshot), *snapshot.limits])
    return f"{_counts(snapshot)} | {time_left(snapshot.seconds_left)} | {jobs} | front ({axes}): {front or 'none yet'}"


def time_left(seconds: float) -> str:
    """Return an estimate of seconds in words; NaN if there is none yet."""
    return "time left not yet known" if math.isnan(seconds) else f"{duration(seconds)} left"


def _counts(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    parts = [f"{counts.get('COMPLETE', 0)} of {snapshot.total} trials done"]
    parts += [
        f"{counts[state]} {state.lower()}" for state in ("RUNNING", "WAITING", "PRUNED", "FAILED") if counts.get(state)
    ]
    return ", ".join(parts)


def _elsewhere(snapshot: Snapshot) -> list[str]:
    return [f"{key} is being trained by {holder}" for key, holder in snapshot.elsewhere.items()]


def _drawing(snapshot: Snapshot) -> Group:
    head = Text(f"{_counts(snapshot)}   {time_left(snapshot.seconds_left)}", style="bold")
    jobs = Table.grid(padding=(0, 2))
    for name, done, total in snapshot.jobs:
        jobs.add_row(name, ProgressBar(total=total, completed=done, width=30), f"{done}/{total}")
    front = Table(
        "front member",
        *snapshot.objectives,
        title=f"hypervolume {snapshot.hypervolume:.4g}",
        title_justify="left",
    )
    for label, values in snapshot.front[:FRONT_ROWS]:
        front.add_row(label, *(f"{value:.4f}" for value in values))
    return Group(head, jobs, *map(Text, [*_elsewhere(snapshot), *snapshot.limits]), front)


class StageProgress:
    """Shows the stages of a single run with their remaining times; a context manager."""

    def __init__(self, console: Console) -> None:
        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            "{task.fields[terms]}",
            TimeRemainingColumn(),
        )
        self._bars = rich_progress.Progress(*columns, console=console) if console.is_terminal else None
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._logged_at = 0.0

    def __enter__(self) -> "StageProgress":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def on_progress(self, progress: Progress) -> None:
        """Show the progress of a stage."""
        terms = " ".join(f"{name} {value:.3g}" for name, value in progress.terms.items())
        if self._bars is not None:
            if progress.stage not in self._tasks:
                self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=progress.iterations, terms="")
            self._bars.update(self._tasks[progress.stage], completed=progress.iteration, terms=terms)
            return
        now = time.monotonic()
        since, first = self._started.setdefault(progress.stage, (now, progress.iteration))
        if now - self._logged_at >= LOG_SECONDS or progress.iteration == progress.iterations:
            self._logged_at = now
            done = progress.iteration - first
            left = (now - since) / done * (progress.iterations - progress.iteration) if done else math.nan
            line = f"{progress.stage} {progress.iteration}/{progress.iterations} | {terms} | {time_left(left)}"
            self._console.print(line, soft_wrap=True, highlight=False)
