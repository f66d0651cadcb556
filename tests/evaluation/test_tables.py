"""Tables: plain means, and the same numbers in every form."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from study.evaluation.scores import Score
from study.evaluation.tables import (
    Table,
    make_table,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    to_parquet,
    to_terminal,
    write_images,
    write_table,
)


@pytest.fixture
def rows() -> list[Score]:
    return [
        Score("bicubic", "Set5", "baby", {"psnr_y": 30.0, "lpips_alex": 0.4}),
        Score("bicubic", "Set5", "bird", {"psnr_y": 28.0, "lpips_alex": 0.3}),
        Score("my_model", "Set5", "baby", {"psnr_y": 31.0, "lpips_alex": 0.2}),
        Score("my_model", "Set5", "bird", {"psnr_y": 26.0, "lpips_alex": 0.1}),
        Score("bicubic", "Set14", "zebra", {"psnr_y": 25.0}),
        Score("my_model", "Set14", "zebra", {"psnr_y": 25.0004}),
    ]


@pytest.fixture
def table(rows: list[Score]) -> Table:
    return make_table(rows, ["psnr_y", "lpips_alex"], {"scale": 4})


def test_cells_are_plain_means_over_images(table: Table) -> None:
    assert table.means["bicubic", "Set5", "psnr_y"] == 29
    assert table.means["my_model", "Set5", "lpips_alex"] == pytest.approx(0.15)
    assert ("bicubic", "Set14", "lpips_alex") not in table.means
    assert (table.models, table.sets, table.counts) == (
        ("bicubic", "my_model"),
        ("Set5", "Set14"),
        {"Set5": 2, "Set14": 1},
    )


def test_the_best_is_marked_by_direction_and_as_printed(table: Table) -> None:
    assert table.is_best("bicubic", "Set5", "psnr_y")
    assert not table.is_best("my_model", "Set5", "psnr_y")
    assert table.is_best("my_model", "Set5", "lpips_alex")
    # 25 and 25.0004 read alike, so both are.
    assert table.is_best("bicubic", "Set14", "psnr_y")
    assert table.is_best("my_model", "Set14", "psnr_y")
    assert not table.is_best("bicubic", "Set14", "lpips_alex")


def test_a_row_alone_is_not_best(rows: list[Score]) -> None:
    alone = make_table([row for row in rows if row.model == "bicubic"], ["psnr_y"], {})

    assert not alone.is_best("bicubic", "Set5", "psnr_y")


def test_markdown(table: Table) -> None:
    lines = to_markdown(table).splitlines()

    assert lines[0] == "| metric | model | Set5 (2) | Set14 (1) |"
    assert lines[2] == "| PSNR-Y ↑ [dB] | bicubic | **29.000** | **25.000** |"
    assert lines[5] == "|  | my_model | **0.1500** | - |"
    assert "- scale: 4" in lines


def test_latex(table: Table) -> None:
    text = to_latex(table)

    assert r"\begin{tabular}{llrr}" in text
    assert r"PSNR-Y $\uparrow$ & bicubic & \textbf{29.000} & \textbf{25.000} \\" in text
    assert r" & my\_model & \textbf{0.1500} & - \\" in text


def test_csv_json_and_parquet_hold_all_digits(table: Table, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert rows[1] == {"metric": "psnr_y", "model": "my_model", "Set5": "28.5", "Set14": "25.0004"}
    assert rows[2]["Set14"] == ""

    values = json.loads(to_json(table))
    assert values["means"]["psnr_y"]["my_model"] == {"Set5": 28.5, "Set14": 25.0004}
    assert values["means"]["lpips_alex"]["bicubic"] == {"Set5": 0.35}
    assert values["images"] == {"Set5": 2, "Set14": 1}
    assert values["provenance"] == {"scale": 4}

    read = pq.read_table(io.BytesIO(to_parquet(table)))
    assert read.to_pylist()[1] == {"metric": "psnr_y", "model": "my_model", "Set5": 28.5, "Set14": 25.0004}
    assert read.to_pylist()[2]["Set14"] is None
    assert json.loads(read.schema.metadata[b"provenance"]) == {"scale": 4}
    for ending in (".md", ".tex", ".csv", ".json", ".parquet"):
        write_table(table, tmp_path / f"table{ending}")
        assert (tmp_path / f"table{ending}").stat().st_size > 50


def test_the_terminal_shows_names_and_units_as_they_are(table: Table) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(to_terminal(table))
    text = console.export_text()

    assert "PSNR-Y ↑ [dB]" in text
    assert "29.000" in text
    assert "Set14 (1)" in text


def test_per_image_values_have_a_column_a_metric(rows: list[Score], tmp_path: Path) -> None:
    write_images(rows, ["psnr_y", "lpips_alex"], tmp_path / "images.csv")

    lines = (tmp_path / "images.csv").read_text().splitlines()
    assert lines[0] == "model,set,image,psnr_y,lpips_alex"
    assert lines[1] == "bicubic,Set5,baby,30.0,0.4"
    assert lines[5] == "bicubic,Set14,zebra,25.0,"


def test_hostile_names_are_text_in_every_form(tmp_path: Path) -> None:
    name = "=a|b_{}\\input{x}~^\x1b\n<img src=x>"
    rows = [Score(name, "@set", "-image", {"psnr_y": -1.5})]
    table = make_table(rows, ["psnr_y"], {"file": "<b>"})
    assert list(csv.reader(io.StringIO(to_csv(table)))) == [
        ["metric", "model", "'@set"],
        ["psnr_y", f"'{name}", "-1.5"],
    ]
    write_images(rows, ["psnr_y"], tmp_path / "images.csv")
    with open(tmp_path / "images.csv", newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{name}", "'@set", "'-image", "-1.5"]
    escaped = r"=a|b\_\{\}\textbackslash{}input\{x\}\textasciitilde{}\textasciicircum{}\x1b <img src=x>"
    assert escaped.replace(r"\x1b", r"\textbackslash{}x1b") in to_latex(table)
    (row,) = [line for line in to_markdown(table).splitlines() if "-1.500" in line]
    assert row.count("|") - row.count(r"\|") == 4
    assert "<" not in to_markdown(table)
