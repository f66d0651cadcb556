"""What the weights of loss terms do, on a study made so that the answer is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.notebooks.loss_weights import draw_pair, front_trials, weight_paths, weight_table
from analysis.statistics.tables import Results, load_results
from study.record.events import Event
from study.record.metadata import StudyMetadata
from tests.analysis.made_events import end, point, trial

IMPORTANCES = {"psnr_y": {"loss.adversarial": 0.7, "loss.fidelity": 0.1, "budget.patch": 0.2}, "swd": {}}


@pytest.fixture
def results(write_run: Callable[..., Path], metadata: StudyMetadata) -> Results:
    """Three trials; the first two are on the front, the third is beaten by the first."""
    events: list[Event] = []
    rows = [(0.001, 1.0, 29.0, 20.0), (0.1, 0.5, 27.0, 10.0), (0.01, 2.0, 28.0, 25.0)]
    for number, (adversarial, fidelity, psnr, swd) in enumerate(rows):
        weights = {"adversarial": adversarial, "fidelity": fidelity, "guidance": "aesop", "ldl": 1.0, "gan": True}
        events += [trial(number, {"loss": weights}), point(number, 10, psnr, swd), end(number)]
    return load_results(write_run(metadata, events))


def test_only_weights_that_differ_the_most_important_first(results: Results) -> None:
    assert weight_paths(results, IMPORTANCES) == ["loss.adversarial", "loss.fidelity"]
    assert weight_paths(results, {"swd": {"loss.fidelity": 0.5}}) == ["loss.fidelity", "loss.adversarial"]


def test_ranges_tried_and_on_the_front(results: Results) -> None:
    dash = "\N{EN DASH}"
    assert front_trials(results) == [0, 1]
    assert weight_table(results, IMPORTANCES).rows == (
        ("loss.adversarial", "70%", dash, "0.001", "0.1", "0.001", "0.1"),
        ("loss.fidelity", "10%", dash, "0.5", "2", "0.5", "1"),
        ("all other settings", "20%", dash, dash, dash, dash, dash),
    )
    assert len(weight_table(results, {"psnr_y": {}, "swd": {}}).rows) == 2  # nothing is known of the rest either


def test_two_at_a_time(results: Results) -> None:
    figure = draw_pair(results, "loss.adversarial", "loss.fidelity")
    left, right, *bars = figure.axes
    marks, rings = left.collections
    assert np.asarray(marks.get_offsets()).tolist() == [[0.001, 1.0], [0.1, 0.5], [0.01, 2.0]]
    assert np.asarray(marks.get_array()).tolist() == [29.0, 27.0, 28.0]
    assert np.asarray(right.collections[0].get_array()).tolist() == [20.0, 10.0, 25.0]
    assert len(np.asarray(rings.get_offsets())) == 2
    assert (left.get_xscale(), left.get_yscale()) == ("log", "linear")  # by a factor of 100, and of 4
    assert (left.get_xlabel(), left.get_ylabel(), right.get_xlabel()) == ("adversarial", "fidelity", "adversarial")
    assert all("better" in bar.get_ylabel() for bar in bars)
    # Brighter is better: the largest PSNR and the least SWD have the end of the map that is bright.
    assert marks.cmap(1.0) == right.collections[0].cmap(0.0)
