"""A study's tables as files: Parquet for programs, CSV for spreadsheets, LaTeX for papers."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from analysis.formatting import Currency
from analysis.page.page import TextTable, comparison_table, front_table
from analysis.statistics.dominance import Comparison
from analysis.statistics.fronts import front_of
from analysis.statistics.image_values import images_table
from analysis.statistics.tables import Results, metric_columns, sampled_paths


def export_tables(
    out: Path, results: Results, comparisons: Sequence[Comparison], budget_unit: Currency = "device_seconds"
) -> tuple[Path, ...]:
    """Write every table; each file replaces its predecessor as a whole.

    `points` has a row per point, `images` one per point and held-out image (`point` is the row in `points`), `front`
    the points on the front in full precision with what was sampled for them; `comparison` each pair of groups
    (`dominance.Comparison`). LaTeX needs the package booktabs.

    Returns:
        The files.
    """
    parquet = {
        "points.parquet": results.points,
        "images.parquet": images_table(results.points, results.journal),
        "trials.parquet": results.trials,
        "artifacts.parquet": results.artifacts,
    }
    for name, table in parquet.items():
        replace_file(out / name, lambda path, table=table: table.to_parquet(path, index=False))  # type: ignore[misc]
    front, compared = front_rows(results), comparison_rows(comparisons, budget_unit)
    texts = {
        "points.csv": results.points.to_csv(index=False),
        "front.csv": front.to_csv(index=False),
        "front.tex": latex(front_table(results, results.facts.groups)),
        "comparison.csv": compared.to_csv(index=False),
        "comparison.tex": latex(comparison_table(comparisons)),
    }
    for name, text in texts.items():
        replace_file(out / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return tuple(out / name for name in (*parquet, *texts))


def front_rows(results: Results) -> pd.DataFrame:
    """The front's points in full precision, with what was sampled for them."""
    sampled = [f"config.{name}" for name in sampled_paths(results)]
    lead = ["trial", "kind", "name", "iteration"]
    columns = [*lead, *metric_columns(results), "iterations", "device_seconds", *sampled]
    return front_of(results.points, results.facts)[columns]


def comparison_rows(comparisons: Sequence[Comparison], budget_unit: Currency = "device_seconds") -> pd.DataFrame:
    """A row per pair of groups, in full precision."""
    names = ("one", "other", f"budget_{budget_unit}", "hypervolume_one", "hypervolume_other", "difference")
    columns = [*names, "low", "high", "probability_larger", "dominates", "dominated"]
    rows = [
        (
            *(each.one, each.other, each.budget, *each.volumes),
            *(each.difference.estimate, each.difference.low, each.difference.high, each.difference.positive),
            *(each.dominates, each.dominated),
        )
        for each in comparisons
    ]
    return pd.DataFrame(rows, columns=columns)


def latex(table: TextTable) -> str:
    """A table in LaTeX, with booktabs rules; what a name holds is escaped."""
    frame = pd.DataFrame([list(row) for row in table.rows], columns=list(table.columns), dtype="object")
    text: str = (
        frame.style.hide(axis="index")
        .format(escape="latex")
        .format_index(escape="latex", axis=1)
        .to_latex(hrules=True, column_format="l" + "r" * (len(table.columns) - 1))
    )
    return text


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and then move it there, so that no reader meets half a file."""
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    os.replace(partial, path)
