"""The study in one figure."""

from pathlib import Path

import numpy as np

from analysis.figures.overview import draw_overview
from analysis.statistics.compute import compute_statistics
from analysis.statistics.fronts import group_fronts, is_candidate, is_of_trial
from analysis.statistics.tables import load_results


def test_both_halves_show_the_runs_and_the_right_one_the_fronts(full_run: Path) -> None:
    results = load_results(full_run)
    statistics = compute_statistics(results, draws=20)
    path = results.groups[0]
    figure = draw_overview(results, statistics.groups[path], statistics.bands[path])
    whole, near = figure.axes
    trials = results.points[is_of_trial(results.points) & is_candidate(results.points)]
    expected = sorted(trials["swd"].dropna())
    for axes in (whole, near):
        dots = [line for line in axes.lines if line.get_marker() == "o"]
        np.testing.assert_allclose(sorted(np.concatenate([line.get_xdata() for line in dots])), expected)
    drawn = {line.get_label(): len(line.get_xdata()) for line in near.lines if line.get_linestyle() == "-"}
    assert drawn == {group.value: len(group.front) for group in group_fronts(results.points, results.goals, path)}
    stars = [line for line in whole.lines if line.get_marker() == "*"]
    fidelity = results.points[results.points["kind"] == "fidelity"]
    assert [list(line.get_ydata()) for line in stars] == [list(fidelity["psnr_y"])]
    assert whole.get_ylabel() == "PSNR-Y [dB]   better →"
