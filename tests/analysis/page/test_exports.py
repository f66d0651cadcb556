"""A study's tables as files, read back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.formatting import NOTHING
from analysis.page.exports import comparison_rows, csv_text, export_tables, latex
from analysis.page.tables import TextTable, comparison_table
from analysis.report import write_report
from analysis.statistics.compute import compute_statistics
from analysis.statistics.dominance import compare_all
from analysis.statistics.tables import load_results
from study.record.events import Event
from study.record.metadata import StudyMetadata
from tests.analysis.made_events import with_groups
from tests.analysis.statistics.test_conclusions import pair
from tests.analysis.statistics.test_dominance import HARD, comparison, group


def test_every_table_comes_back_as_it_was(full_run: Path, tmp_path: Path) -> None:
    results = load_results(full_run)
    statistics = compute_statistics(results, draws=50)
    files = {path.name: path for path in export_tables(tmp_path, results, statistics.comparisons["loss.guidance"])}
    points = pd.read_parquet(files["points.parquet"])
    pd.testing.assert_frame_equal(points, results.points)
    assert len(pd.read_parquet(files["images.parquet"])) == 3 * len(points)
    assert len(pd.read_csv(files["points.csv"])) == len(points)
    front = pd.read_csv(files["front.csv"])
    assert len(front) == points["front"].sum()
    np.testing.assert_allclose(np.sort(front["swd"]), np.sort(points["swd"][points["front"]]))
    (row,) = pd.read_csv(files["comparison.csv"]).to_dict("records")
    (found,) = statistics.comparisons["loss.guidance"]
    assert (row["one"], row["other"]) == ("aesop", "pixel")
    assert row["difference"] == found.difference.estimate == pytest.approx(found.volumes[0] - found.volumes[1])
    assert not list(tmp_path.glob(".*"))


def test_latex_escapes_what_names_hold() -> None:
    table = TextTable(
        caption="x", columns=("a_b", "50%"), rows=(("$x^2$ & {y}", "#1\\input{/etc/passwd}"), ("[9cm]\x1b\n~", "*"))
    )
    text = latex(table)
    assert "a\\_b & 50\\%" in text
    assert "\\$x\\textasciicircum{}2\\$ \\& \\{y\\}" in text
    assert "\\input" not in text
    # After the end of a row, `[` and `*` would be its arguments.
    assert "\n{[}9cm]\\textbackslash{}x1b \\textasciitilde{} & {*} \\\\\n" in text
    assert text.startswith("\\begin{tabular}{lr}")


def test_probabilities_are_not_said_to_be_certain() -> None:
    rows = comparison_table([pair(1.5, 0.5, 2.5, 0.99999, dominated=0.0, dominates=0.5)]).rows
    assert rows[0][3:] == ("+1.5", "+0.5 to +2.5", "> 99.9%", "50.0%", "< 0.1%")
    single = compare_all(comparison(group("a", [(29, 0.5)], HARD[:1]), group("b", [(27, 0.5)], HARD[:1])))
    assert comparison_table(single).rows[0][4:] == (NOTHING,) * 4
    assert comparison_rows([]).empty


def test_the_page_holds_comparisons_and_figures(full_run: Path, write_run: Callable[..., Path]) -> None:
    page = write_report(full_run).page.read_text()
    assert "Groups at equal cost" in page
    assert "By guidance, at equal cost" in page
    assert "By bottleneck channels, at equal cost" in page
    for heading in ("Hypervolume against cost", "Effect of each setting"):
        assert heading in page
    assert (full_run / "figures" / "anytime.svg").is_file()


def test_a_study_without_groups_has_a_report(
    write_run: Callable[..., Path], metadata: StudyMetadata, study_events: list[Event]
) -> None:
    run = write_run(with_groups(metadata), study_events)
    page = write_report(run).page.read_text()
    assert "Groups at equal cost" not in page
    assert "Hypervolume against cost" in page
    assert pd.read_csv(run / "comparison.csv").empty


def test_no_text_of_a_csv_is_a_formula() -> None:
    table = pd.DataFrame({"=A1": ["=1+1", None, "aesop"], "psnr": [-1.5, np.nan, 2.0], "mixed": [-1, "-1", "@x"]})
    assert csv_text(table).splitlines() == ["'=A1,psnr,mixed", "'=1+1,-1.5,-1", ",,-1", "aesop,2.0,'@x"]
