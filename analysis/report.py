"""Write a study's tables, figure and page into its run directory.

    python analysis/report.py RUN_DIR [--watch [SECONDS]]

reads study.json and journal.jsonl and writes points.parquet, trials.parquet, artifacts.parquet, front.csv, front.png,
front.svg and report.html. A study that is still running can be reported on too; with --watch that is done again and
again until the study has ended, and the page loads itself anew meanwhile.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    # Python puts a script's directory first on its path, where our file names could hide other packages.
    # What we import lies a level above, and the checkout need not be installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.crops import figure_uri
from analysis.figures import draw_front, save_figure
from analysis.findings import findings
from analysis.fronts import front_hypervolume, front_of
from analysis.journal import RunDirectoryError
from analysis.pages import TextTable, front_table, render_page
from analysis.tables import Results, load_results, metric_columns, sampled_paths
from analysis.text_figure import draw_text
from analysis.wording import count_text, metric_text

_FILES = ("points.parquet", "trials.parquet", "artifacts.parquet", "front.csv", "front.png", "front.svg", "report.html")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report says first, and where its files are."""

    front: TextTable
    plot: str
    """The trade-off as text."""
    hypervolume: float
    findings: tuple[str, ...]
    num_trials: int
    num_points: int
    """Points of trials and references, whether or not they count for the front."""
    is_running: bool
    """Whether the study had yet to say that it ended."""
    points: Path
    trials: Path
    front_csv: Path
    figure: Path
    page: Path


def write_report(run_dir: Path, *, reload_seconds: int | None = None) -> Report:
    """Write every file of the report; each replaces its predecessor as a whole.

    Args:
        run_dir: what study/sweep.py wrote; it needs no trial that has ended.
        reload_seconds: how often the page shall load itself anew as long as the study runs; None for never.

    Raises:
        RunDirectoryError: run_dir holds no usable study.json.
    """
    results = load_results(run_dir)
    facts = results.facts
    paths = {name: run_dir / name for name in _FILES}
    _replace(paths["points.parquet"], lambda path: results.points.to_parquet(path, index=False))
    _replace(paths["trials.parquet"], lambda path: results.trials.to_parquet(path, index=False))
    _replace(paths["artifacts.parquet"], lambda path: results.artifacts.to_parquet(path, index=False))
    _replace(paths["front.csv"], lambda path: _write_front(path, results))
    figure = draw_front(results.points, facts)
    _replace(paths["front.png"], lambda path: save_figure(figure, path, "png"))
    _replace(paths["front.svg"], lambda path: save_figure(figure, path, "svg"))
    is_running = results.journal.state == "RUNNING"
    page = render_page(
        run_dir,
        results,
        figure=figure_uri(paths["front.png"], paths["front.svg"]),
        reload_seconds=reload_seconds if is_running else None,
    )
    _replace(paths["report.html"], lambda path: path.write_text(page, encoding="utf-8"))
    return Report(
        front=front_table(results, facts.groups),
        plot=draw_text(results.points, facts),
        hypervolume=front_hypervolume(front_of(results.points, facts), facts),
        findings=findings(results),
        num_trials=len(results.trials),
        num_points=len(results.points),
        is_running=is_running,
        points=paths["points.parquet"],
        trials=paths["trials.parquet"],
        front_csv=paths["front.csv"],
        figure=paths["front.png"],
        page=paths["report.html"],
    )


def watch(run_dir: Path, seconds: int, console: Console) -> Report:
    """Write the report every so many seconds until the study has ended, or Ctrl-C; returns the last one.

    Raises:
        RunDirectoryError: run_dir holds no usable study.json.
    """
    try:
        while (report := write_report(run_dir, reload_seconds=seconds)).is_running:
            what = f"{count_text(report.num_trials, 'trial')}, {count_text(report.num_points, 'point')}"
            console.print(Text(f"{time.strftime('%H:%M:%S')} {what}: {report.page}"), soft_wrap=True)
            time.sleep(seconds)
    except KeyboardInterrupt:
        # Nobody renders it any more, so the page shall not wait for it.
        return write_report(run_dir)
    return report


def print_report(report: Report, console: Console) -> None:
    """Print the front, the hypervolume and the file to open next."""
    table = Table(title=Text(report.front.caption), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in report.front.columns:
        # Names may look like rich's markup: Text takes them as they are.
        table.add_column(Text(column), justify="right", overflow="fold")
    for row in report.front.rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print(Text(report.plot), soft_wrap=True)
    for sentence in report.findings:
        console.print(Text(sentence))
    console.print(Text(f"hypervolume: {metric_text(report.hypervolume)}"))
    console.print(Text(f"report: {report.page}"), soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Report on the run directory that the command line names; 2 where it is not one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run_dir", type=Path, help="what study/sweep.py wrote with --output")
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=60,
        metavar="SECONDS",
        help="do it anew every so many seconds until the study has ended (60 if not said)",
    )
    options = parser.parse_args(arguments)
    console = Console()
    try:
        report = watch(options.run_dir, options.watch, console) if options.watch else write_report(options.run_dir)
    except RunDirectoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_report(report, console)
    return 0


def _seconds(text: str) -> int:
    """Read an interval of --watch."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of seconds, at least 1, but got {text!r}")
    return int(text)


def _write_front(path: Path, results: Results) -> None:
    """Write the front's points in full precision, with what was sampled for them."""
    sampled = [f"config.{name}" for name in sampled_paths(results)]
    columns = [
        "trial",
        "kind",
        "name",
        "iteration",
        *metric_columns(results),
        "iterations",
        "device_seconds",
        *sampled,
    ]
    front_of(results.points, results.facts)[columns].to_csv(path, index=False)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and then move it there, so that no reader meets half a file."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())
