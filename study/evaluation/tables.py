"""The comparison table: rows by metric and system, sets as columns; written as text, LaTeX, CSV, JSON or Parquet."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from rich.table import Table as TerminalTable
from rich.text import Text

from study.evaluation.scores import Score
from study.files import write_atomically
from study.formatting import latex_text, markdown_text, spreadsheet_text
from study.metrics import METRICS


@dataclass(frozen=True)
class Table:
    """Means over the images of each set.

    Attributes:
        models, sets, metrics: names, in their order.
        means: by model, set and metric; without metrics that do not apply to a set.
        counts: images of each set.
        provenance: files, versions and conventions that determine the values.
    """

    models: tuple[str, ...]
    sets: tuple[str, ...]
    metrics: tuple[str, ...]
    means: Mapping[tuple[str, str, str], float]
    counts: Mapping[str, int]
    provenance: Mapping[str, Any]

    def text(self, model: str, name: str, metric: str) -> str:
        """Format a cell; a dash for a missing value."""
        value = self.means.get((model, name, metric))
        return "-" if value is None else f"{value:.{METRICS[metric].decimals}f}"

    def cells(self, model: str, metric: str, bold: str) -> list[str]:
        """Format a row's cells, one per set; `bold` formats the best."""
        texts = {name: self.text(model, name, metric) for name in self.sets}
        return [bold.format(text) if self.is_best(model, name, metric) else text for name, text in texts.items()]

    def is_best(self, model: str, name: str, metric: str) -> bool:
        """Return whether no other system's printed value is better; False without other systems."""
        mine = self.means.get((model, name, metric))
        others = [self.means.get((other, name, metric)) for other in self.models if other != model]
        if mine is None or not others or is_informational(metric):
            return False
        sign = 1 if METRICS[metric].direction == "maximize" else -1
        digits = METRICS[metric].decimals
        return all(other is None or sign * round(mine, digits) >= sign * round(other, digits) for other in others)


def is_informational(metric: str) -> bool:
    """Return whether a metric has no better direction."""
    return metric == "null_energy"


def make_table(rows: Sequence[Score], metrics: Sequence[str], provenance: Mapping[str, Any]) -> Table:
    """Average per-image values over each set."""
    cells: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for metric, value in row.values.items():
            cells.setdefault((row.model, row.set, metric), []).append(value)
    models, sets = (tuple(dict.fromkeys(getattr(row, field) for row in rows)) for field in ("model", "set"))
    counts = {name: len({row.image for row in rows if row.set == name}) for name in sets}
    means = {cell: float(np.mean(values)) for cell, values in cells.items()}
    return Table(models, sets, tuple(metrics), means, counts, provenance)


def to_terminal(table: Table) -> TerminalTable:
    """Format for the terminal, with the best of each column in bold."""
    shown = TerminalTable("metric", "model", box=None, header_style="bold", pad_edge=False)
    for name in table.sets:
        shown.add_column(Text(f"{name} ({table.counts[name]})"), justify="right", no_wrap=True)
    for metric in table.metrics:
        for number, model in enumerate(table.models):
            cells = map(Text.from_markup, table.cells(model, metric, "[bold]{}[/]"))
            shown.add_row(Text(_headed(metric) if number == 0 else ""), Text(model), *cells)
    return shown


def to_markdown(table: Table) -> str:
    """Format as Markdown, with the best of each column in bold and the provenance below."""
    head = ["metric", "model", *(f"{markdown_text(name)} ({table.counts[name]})" for name in table.sets)]
    lines = [_row(head), _row(["---", "---", *("---:" for _ in table.sets)])]
    for metric in table.metrics:
        for number, model in enumerate(table.models):
            cells = table.cells(model, metric, "**{}**")
            lines.append(_row([_headed(metric) if number == 0 else "", markdown_text(model), *cells]))
    lines += ["", *(f"- {metric}: {METRICS[metric].text} ({METRICS[metric].source})" for metric in table.metrics)]
    lines += [f"- {name}: {markdown_text(_plain(value))}" for name, value in table.provenance.items()]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    """Format as a LaTeX tabular with booktabs, with the best of each column in bold."""
    lines = [
        rf"\begin{{tabular}}{{ll{'r' * len(table.sets)}}}",
        r"\toprule",
        " & ".join(["Metric", "Model", *(latex_text(name) for name in table.sets)]) + r" \\",
    ]
    for metric in table.metrics:
        lines.append(r"\midrule")
        for number, model in enumerate(table.models):
            cells = table.cells(model, metric, r"\textbf{{{}}}")
            arrow = r"$\uparrow$" if METRICS[metric].direction == "maximize" else r"$\downarrow$"
            first = f"{latex_text(METRICS[metric].label)} {arrow}" if number == 0 else ""
            lines.append(" & ".join([first, latex_text(model), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def to_csv(table: Table) -> str:
    """Format as CSV: a row per metric and model, a column per set, all digits; empty for a missing value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["metric", "model", *map(spreadsheet_text, table.sets)])
    for metric in table.metrics:
        for model in table.models:
            values = [table.means.get((model, name, metric)) for name in table.sets]
            shown = ("" if value is None else repr(value) for value in values)
            writer.writerow([metric, spreadsheet_text(model), *shown])
    return text.getvalue()


def to_json(table: Table) -> str:
    """Format as JSON: means by metric, model and set, with the provenance."""
    means = {
        metric: {
            model: {
                name: table.means[model, name, metric] for name in table.sets if (model, name, metric) in table.means
            }
            for model in table.models
        }
        for metric in table.metrics
    }
    return (
        json.dumps({"means": means, "images": dict(table.counts), "provenance": dict(table.provenance)}, indent=1)
        + "\n"
    )


def to_parquet(table: Table) -> bytes:
    """Format as Parquet, like the CSV, with the provenance as JSON in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = [(metric, model) for metric in table.metrics for model in table.models]
    columns: dict[str, list[Any]] = {
        "metric": [metric for metric, _ in pairs],
        "model": [model for _, model in pairs],
    }
    for name in table.sets:
        columns[name] = [table.means.get((model, name, metric)) for metric, model in pairs]
    whole = pa.table(columns).replace_schema_metadata({"provenance": json.dumps(dict(table.provenance))})
    sink = io.BytesIO()
    pq.write_table(whole, sink)
    return sink.getvalue()


WRITERS: Mapping[str, Callable[[Table], str | bytes]] = MappingProxyType(
    {
        ".md": to_markdown,
        ".tex": to_latex,
        ".csv": to_csv,
        ".json": to_json,
        ".parquet": to_parquet,
    }
)


def write_table(table: Table, path: Path) -> None:
    """Write a table in the format of the file's suffix; StorageError if the file system refuses."""
    content = WRITERS[path.suffix](table)
    write_atomically(path, content.encode() if isinstance(content, str) else content)


def write_images(rows: Sequence[Score], metrics: Sequence[str], path: Path) -> None:
    """Write a CSV with a row per model, set and image, and a column per metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "set", "image", *metrics])
    for row in rows:
        values = [row.values.get(metric) for metric in metrics]
        names = map(spreadsheet_text, (row.model, row.set, row.image))
        writer.writerow([*names, *("" if value is None else repr(value) for value in values)])
    write_atomically(path, text.getvalue().encode())


def _headed(metric: str) -> str:
    info = METRICS[metric]
    arrow = "" if is_informational(metric) else " ↑" if info.direction == "maximize" else " ↓"
    return f"{info.label}{arrow}" + (f" [{info.unit}]" if info.unit else "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
