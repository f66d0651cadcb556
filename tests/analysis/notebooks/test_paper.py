"""A figure for a paper has the size and the letters that were asked for."""

from pathlib import Path

import pytest
from PIL import Image

from analysis.figures.plots import draw_front
from analysis.notebooks.paper import for_paper, save_both
from analysis.statistics.tables import Results, load_results


@pytest.fixture(scope="module")
def results(full_run: Path) -> Results:
    return load_results(full_run)


def test_size_and_letters(results: Results, tmp_path: Path) -> None:
    before = draw_front(results)
    entries = [text.get_text() for text in before.legends[0].get_texts()]
    figure = for_paper(before, 3.35, 3.2, font=8)
    svg, png = save_both(figure, tmp_path / "figures", "front")
    assert figure.axes[0].xaxis.label.get_fontsize() == pytest.approx(8)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == entries
    assert Image.open(png).size == (670, 640)  # 200 dpi
    assert 'width="241.2pt" height="230.4pt"' in svg.read_text()  # 72 points an inch
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
