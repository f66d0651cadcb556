"""A study's tables as files: Parquet for programs, CSV for spreadsheets, LaTeX for papers."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.formatting import BudgetUnit
from analysis.page.tables import TextTable, comparison_table, front_table
from analysis.statistics.dominance import Comparison
from analysis.statistics.fronts import front_of
from analysis.statistics.tables import Results, metric_columns, sampled_paths
from study.files import write_atomically
from study.formatting import latex_text, spreadsheet_text
from study.record.tables import ARTIFACTS, IMAGES, POINTS, TRIALS, write_table


def export_tables(
    output: Path, results: Results, comparisons: Sequence[Comparison], budget_unit: BudgetUnit = "device_seconds"
) -> tuple[Path, ...]:
    """Write every table; each file replaces its predecessor as a whole.

    `front` has the points on the front in full precision with what was sampled for them, `comparison` each pair of
    groups (`dominance.Comparison`); the Parquet files are those of `study/record/tables.py`. LaTeX needs the package
    booktabs.

    Returns:
        The files.
    """
    tables = (
        (POINTS, results.points),
        (IMAGES, results.images),
        (TRIALS, results.trials),
        (ARTIFACTS, results.artifacts),
    )
    files = [write_table(output, schema, table) for schema, table in tables]
    texts = {
        "points.csv": csv_text(results.points),
        "front.csv": csv_text(front_rows(results)),
        "front.tex": latex(front_table(results, results.groups)),
        "comparison.csv": csv_text(comparison_rows(comparisons, budget_unit)),
        "comparison.tex": latex(comparison_table(comparisons)),
    }
    for name, text in texts.items():
        write_atomically(output / name, text.encode())
    return (*files, *(output / name for name in texts))


def front_rows(results: Results) -> pd.DataFrame:
    """Return the front's points in full precision, with what was sampled for them."""
    sampled = [f"config.{name}" for name in sampled_paths(results)]
    lead = ["trial", "kind", "name", "iteration"]
    columns = [*lead, *metric_columns(results), "iterations", "device_seconds", *sampled]
    return front_of(results.points, results.goals)[columns]


def comparison_rows(comparisons: Sequence[Comparison], budget_unit: BudgetUnit = "device_seconds") -> pd.DataFrame:
    """Make a row per pair of groups, in full precision."""
    names = ("one", "other", f"budget_{budget_unit}", "hypervolume_one", "hypervolume_other", "difference")
    columns = [*names, "low", "high", "probability_larger", "dominates", "dominated"]
    rows = [
        (
            *(each.one, each.other, each.budget, *each.volumes),
            *(each.difference.estimate, each.difference.low, each.difference.high),
            *each.likelihoods,
        )
        for each in comparisons
    ]
    return pd.DataFrame(rows, columns=columns)


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV whose texts no spreadsheet runs as formulas."""
    texts = table.select_dtypes(exclude=["number", "bool"]).astype(object).map(spreadsheet_text)
    text: str = table.assign(**texts).rename(columns=spreadsheet_text).to_csv(index=False)
    return text


def latex(table: TextTable) -> str:
    """Return a table in LaTeX, with booktabs rules and escaped cells."""
    frame = pd.DataFrame([list(row) for row in table.rows], columns=list(table.columns), dtype="object")
    text: str = (
        frame.style.hide(axis="index")
        .format(latex_text)
        .format_index(latex_text, axis=1)
        .to_latex(hrules=True, column_format="l" + "r" * (len(table.columns) - 1))
    )
    return text
