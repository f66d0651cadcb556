"""Groups whose names are formulas, markup, or begin with a sign that matplotlib leaves out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.figures.overview import draw_overview
from analysis.figures.plots import figure_bytes
from analysis.notebooks.group_figures import draw_iteration_times, draw_metrics
from analysis.notebooks.group_tables import metrics_table
from analysis.notebooks.html import table
from analysis.statistics.compute import compute_statistics
from analysis.statistics.tables import load_results
from study.record.events import Event
from study.record.metadata import StudyMetadata
from tests.analysis.made_events import end, point, trial, with_groups

PATH = "loss.guidance"
NAMES = ("$\\frac{$", "_<b>x\n\x1b[2J")
SHOWN = ["$\\frac{$", " _<b>x \\x1b[2J"]


@pytest.mark.filterwarnings("error:.*start with an underscore")
def test_hostile_names_of_groups_are_drawn_as_they_are(write_run: Callable[..., Path], metadata: StudyMetadata) -> None:
    events: list[Event] = []
    for number, name in enumerate(NAMES):
        config = {"loss": {"guidance": name}, "budget": {"patch": 32}}
        metrics = (25.0 + number, 30.0 + number)
        images = {key: {"psnr_y": metrics[0], "swd": metrics[1]} for key in metadata.val_images}
        events += [trial(number, config, {PATH: name}), point(number, 1, *metrics, images=images), end(number)]
    results = load_results(write_run(with_groups(metadata, PATH), events))
    statistics = compute_statistics(results, draws=10)
    overview = draw_overview(results, statistics.groups[PATH], statistics.bands.get(PATH, {}))
    assert sorted(text.get_text() for text in overview.axes[1].get_legend().get_texts()) == sorted(SHOWN)
    for figure in (overview, draw_metrics(results, PATH), draw_iteration_times(results, PATH, PATH)):
        assert figure_bytes(figure, "png").startswith(b"\x89PNG")
    assert "<b>" not in table(metrics_table(results, PATH)).html
