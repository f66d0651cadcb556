"""Write a study's tables, figures and page into its run directory.

    python analysis/report.py RUN_DIR [--watch [SECONDS]]
    python analysis/report.py RUN_DIR --only TEST_SET --out DIR
    python analysis/report.py --mlflow URI --study NAME [DIR]

reads study.json and journal.jsonl and writes report.html, its figures for papers (front.png, front.svg and those in
figures/), and its tables (points, images, trials and artifacts as Parquet, points, front and comparison as CSV, front
and comparison as LaTeX). A study that is still running can be reported on too; with --watch that is done again and
again until the study has ended, and the page loads itself anew meanwhile. With --only, the study is evaluated on those of
its held-out images that are in the folder TEST_SET, and the report goes to a folder of its own.
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

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.figures.crops import figure_uri
from analysis.figures.saved import SavedFigure, save_figures
from analysis.figures.terminal import draw_text
from analysis.formatting import COST_TEXT, Currency, count_text, metric_text
from analysis.journal import RunDirectoryError
from analysis.page.exports import export_tables, replace_file
from analysis.page.page import PageFigure, TextTable, front_table, render_page
from analysis.statistics.compute import Statistics, compute_statistics
from analysis.statistics.dominance import Comparison
from analysis.statistics.findings import findings
from analysis.statistics.fronts import front_hypervolume, front_of
from analysis.statistics.image_subset import only_images_of
from analysis.statistics.last_points import only_last_points
from analysis.statistics.tables import Results, load_results
from study.tracking.download import MlflowSourceError, fetch_study

REM_PER_INCH = 6.2
"""How large a figure stands in the page, so that its letters are as large as the text's."""


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
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    page: Path

    @property
    def files(self) -> list[Path]:
        """All that was written."""
        return [self.page, *self.figures, *self.tables]


def write_report(
    run_dir: Path,
    *,
    artifacts: Path | None = None,
    reload_seconds: int | None = None,
    only: Path | None = None,
    out: Path | None = None,
    last_points: bool = False,
    budget_unit: Currency = "device_seconds",
) -> Report:
    """Write every file of the report; each replaces its predecessor as a whole.

    Args:
        run_dir: what study/sweep.py wrote; it needs no trial that has ended.
        artifacts: where the study's auto-encoders are, for the loss maps; None for the folder beside run_dir.
        reload_seconds: how often the page shall load itself anew as long as the study runs; None for never.
        only: a folder; the study is evaluated on the held-out images that have a file in it. None for all.
        out: where the files go; None for the run directory.
        last_points: whether trials are evaluated on their last points alone.
        budget_unit: what groups are compared at equal amounts of.

    Raises:
        RunDirectoryError: run_dir holds no usable study.json, or `only` none of its images.
    """
    results = load_results(run_dir)
    if only is not None:
        results = only_images_of(results, only)
    if last_points:
        results = only_last_points(results)
    out = out or run_dir
    out.mkdir(parents=True, exist_ok=True)
    facts, statistics = results.facts, compute_statistics(results, budget_unit=budget_unit)
    tables = export_tables(out, results, _main_comparisons(results, statistics), budget_unit)
    figures = save_figures(run_dir, out, results, statistics, artifacts or run_dir.parent / "artifacts")
    is_running = results.journal.state == "RUNNING"
    page = render_page(
        run_dir,
        results,
        statistics,
        figures={name: _page_figure(saved) for name, saved in figures.figures.items()},
        problems=figures.problems,
        reload_seconds=reload_seconds if is_running else None,
    )
    target = out / "report.html"
    replace_file(target, lambda path: path.write_text(page, encoding="utf-8"))
    return Report(
        front=front_table(results, facts.groups),
        plot=draw_text(results.points, facts),
        hypervolume=front_hypervolume(front_of(results.points, facts), facts),
        findings=findings(results, statistics),
        num_trials=len(results.trials),
        num_points=len(results.points),
        is_running=is_running,
        tables=tables,
        figures=figures.files,
        page=target,
    )


