"""Write a study's tables, figure and page into its run directory.

    python analysis/report.py RUN_DIR

reads study.json and journal.jsonl and writes points.parquet, trials.parquet, artifacts.parquet, front.csv, front.png,
front.svg and report.html. A study that is still running can be reported on too.
"""

import argparse
import os
import sys
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

from analysis.figures import draw_front, save_figure
from analysis.findings import findings
from analysis.fronts import front_hypervolume, front_of
from analysis.journal import RunDirectoryError
from analysis.pages import TextTable, front_table, metric_columns, render_page, sampled_paths
from analysis.tables import Results, load_results
from analysis.text_figure import draw_text
from analysis.wording import metric_text

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
    points: Path
    trials: Path
    front_csv: Path
    figure: Path
    page: Path
    files: list[Path]
    """All that was written."""


def write_report(run_dir: Path) -> Report:
    """Write every file of the report; each replaces its predecessor as a whole.

    Args:
        run_dir: what study/sweep.py wrote; it needs no trial that has ended.

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
    page = render_page(run_dir, results, figure=paths["front.svg"].read_bytes())
    _replace(paths["report.html"], lambda path: path.write_text(page, encoding="utf-8"))
    return Report(
        front=front_table(results, facts.groups),
        plot=draw_text(results.points, facts),
        hypervolume=front_hypervolume(front_of(results.points, facts), facts),
        findings=findings(results),
        num_trials=len(results.trials),
        num_points=len(results.points),
        points=paths["points.parquet"],
        trials=paths["trials.parquet"],
        front_csv=paths["front.csv"],
        figure=paths["front.png"],
        page=paths["report.html"],
        files=list(paths.values()),
    )


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
    try:
        report = write_report(parser.parse_args(arguments).run_dir)
    except RunDirectoryError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_report(report, Console())
    return 0


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
