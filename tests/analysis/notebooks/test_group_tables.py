"""Groups side by side, against numbers computed by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.figures.study import draw_pixel_anytime
from analysis.notebooks.group_figures import draw_iteration_times, draw_metrics
from analysis.notebooks.group_tables import (
    autoencoder_table,
    cross_table,
    dominance_table,
    iteration_cost_table,
    metrics_table,
    win_table,
)
from analysis.statistics.dominance import Comparison
from analysis.statistics.groups import compare_groups
from analysis.statistics.resampling import Interval
from analysis.statistics.tables import Results, load_results
from study.record.events import ArtifactEnded, Event
from study.record.metadata import StudyMetadata
from study.record.points import Spent
from tests.analysis import made_events
from tests.analysis.made_events import IMAGES, end, point


def trial(number: int, patch: int, batch: int, seconds: float, psnr: float, swd: float) -> list[Event]:
    """A trial of 10 iterations that is on its group's front."""
    spent = Spent(10, 10 * batch * patch**2, seconds)
    images = {name: {"psnr_y": psnr, "swd": swd} for name in IMAGES}
    config = {"budget": {"patch": patch, "batch": batch}, "loss": {"adversarial": psnr}}
    return [
        made_events.trial(number, config, fidelity="fidelity-a"),
        point(number, 10, psnr, swd, lr_psnr=psnr + 20, images=images, spent=spent),
        end(number),
    ]


@pytest.fixture
def results(write_run: Callable[..., Path], metadata: StudyMetadata) -> Results:
    events = [
        made_events.artifact("fidelity-a", spent=Spent(pixels_seen=7, device_seconds=100.0)),
        *trial(0, 32, 16, 2.0, 29.0, 20.0),
        *trial(1, 32, 16, 4.0, 28.0, 10.0),
        *trial(2, 64, 4, 5.0, 30.0, 15.0),
    ]
    return load_results(write_run(metadata, events))


def test_metrics_of_front_members(results: Results) -> None:
    found = metrics_table(results, "budget.patch")
    assert found.columns == ("patch", "on own front", "PSNR-Y [dB]", "SWD", "lr_psnr")
    assert found.rows == (
        ("32", "2", "28.50 (28.00 to 29.00)", "15.00 (10.00 to 20.00)", "48.50 (48.00 to 49.00)"),
        ("64", "1", "30.00", "15.00", "50.00"),
    )


def test_what_an_iteration_cost(results: Results) -> None:
    found = iteration_cost_table(results, "budget.patch")
    # 16 x 32 x 32 = 16384 pixels; 20 iterations in 6 s, and 10 in 5 s
    assert found.rows == (
        ("32", "2", "16", "16,384", "0.3 s", "0.0546"),
        ("64", "1", "4", "16,384", "0.5 s", "0.0328"),
    )


def test_with_what_each_group_was_tried(results: Results) -> None:
    found = cross_table(results, "budget.patch", "budget.batch")
    assert found.columns == ("patch", "batch 4", "batch 16")
    assert found.rows == (("32", "0", "2"), ("64", "1", "0"))


def test_costs_in_pixels_leave_upstream_stages_out(results: Results) -> None:
    small, large = compare_groups(results, ["budget.patch"], budget_unit="pixels_seen")["budget.patch"].groups
    assert small.costs[:, 0].tolist() == [163840.0, 327680.0]
    assert large.costs[:, 0].tolist() == [163840.0]
    seconds, _ = compare_groups(results, ["budget.patch"])["budget.patch"].groups
    assert seconds.costs[:, 0].tolist() == [102.0, 106.0]


def test_figures_name_their_axes(results: Results) -> None:
    groups = compare_groups(results, ["budget.patch"], budget_unit="pixels_seen")["budget.patch"]
    for figure in (
        draw_metrics(results, "budget.patch"),
        draw_iteration_times(results, "budget.patch", "budget.batch"),
        draw_pixel_anytime(groups),
    ):
        drawn = [axes for axes in figure.axes if axes.axison]
        assert drawn
        assert all(axes.get_xlabel() and axes.get_ylabel() for axes in drawn)
    marks = draw_iteration_times(results, "budget.patch").axes[0].lines[0].get_ydata()
    assert sorted(float(value) for value in marks) == pytest.approx([0.2, 0.4, 0.5])


def test_pairs_make_squares() -> None:
    def pair(one: str, other: str, positive: float, dominates: float, dominated: float) -> Comparison:
        return Comparison(
            one=one,
            other=other,
            budget=1.0,
            runs=(2, 2),
            volumes=(1.0, 2.0),
            difference=Interval(-1.0, -2.0, 0.0, positive),
            dominates=dominates,
            dominated=dominated,
        )

    pairs = (pair("a", "b", 0.25, 0.1, 0.5), pair("a", "c", 0.9, 0.6, 0.0), pair("b", "c", 0.5, 0.2, 0.2))
    assert win_table(pairs, "loss.guidance").rows == (
        ("a", "\N{EN DASH}", "25.0%", "90.0%"),
        ("b", "75.0%", "\N{EN DASH}", "50.0%"),
        ("c", "10.0%", "50.0%", "\N{EN DASH}"),
    )
    assert dominance_table(pairs, "loss.guidance").rows == (
        ("a", "\N{EN DASH}", "10.0%", "60.0%"),
        ("b", "50.0%", "\N{EN DASH}", "20.0%"),
        ("c", "< 0.1%", "20.0%", "\N{EN DASH}"),
    )


def test_autoencoders_by_their_bottleneck(write_run: Callable[..., Path], metadata: StudyMetadata) -> None:
    def artifact(key: str, channels: int, psnr: float, **rest: Any) -> ArtifactEnded:
        config = {"autoencoder": {"bottleneck_channels": channels, "factor": 4}}
        return made_events.artifact(key, 9.0, **({"config": config, "metrics": {"psnr_y": psnr}} | rest))

    using = made_events.trial(0, autoencoder="autoencoder-b")
    failed = artifact("autoencoder-c", 24, 0.0, state="FAILED", metrics={}, config={}, spent=Spent())
    events = [artifact("autoencoder-a", 12, 33.25), artifact("autoencoder-b", 3, 30.5, reused=True), failed, using]
    found = autoencoder_table(load_results(write_run(metadata, events)))
    assert found.columns == ("auto-encoder", "bottleneck channels", "factor", "PSNR-Y [dB]", "trials", "training")
    dash = "\N{EN DASH}"
    assert found.rows == (
        ("autoencoder-b", "3", "4", "30.50", "1", "9 s"),
        ("autoencoder-a", "12", "4", "33.25", "0", "9 s"),
        ("autoencoder-c", dash, dash, dash, "0", dash),
    )