def watch(source: Callable[[], Path], seconds: int, console: Console, artifacts: Path | None = None) -> Report:
    """Write the report every so many seconds until the study has ended, or Ctrl-C; returns the last one.

    Args:
        source: brings the run directory up to date, and names it.
        seconds: from one report to the next.
        console: for what was written.
        artifacts: as in `write_report`.

    Raises:
        RunDirectoryError: it holds no usable study.json.
        MlflowSourceError: the study cannot be fetched.
    """
    run_dir = source()
    try:
        while (report := write_report(run_dir, artifacts=artifacts, reload_seconds=seconds)).is_running:
            what = f"{count_text(report.num_trials, 'trial')}, {count_text(report.num_points, 'point')}"
            console.print(Text(f"{time.strftime('%H:%M:%S')} {what}: {report.page}"), soft_wrap=True)
            time.sleep(seconds)
            source()
    except KeyboardInterrupt:
        # Nobody renders it any more, so the page shall not wait for it.
        return write_report(run_dir, artifacts=artifacts)
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
    """Report on the study that the command line names; 2 where there is none."""
    options = _parse(arguments)
    console = Console()

    def source() -> Path:
        """Where the study lies, after it was fetched if it is in MLflow."""
        if options.mlflow is None:
            return Path(options.run_dir)
        return fetch_study(options.mlflow, options.study, options.run_dir or Path("reports") / options.study)

    try:
        if options.watch:
            report = watch(source, options.watch, console, options.artifacts)
        else:
            report = write_report(
                source(),
                artifacts=options.artifacts,
                only=options.only,
                last_points=options.last_points,
                out=options.out,
                budget_unit=options.equal.replace("-", "_"),
            )
    except (RunDirectoryError, MlflowSourceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_report(report, console)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "run_dir",
        type=Path,
        nargs="?",
        help="what study/sweep.py wrote with --output; with --mlflow, where to put the study (reports/NAME)",
    )
    parser.add_argument("--mlflow", metavar="URI", help="read the study from this tracking server or database")
    parser.add_argument("--study", metavar="NAME", help="which one there")
    parser.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=60,
        metavar="SECONDS",
        help="do it anew every so many seconds until the study has ended (60 if not said)",
    )
    parser.add_argument(
        "--artifacts", type=Path, metavar="DIR", help="the study's (default: artifacts/ beside RUN_DIR)"
    )
    parser.add_argument(
        "--only", type=Path, metavar="TEST_SET", help="evaluate on the held-out images that are in this folder alone"
    )
    parser.add_argument(
        "--last-points", action="store_true", help="judge trials by their last points alone, not by earlier checkpoints"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the files go (RUN_DIR)")
    parser.add_argument(
        "--equal",
        choices=[budget_unit.replace("_", "-") for budget_unit in COST_TEXT],
        default="device-seconds",
        help="what groups are compared at equal amounts of: device-seconds with upstream stages (default), own-seconds "
        "without them, pixels-seen, or trials",
    )
    options = parser.parse_args(arguments)
    if (options.only is not None or options.last_points) and options.out is None:
        parser.error(
            "--only and --last-points make another report than the study's own: say with --out DIR where it goes"
        )
    if options.watch and (options.only is not None or options.out is not None):
        parser.error("--watch keeps the study's own report up to date: leave out --only and --out")
    if (options.mlflow is None) != (options.study is None):
        parser.error("--mlflow URI and --study NAME go together: where, and which one")
    if options.mlflow is None and options.run_dir is None:
        parser.error("name a run directory, such as runs/quick, or --mlflow URI --study NAME")
    return options


def _seconds(text: str) -> int:
    """Read an interval of --watch."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of seconds, at least 1, but got {text!r}")
    return int(text)


def _page_figure(saved: SavedFigure) -> PageFigure:
    return PageFigure(uri=figure_uri(saved.png, saved.svg), text=saved.text, width=REM_PER_INCH * saved.width)


def _main_comparisons(results: Results, statistics: Statistics) -> tuple[Comparison, ...]:
    """The pairs of the main question's groups."""
    return statistics.comparisons[results.facts.groups[0]] if results.facts.groups else ()


if __name__ == "__main__":
    sys.exit(main())
