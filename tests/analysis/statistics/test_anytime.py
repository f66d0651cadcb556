"""Hypervolume against cost, by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.figures.study import compute_parts
from analysis.statistics.anytime import group_curve, study_curve
from analysis.statistics.groups import compare_groups
from analysis.statistics.tables import Results, load_results
from study.record.metadata import StudyMetadata
from tests.analysis.made_events import artifact, end
from tests.analysis.statistics.test_groups import point, trial

WriteRun = Callable[..., Path]


@pytest.fixture
def results(write_run: WriteRun, metadata: StudyMetadata) -> Results:
    """The corner is PSNR 20 and SWD 60: a point of 24 and 50 has a hypervolume of 40."""
    events = [
        artifact("fidelity-a", 100.0),
        artifact("autoencoder-b", 40.0, reused=True),
        trial(0, "aesop", fidelity="fidelity-a", autoencoder="autoencoder-b"),
        trial(1, "pixel", fidelity="fidelity-a"),
        point(0, 10, 5.0, 24, 50),
        point(1, 10, 3.0, 22, 40),
        point(0, 20, 10.0, 23, 55),
        end(0),
        end(1),
    ]
    return load_results(write_run(metadata, events))


def test_a_study_pays_for_what_it_trains_in_the_order_of_events(results: Results) -> None:
    """40 after 105 s; then a point 2 above and 20 below the corner: 4 * 10 + 2 * 10; the last one changes nothing."""
    curve = study_curve(results)
    assert curve.costs.tolist() == [105.0, 108.0, 113.0]
    assert curve.hypervolumes.tolist() == pytest.approx([40.0, 60.0, 60.0])


def test_a_group_alone_pays_for_all_that_it_starts_from(results: Results) -> None:
    groups = compare_groups(results, ["loss.guidance"])["loss.guidance"]
    curves = {one.value: group_curve(groups, one) for one in groups.groups}
    assert curves["aesop"].costs.tolist() == [145.0, 150.0]
    assert curves["aesop"].hypervolumes.tolist() == pytest.approx([40.0, 40.0])
    assert curves["pixel"].costs.tolist() == [103.0]


def test_where_the_compute_went(results: Results) -> None:
    assert compute_parts(results) == {"stage fidelity": 100.0, "trials COMPLETE": 13.0}


def test_a_curve_of_many_points_is_thinned_but_keeps_its_end(full_run: Path) -> None:
    results = load_results(full_run)
    curve = study_curve(results)
    assert (np.diff(curve.hypervolumes) >= 0).all()
    assert (np.diff(curve.costs) >= 0).all()
    trained = results.trials["device_seconds"].sum() + results.artifacts["device_seconds"].sum()
    assert curve.costs[-1] == pytest.approx(trained, rel=0.2)


def test_an_empty_study_has_no_curve(write_run: WriteRun, metadata: StudyMetadata) -> None:
    curve = study_curve(load_results(write_run(metadata, [])))
    assert not len(curve.costs)
