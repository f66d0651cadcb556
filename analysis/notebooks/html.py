"""Results as a notebook shows them: HTML for the browser, the same in words for a terminal."""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.crops import CropRow, png_uri
from analysis.figures.plots import SETTINGS
from analysis.formatting import NOTHING
from analysis.page.page import TextTable

_TABLE_STYLE = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0 0 1em"},
    {"selector": "caption", "props": "text-align: left; font-weight: bold; padding: 0.4em 0; white-space: nowrap"},
    {"selector": "th, td", "props": "padding: 0.25em 0.6em"},
    {"selector": "th", "props": "min-width: 4.2em; max-width: 8em; white-space: normal; vertical-align: bottom"},
    {"selector": "td", "props": "white-space: nowrap"},
    {"selector": "thead th", "props": "border-bottom: 1px solid #888888"},
]
_NUMBER = re.compile(rf"[-+<>]? ?\d\S*( [A-Za-z]{{1,3}}| to \S+| \(.*\)| \d\S*)*|{NOTHING}")
"""A cell that stands to the right: a number, maybe with a unit, a span of time, or a range."""


@dataclass(frozen=True)
class Shown:
    """What a notebook's cell ends with."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def sentences(lines: Iterable[str], otherwise: str = "There is nothing to say yet.") -> Shown:
    """A list of sentences, or one that says why there are none."""
    told = list(lines)
    if len(told) < 2:
        (line,) = told or [otherwise]
        return Shown(f"<p>{escape(line)}</p>", line)
    items = "".join(f"<li>{escape(line)}</li>" for line in told)
    return Shown(f"<ul>{items}</ul>", "\n".join(told))


def table(content: TextTable, otherwise: str = "") -> Shown:
    """A table; one without rows is a sentence."""
    if not content.rows:
        return sentences([otherwise or f"{content.caption}: there is no row to show."])
    frame = pd.DataFrame([[escape(cell) for cell in row] for row in content.rows], dtype="object")
    styler = frame.style.hide(axis="index").relabel_index([escape(head) for head in content.columns], axis=1)
    html = styler.set_caption(escape(content.caption)).set_table_styles([*_TABLE_STYLE, *_sides(content)]).to_html()
    plain = pd.DataFrame(content.rows, columns=list(content.columns), dtype="object").to_string(index=False)
    return Shown(f'<div style="overflow-x: auto">{html}</div>', f"{content.caption}\n{plain}")


def _sides(content: TextTable) -> list[dict[str, str]]:
    """Numbers to the right; words, and what names a row, to the left."""
    columns = list(zip(*content.rows, strict=True))
    right = [index > 0 and all(_NUMBER.fullmatch(cell) for cell in cells) for index, cells in enumerate(columns)]
    return [
        {"selector": f"th.col{index}, td.col{index}", "props": f"text-align: {'right' if is_right else 'left'}"}
        for index, is_right in enumerate(right)
    ]


def picture(figure: Figure, text: str, *, dpi: int = 160) -> Shown:
    """A figure with what it shows in words, as large as it is drawn, or as there is room for."""
    file = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(file, format="png", dpi=dpi)
    width = float(figure.get_figwidth())
    caption = f"<figcaption>{escape(text)}</figcaption>" if text else ""
    image = (
        f'<img src="{png_uri(file.getvalue())}" alt="{escape(text)}" '
        f'style="width: {width:.2f}in; max-width: 100%; height: auto; background: white">'
    )
    return Shown(f'<figure style="margin: 0 0 1em">{image}{caption}</figure>', f"[figure] {text}")


def crop_sheet(rows: Sequence[CropRow], otherwise: str) -> Shown:
    """Crops of held-out images: an image a row, a method a column."""
    if not rows:
        return sentences([otherwise])
    body = "".join(
        f"<tr><th style='text-align: left'>{escape(row.image)}</th>"
        + "".join(_crop_cell(crop.title, crop.scores, crop.uri) for crop in row.crops)
        + "</tr>"
        for row in rows
    )
    text = "\n".join(f"[crops] {row.image}: {', '.join(crop.title for crop in row.crops)}" for row in rows)
    return Shown(f'<div style="overflow-x: auto"><table>{body}</table></div>', text)


def _crop_cell(title: str, scores: str, uri: str | None) -> str:
    image = (
        f'<img src="{uri}" alt="{escape(title)}" style="width: 112px; max-width: none; image-rendering: pixelated">'
        if uri
        else "no crop"
    )
    words = f"{escape(title)}<br>{escape(scores)}"
    return f"<td style='text-align: left; vertical-align: top; width: 118px'>{image}<br><small>{words}</small></td>"


def stack(*parts: Shown) -> Shown:
    """One below the other."""
    return Shown("".join(part.html for part in parts), "\n\n".join(part.text for part in parts))
