"""Write a study's tables, figures and page into its run directory.

    python analysis/report.py RUN_DIR [--watch [SECONDS]]
    python analysis/report.py RUN_DIR --images FOLDER --output DIR
    python analysis/report.py --mlflow URI --study NAME [DIR]

reads study.json and journal.jsonl and writes report.html, figures for papers (front.png, front.svg and those in
figures/), and tables (points, images, trials and artifacts as Parquet; points, front and comparison as CSV; front and
comparison as LaTeX). The study may still be running: with --watch the report is written again and again until it has
ended, and the page reloads itself. With --images, the study is evaluated on those of its validation images that are in
FOLDER, and the report goes to a folder of its own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    # Python puts a script's directory first on its path, where our file names could hide other packages.
    # What we import lies a level above, and the checkout need not be installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pyarrow.parquet as parquet
from pyarrow import ArrowInvalid
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.figures.crops import figure_uri
from analysis.figures.saved import SavedFigure, save_figures
from analysis.figures.terminal import draw_text
from analysis.formatting import COST_TEXT, BudgetUnit, count_text, metric_text
from analysis.page.exports import export_tables
from analysis.page.page import PageFigure, render_page
from analysis.page.tables import TextTable, front_table
from analysis.statistics.compute import compute_statistics
from analysis.statistics.findings import findings
from analysis.statistics.fronts import front_hypervolume, front_of
from analysis.statistics.subsets import only_images_of, only_last_points
from analysis.statistics.tables import Results, load_results
from study.cli import Terminal, run
from study.command_parser import CommandParser, add_renamed_options
from study.files import write_atomically
from study.record.directory import check_not_recorded
from study.record.journal import JournalError
from study.record.metadata import RunDirectoryError
from study.record.paths import RunDirectory
from study.record.tables import POINTS
from study.tracking.download import MlflowSourceError, fetch_study
from study.tracking.session import end_dead_run

REM_PER_INCH = 6.2
"""Scale of a figure in the page, so that its text is as large as the page's."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report's main results and its files.

    Attributes:
        front: the front as a table.
        plot: the trade-off as text.
        findings: in sentences.
        faults: what of the study is damaged or missing, a clause each; the report lacks what was there.
        num_points: of trials, references and interpolations, whether or not they count for the front.
        is_running: whether the study has not ended.
    """

    front: TextTable
    plot: str
    hypervolume: float
    findings: tuple[str, ...]
    faults: tuple[str, ...]
    num_trials: int
    num_points: int
    is_running: bool
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    page: Path

    @property
    def files(self) -> list[Path]:
        """All files of the report."""
        return [self.page, *self.figures, *self.tables]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a report is of, and where it goes.

    Attributes:
        images: a folder; the study is evaluated on the validation images that have a file in it. None for all.
        last_points: whether trials are evaluated on their last points alone.
        output: folder of the files; None for the run directory.
        artifacts: folder of the study's auto-encoders, for the loss maps; None for the one beside the run directory.
        budget_unit: groups are compared at equal amounts of it.
    """

    images: Path | None = None
    last_points: bool = False
    output: Path | None = None
    artifacts: Path | None = None
    budget_unit: BudgetUnit = "device_seconds"


def write_report(run_dir: Path, options: Options = Options(), *, reload_seconds: int | None = None) -> Report:
    """Write every file of the report; each replaces its predecessor as a whole.

    Args:
        run_dir: of study/sweep.py; it may have no trial that has ended.
        options: what is reported.
        reload_seconds: how often the page reloads itself as long as the study runs; None for never.

    Raises:
        RunDirectoryError: run_dir has no usable study.json, or `images` none of its images; or the report that is
            there has more points than the journal.
        JournalError: another version wrote its journal.
    """
    results = _selected(load_results(run_dir), options)
    output = options.output or run_dir
    if options.output is None:
        _check_no_loss(run_dir, results)
    statistics = compute_statistics(results, budget_unit=options.budget_unit)
    comparisons = statistics.comparisons[results.groups[0]] if results.groups else ()
    tables = export_tables(output, results, comparisons, options.budget_unit)
    artifacts = options.artifacts or run_dir.parent / "artifacts"
    figures = save_figures(run_dir, output, results, statistics, artifacts)
    is_running = results.record.state == "RUNNING"
    page = render_page(
        run_dir,
        results,
        statistics,
        figures={name: _page_figure(saved) for name, saved in figures.figures.items()},
        problems=figures.problems,
        reload_seconds=reload_seconds if is_running else None,
    )
    path = RunDirectory(output).report
    write_atomically(path, page.encode())
    return Report(
        front=front_table(results, results.groups),
        plot=draw_text(results),
        hypervolume=front_hypervolume(front_of(results.points, results.goals), results.goals),
        findings=findings(results, statistics),
        faults=results.faults,
        num_trials=len(results.trials),
        num_points=len(results.points),
        is_running=is_running,
        tables=tables,
        figures=figures.files,
        page=path,
    )


def watch(source: Callable[[], Path], seconds: int, console: Console, options: Options = Options()) -> Report:
    """Write the report every so many seconds until the study has ended, or Ctrl-C; returns the last one.

    Args:
        source: updates the run directory and returns it.
        seconds: from one report to the next.
        console: for a line per report.
        options: as in `write_report`.

    Raises:
        RunDirectoryError, JournalError: as `write_report`.
        MlflowSourceError: the study cannot be fetched.
    """
    run_dir = source()
    try:
        while (report := write_report(run_dir, options, reload_seconds=seconds)).is_running:
            what = f"{count_text(report.num_trials, 'trial')}, {count_text(report.num_points, 'point')}"
            console.print(Text(f"{time.strftime('%H:%M:%S')} {what}: {report.page}"), soft_wrap=True)
            time.sleep(seconds)
            source()
    except KeyboardInterrupt:
        # The report is not updated any more, so its page must not reload.
        return write_report(run_dir, options)
    return report


