"""Outputs of cells: escaped HTML, and text for a terminal."""

import re

import pytest
from matplotlib.figure import Figure

from analysis.figures.crops import Crop, CropRow
from analysis.notebooks.html import crop_sheet, picture, sentences, stack, table
from analysis.page.tables import TextTable

HOSTILE = "<script>alert('1')</script>"


def sides(*cells: str) -> str:
    shown = table(TextTable(caption="c", columns=("a", "b"), rows=tuple(("x", cell) for cell in cells)))
    (found,) = re.findall(r"th\.col1[^{]*\{\s*text-align: (\w+)", shown.html)
    return str(found)


@pytest.mark.parametrize(
    "cells",
    [("1", "2.5"), ("1 min 20 s", "0.05 s"), ("-3.5 to +8",), ("> 99.9%", "\N{EN DASH}"), ("29.9 (29.1 to 30)",)],
)
def test_numbers_stand_to_the_right(cells: tuple[str, ...]) -> None:
    assert sides(*cells) == "right"


@pytest.mark.parametrize("cells", [("aesop",), ("1", "aesop"), ("50% in images, rest trial 0 at 80",)])
def test_words_stand_to_the_left(cells: tuple[str, ...]) -> None:
    assert sides(*cells) == "left"


def test_nothing_hostile_gets_through() -> None:
    figure = Figure(figsize=(1, 1))
    row = CropRow(image=HOSTILE, crops=(Crop(title=HOSTILE, scores=HOSTILE, sample="", uri=None),))
    parts = (
        sentences([HOSTILE]),
        sentences([HOSTILE, HOSTILE]),
        table(TextTable(caption=HOSTILE, columns=(HOSTILE, HOSTILE), rows=((HOSTILE, HOSTILE),))),
        picture(figure, HOSTILE),
        crop_sheet([row], ""),
    )
    shown = stack(*parts)
    assert "<script" not in shown.html
    assert shown.html.count("&lt;script&gt;") >= 9
    assert shown._repr_html_() == f'<div class="tex2jax_ignore mathjax_ignore">{shown.html}</div>'


def test_without_rows_a_sentence() -> None:
    empty = TextTable(caption="The front", columns=("a",), rows=())
    assert table(empty).text == "The front: no rows."
    assert table(empty, "None.").html == "<p>None.</p>"
    assert crop_sheet([], "No crops.").html == "<p>No crops.</p>"
    assert sentences([], "None.").text == "None."


def test_the_words_of_a_table_are_its_rows() -> None:
    content = TextTable(caption="By patch", columns=("patch", "patch"), rows=(("32", "7"), ("64", "8")))
    assert [line.split() for line in repr(table(content)).splitlines()] == [
        ["By", "patch"],
        ["patch", "patch"],
        ["32", "7"],
        ["64", "8"],
    ]
