"""Groups as arrays: what counts, what it cost, which seed's study holds it; by hand on made-up journals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.report import Options, write_report
from analysis.statistics.groups import Group, GroupComparison, compare_groups
from analysis.statistics.image_values import image_values
from analysis.statistics.tables import Results, load_results
from study.record.events import Event, PointEvaluated, TrialStarted
from study.record.metadata import StudyMetadata
from study.record.points import Spent
from study.record.state import StudyRecord
from tests.analysis import made_events
from tests.analysis.made_events import IMAGES, artifact, end

WriteRun = Callable[..., Path]


def trial(number: int, guidance: str, *, seed: int = 0, weight: float = 1.0, **upstream: str) -> TrialStarted:
    config = {"loss": {"guidance": guidance, "adversarial": weight}, "seed": seed, "fidelity": {"seed": seed}}
    return made_events.trial(number, config, **upstream)


def point(number: int, iteration: int, seconds: float, psnr: float, swd: float, **changes: Any) -> PointEvaluated:
    images = {
        name: {"psnr_y": psnr + off, "swd": swd - off} for name, off in zip(IMAGES, (1.0, 0.0, -1.0), strict=True)
    }
    spent = Spent(iterations=iteration, device_seconds=seconds)
    return made_events.point(number, iteration, psnr, swd, **({"images": images, "spent": spent} | changes))


@pytest.fixture
def results_of(write_run: WriteRun, metadata: StudyMetadata) -> Callable[[list[Event]], Results]:
    return lambda events: load_results(write_run(metadata, events))


def comparison(results: Results, path: str) -> GroupComparison:
    return compare_groups(results, [path])[path]


def by_value(results: Results) -> dict[str, Group]:
    return {one.value: one for one in comparison(results, "loss.guidance").groups}


def test_groups_without_a_point_that_counts_are_named(results_of: Callable[..., Results]) -> None:
    results = results_of([trial(0, "aesop"), trial(1, "pixel"), point(1, 10, 3.0, 28, 21), trial(2, "lr")])
    found = comparison(results, "loss.guidance")
    assert [group.value for group in found.groups] == ["pixel"]
    assert found.left_out == ("aesop", "lr")


def test_costs_add_up_trial_by_trial_and_each_artifact_once(results_of: Callable[..., Results]) -> None:
    results = results_of(
        [
            artifact("fidelity-a", 100.0),
            artifact("autoencoder-b", 40.0),
            trial(0, "aesop", fidelity="fidelity-a", autoencoder="autoencoder-b"),
            point(0, 10, 5.0, 28, 20),
            point(0, 20, 10.0, 27, 15),
            trial(1, "pixel", fidelity="fidelity-a"),
            point(1, 10, 3.0, 28, 21),
            trial(2, "aesop", weight=2.0, fidelity="fidelity-a", autoencoder="autoencoder-b"),
            point(2, 10, 6.0, 26, 14),
            end(0),
            end(1),
            end(2),
        ]
    )
    found = by_value(results)
    assert found["aesop"].costs[:, 0].tolist() == [145.0, 150.0, 156.0]
    assert found["aesop"].total == 156.0
    assert found["pixel"].costs[:, 0].tolist() == [103.0]  # it would have had to train its generator, too
    assert found["aesop"].trials.tolist() == [0, 0, 2]
    assert found["aesop"].settings.tolist() == [0, 0, 1]


def test_losses_are_by_image_with_less_as_better(results_of: Callable[..., Results]) -> None:
    results = results_of([trial(0, "pixel"), point(0, 10, 1.0, 28, 20), end(0)])
    found = comparison(results, "loss.guidance")
    np.testing.assert_array_equal(found.groups[0].losses[0], [[-29, 19], [-28, 20], [-27, 21]])
    assert found.images == 3
    np.testing.assert_array_equal(found.corner, [-20, 60])


def test_what_does_not_count_is_left_out_but_has_cost(results_of: Callable[..., Results]) -> None:
    holes = {"images": {"astronaut": {"psnr_y": 28.0, "swd": 20.0}}}
    results = results_of(
        [
            trial(0, "pixel"),
            point(0, 10, 7.0, 28, 20),
            end(0, "FAILED"),
            trial(1, "pixel", weight=2.0),
            point(1, 10, 1.0, float("nan"), 20),
            point(1, 20, 2.0, 28, 20, **holes),
            point(1, 30, 3.0, 28, 20),
            end(1),
        ]
    )
    (found,) = comparison(results, "loss.guidance").groups
    assert found.costs[:, 0].tolist() == [10.0]
    assert found.trials.tolist() == [1]


def test_a_group_without_a_point_that_counts_does_not_compete(results_of: Callable[..., Results]) -> None:
    results = results_of([trial(0, "pixel"), point(0, 10, 7.0, 28, 20), end(0, "FAILED")])
    assert comparison(results, "loss.guidance").groups == ()
    assert comparison(results_of([]), "loss.guidance").groups == ()


def test_each_seed_is_a_study_with_what_was_not_repeated_in_all(results_of: Callable[..., Results]) -> None:
    results = results_of(
        [
            trial(0, "pixel", weight=1.0, seed=0),
            point(0, 10, 1.0, 28, 20),
            trial(1, "pixel", weight=2.0, seed=0),
            point(1, 10, 2.0, 27, 19),
            trial(2, "pixel", weight=1.0, seed=5),
            point(2, 10, 4.0, 28.5, 20),
            *map(end, range(3)),
        ]
    )
    (found,) = comparison(results, "loss.guidance").groups
    assert found.seeds == (0, 5)
    assert found.repeated == (1, 2)
    # The study of seed 0: trials 0 and 1; of seed 5: trials 1 and 2, in this order.
    np.testing.assert_array_equal(found.costs, [[1, np.inf], [3, 2], [np.inf, 6]])
    assert found.total == 3.0


def test_the_table_of_images_has_a_row_for_each_point_and_image(full_run: Path) -> None:
    results = load_results(full_run)
    table = results.images
    assert len(table) == 3 * len(results.points)
    assert {"point", "trial", "kind", "name", "iteration", "image", "psnr_y", "swd", "ssim_y"} == set(table.columns)
    means = table.groupby("point")["ssim_y"].mean()
    np.testing.assert_allclose(means, 1.0 * results.points["ssim_y"] * (0.95 + 0.05))
    values = image_values(results.points, results.images, results.metadata)
    np.testing.assert_array_equal(values[:, :, 0].ravel(), table["psnr_y"])


def test_the_table_of_images_of_an_empty_study_has_its_columns(results_of: Callable[..., Results]) -> None:
    table = results_of([]).images
    assert list(table.columns) == ["point", "trial", "kind", "name", "iteration", "image"]
    assert not len(table)


def test_costs_may_leave_out_what_trials_start_from_or_count_trials(results_of: Any) -> None:
    events = [
        artifact("fidelity-1", 100.0),
        trial(0, "pixel", fidelity="fidelity-1"),
        trial(1, "pixel", fidelity="fidelity-1", weight=2.0),
    ]
    for number in (0, 1):
        begun = events[number + 1]
        events[number + 1] = replace(begun, config={**begun.config, "budget": {"iterations": 40}})
        events += [point(number, 10, 3.0, 25.0, 30.0), point(number, 40, 12.0, 25.0, 30.0), end(number)]
    results = results_of(events)

    def costs(budget_unit: Any) -> list[float]:
        (group,) = compare_groups(results, ["loss.guidance"], budget_unit=budget_unit)["loss.guidance"].groups
        return [float(cost) for cost in group.costs[:, 0]]

    assert costs("device_seconds") == [103, 112, 115, 124]
    assert costs("own_seconds") == [3, 12, 15, 24]
    assert costs("trials") == [0.25, 1, 1.25, 2]


def test_the_words_say_what_is_equal(results_of: Any, tmp_path: Path) -> None:
    events = []
    for number, guidance in enumerate(("pixel", "aesop")):
        events += [trial(number, guidance), point(number, 10, 60.0, 25.0 + number, 30.0), end(number)]
    run_dir = results_of(events) and tmp_path / "run"
    report = write_report(run_dir, Options(budget_unit="own_seconds", output=tmp_path / "own"))
    assert any("(1 min 00 s of device time, upstream stages excluded)" in sentence for sentence in report.findings)
    assert "budget_own_seconds" in (tmp_path / "own" / "comparison.csv").read_text()
    assert "device-seconds, upstream stages excluded" in report.page.read_text()


def test_tables_and_metadata_are_enough_to_compare_groups(full_run: Path) -> None:
    results = load_results(full_run)
    tables = replace(results, record=StudyRecord(), entries=())
    (whole, alone) = (compare_groups(each, ["loss.guidance"])["loss.guidance"] for each in (results, tables))
    for one, other in zip(whole.groups, alone.groups, strict=True):
        np.testing.assert_array_equal(one.losses, other.losses)
        np.testing.assert_array_equal(one.costs, other.costs)