def print_report(report: Report, console: Console) -> None:
    """Print the front, the findings, the hypervolume and the page's path."""
    table = Table(title=Text(report.front.caption), box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in report.front.columns:
        # Text, because names may contain rich's markup.
        table.add_column(Text(column), justify="right", overflow="fold")
    for row in report.front.rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print(Text(report.plot), soft_wrap=True)
    for sentence in report.findings:
        console.print(Text(sentence))
    for fault in report.faults:
        console.print(Text(f"warning: {fault}"), soft_wrap=True)
    if report.faults:
        console.print(Text("Continue the study with --resume: it repairs its files and does again what is missing."))
    console.print(Text(f"hypervolume: {metric_text(report.hypervolume)}"))
    console.print(Text(f"report: {report.page}"), soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Report on the study that the command line names; returns 2 if it cannot be read."""
    parsed = _parse(arguments)
    console = Terminal()

    def source() -> Path:
        """Return the study's directory, after fetching it if it is in MLflow, or ending it if its driver died."""
        if parsed.mlflow is None:
            end_dead_run(parsed.run_dir)
            return Path(parsed.run_dir)
        return fetch_study(parsed.mlflow, parsed.study, parsed.run_dir or Path("reports") / parsed.study)

    options = Options(
        images=parsed.images,
        last_points=parsed.last_points,
        output=parsed.output,
        artifacts=parsed.artifacts,
        budget_unit=parsed.equal.replace("-", "_"),
    )
    try:
        report = watch(source, parsed.watch, console, options) if parsed.watch else write_report(source(), options)
    except (RunDirectoryError, JournalError, MlflowSourceError) as error:
        Terminal(stderr=True).print(f"error: {error}", soft_wrap=True)
        return 2
    print_report(report, console)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if (parsed.images is not None or parsed.last_points) and parsed.output is None:
        parser.error("--images and --last-points make another report than the study's own: add --output DIR")
    if parsed.output is not None:
        _check_folder(parser, parsed)
    if parsed.watch and (parsed.images is not None or parsed.output is not None):
        parser.error("--watch updates the study's own report: leave out --images and --output")
    if (parsed.mlflow is None) != (parsed.study is None):
        parser.error("--mlflow URI and --study NAME go together: give both or neither")
    if parsed.mlflow is None and parsed.run_dir is None:
        parser.error("name a run directory, such as runs/quick, or --mlflow URI --study NAME")
    return parsed


def _check_folder(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Check that a report replaces none of another study's, nor the study's own by another one."""
    check_not_recorded(parsed.output, "--output")
    folder = RunDirectory(parsed.output)
    another = parsed.images is not None or parsed.last_points or parsed.run_dir is None
    if folder.study.exists() and (another or folder.root.resolve() != parsed.run_dir.resolve()):
        parser.error(f"--output {parsed.output} has a study with a report of its own; name another folder")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="analysis/report.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "run_dir",
        type=Path,
        nargs="?",
        help="--output of study/sweep.py; with --mlflow, the folder to fetch the study to (default: reports/NAME)",
    )
    parser.add_argument("--mlflow", metavar="URI", help="read the study from this tracking server or database")
    parser.add_argument("--study", metavar="NAME", help="the study's name there")
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=60,
        metavar="SECONDS",
        help="write the report every SECONDS until the study has ended (default: 60)",
    )
    parser.add_argument(
        "--artifacts", type=Path, metavar="DIR", help="the study's artifacts (default: artifacts/ beside RUN_DIR)"
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="evaluate on the validation images in this folder alone"
    )
    parser.add_argument(
        "--last-points", action="store_true", help="evaluate trials on their last points alone, not earlier checkpoints"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the report's files (default: RUN_DIR)")
    parser.add_argument(
        "--equal",
        choices=[unit.replace("_", "-") for unit in COST_TEXT],
        default="device-seconds",
        help="compare groups at equal device-seconds with upstream stages (default), own-seconds without them, "
        "pixels-seen, or trials",
    )
    add_renamed_options(parser, {"--only": "--images", "--out": "--output"})
    return parser


def _seconds(text: str) -> int:
    """Parse an interval of --watch."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of seconds, at least 1, but got {text!r}")
    return int(text)


def _selected(results: Results, options: Options) -> Results:
    if options.images is not None:
        results = only_images_of(results, options.images)
    return only_last_points(results) if options.last_points else results


def _check_no_loss(run_dir: Path, results: Results) -> None:
    """Check that the study's own report is not replaced by a poorer one; RunDirectoryError if it would be."""
    path = run_dir / POINTS.file
    try:
        before = parquet.read_metadata(path).num_rows
    except (OSError, ArrowInvalid):  # there is none, or none that can be read
        return
    if before > len(results.points):
        cause = f" ({'; '.join(results.faults)})" if results.faults else ""
        raise RunDirectoryError(
            f"{path} has {before} points, but the journal only {len(results.points)}{cause}; nothing was overwritten. "
            "Restore the journal from a copy or continue the study with --resume; to report on what is left, add "
            f"--output DIR, or remove {path.name}"
        )


def _page_figure(saved: SavedFigure) -> PageFigure:
    return PageFigure(uri=figure_uri(saved.png, saved.svg), text=saved.text, width=REM_PER_INCH * saved.width)


def command() -> None:
    """Run as `aesop-report`."""
    run(lambda arguments, _console: main(arguments))


if __name__ == "__main__":
    command()
