"""Outputs of notebook cells: HTML for the browser, the same as text for a terminal."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.crops import CropRow, png_uri
from analysis.figures.plots import figure_bytes
from analysis.formatting import NOTHING
from analysis.page.tables import TextTable

_TABLE_STYLE = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0 0 1em"},
    {"selector": "caption", "props": "text-align: left; font-weight: bold; padding: 0.4em 0; white-space: nowrap"},
    {"selector": "th, td", "props": "padding: 0.25em 0.6em"},
    {"selector": "th", "props": "min-width: 4.2em; max-width: 8em; white-space: normal; vertical-align: bottom"},
    {"selector": "td", "props": "white-space: nowrap"},
    {"selector": "thead th", "props": "border-bottom: 1px solid #888888"},
]
_NUMBER = re.compile(rf"[-+<>]? ?\d\S*( [A-Za-z]{{1,3}}| to \S+| \(.*\)| \d\S*)*|{NOTHING}")
"""A right-aligned cell: a number, maybe with a unit, a time span, or a range."""


@dataclass(frozen=True)
class CellOutput:
    """The output of a notebook's cell."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        # Names hold `$`: these classes keep the notebook's MathJax from setting what is between two as a formula.
        return f'<div class="tex2jax_ignore mathjax_ignore">{self.html}</div>'

    def __repr__(self) -> str:
        return self.text


def sentences(lines: Iterable[str], otherwise: str = "There are no results yet.") -> CellOutput:
    """Return sentences as a list; `otherwise` if there are none."""
    lines = list(lines)
    if len(lines) < 2:
        (line,) = lines or [otherwise]
        return CellOutput(f"<p>{escape(line)}</p>", line)
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return CellOutput(f"<ul>{items}</ul>", "\n".join(lines))


def table(content: TextTable, otherwise: str = "") -> CellOutput:
    """Return a table; a sentence if it has no rows."""
    if not content.rows:
        return sentences([otherwise or f"{content.caption}: no rows."])
    frame = pd.DataFrame([[escape(cell) for cell in row] for row in content.rows], dtype="object")
    styler = frame.style.hide(axis="index").relabel_index([escape(head) for head in content.columns], axis=1)
    html = styler.set_caption(escape(content.caption)).set_table_styles([*_TABLE_STYLE, *_sides(content)]).to_html()
    plain = pd.DataFrame(content.rows, columns=list(content.columns), dtype="object").to_string(index=False)
    return CellOutput(f'<div style="overflow-x: auto">{html}</div>', f"{content.caption}\n{plain}")


def _sides(content: TextTable) -> list[dict[str, str]]:
    """Return the alignment of each column: numbers to the right, words and row names to the left."""
    columns = list(zip(*content.rows, strict=True))
    right = [index > 0 and all(_NUMBER.fullmatch(cell) for cell in cells) for index, cells in enumerate(columns)]
    return [
        {"selector": f"th.col{index}, td.col{index}", "props": f"text-align: {'right' if is_right else 'left'}"}
        for index, is_right in enumerate(right)
    ]


def picture(figure: Figure, text: str, *, dpi: int = 160) -> CellOutput:
    """Return a figure with its caption, at its own size or that of the page if smaller."""
    width = float(figure.get_figwidth())
    caption = f"<figcaption>{escape(text)}</figcaption>" if text else ""
    image = (
        f'<img src="{png_uri(figure_bytes(figure, "png", dpi))}" alt="{escape(text)}" '
        f'style="width: {width:.2f}in; max-width: 100%; height: auto; background: white">'
    )
    return CellOutput(f'<figure style="margin: 0 0 1em">{image}{caption}</figure>', f"[figure] {text}")


def crop_sheet(rows: Sequence[CropRow], otherwise: str) -> CellOutput:
    """Return crops of validation images: a row per image, a column per point."""
    if not rows:
        return sentences([otherwise])
    body = "".join(
        f"<tr><th style='text-align: left'>{escape(row.image)}</th>"
        + "".join(_crop_cell(crop.title, crop.scores, crop.uri) for crop in row.crops)
        + "</tr>"
        for row in rows
    )
    text = "\n".join(f"[crops] {row.image}: {', '.join(crop.title for crop in row.crops)}" for row in rows)
    return CellOutput(f'<div style="overflow-x: auto"><table>{body}</table></div>', text)


def _crop_cell(title: str, scores: str, uri: str | None) -> str:
    image = (
        f'<img src="{uri}" alt="{escape(title)}" style="width: 112px; max-width: none; image-rendering: pixelated">'
        if uri
        else "no crop"
    )
    words = f"{escape(title)}<br>{escape(scores)}"
    return f"<td style='text-align: left; vertical-align: top; width: 118px'>{image}<br><small>{words}</small></td>"


def stack(*parts: CellOutput) -> CellOutput:
    """Return outputs one below the other."""
    return CellOutput("".join(part.html for part in parts), "\n\n".join(part.text for part in parts))
