"""A study evaluated on some of its validation images, or on its trials' last points."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.report import main
from analysis.statistics.compute import compute_statistics
from analysis.statistics.limits import limits
from analysis.statistics.subsets import LAST_POINTS_NOTE, only_images_of, only_last_points
from analysis.statistics.tables import load_results
from study.record.metadata import RunDirectoryError
from study.record.points import FidelityPoint, TrialPoint
from tests.analysis.made_events import interpolation, point, trial


@pytest.fixture
def one_set(tmp_path: Path) -> Path:
    """A folder with two of the three images, and one that the study has never seen."""
    folder = tmp_path / "Set2" / "HR"
    folder.mkdir(parents=True)
    for name in ("astronaut.png", "coffee.png", "other.png"):
        (folder / name).touch()
    return folder


def test_every_metric_is_the_mean_over_the_chosen_images(full_run: Path, one_set: Path) -> None:
    whole = load_results(full_run)
    part = only_images_of(whole, one_set)
    assert part.metadata.val_images == ("astronaut", "coffee")
    assert part.metadata.notes[-1] == "Evaluated on 2 of the 3 validation images alone, those of Set2."
    assert len(part.points) == len(whole.points)
    for identity, event in whole.record.points.items():
        images = event.images
        is_it = (part.points["trial"] == identity.trial) & (part.points["iteration"] == identity.iteration)
        row = part.points[is_it].iloc[0]
        for metric in ("psnr_y", "swd"):
            expected = (images["astronaut"][metric] + images["coffee"][metric]) / 2 if images else float("nan")
            assert row[metric] == pytest.approx(expected, nan_ok=True)


def test_all_images_give_the_study_itself(full_run: Path, tmp_path: Path) -> None:
    whole = load_results(full_run)
    for name in whole.metadata.val_images:
        (tmp_path / f"{name}.png").touch()
    part = only_images_of(whole, tmp_path)
    own = part.points[["psnr_y", "swd"]].astype(float)
    pd.testing.assert_frame_equal(own, whole.points[["psnr_y", "swd"]].astype(float), atol=2e-3)


def test_a_report_of_some_images_leaves_the_study_s_own_unchanged(
    full_run: Path, one_set: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in full_run.rglob("*")}
    assert main([str(full_run), "--images", str(one_set), "--output", str(tmp_path / "part")]) == 0
    assert {path: path.stat().st_mtime_ns for path in full_run.rglob("*")} == before
    assert "those of Set2" in (tmp_path / "part" / "report.html").read_text()
    assert set(pd.read_parquet(tmp_path / "part" / "images.parquet")["image"]) == {"astronaut", "coffee"}
    assert (tmp_path / "part" / "front.png").is_file()


def test_a_wrong_folder_is_named(full_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = load_results(full_run)
    with pytest.raises(RunDirectoryError, match="there is no such folder"):
        only_images_of(whole, tmp_path / "absent")
    with pytest.raises(
        RunDirectoryError, match=r"none of the study's 3 validation images is there; they are called astro"
    ):
        only_images_of(whole, tmp_path)
    with pytest.raises(SystemExit):
        main([str(full_run), "--images", str(tmp_path)])
    assert "add --output DIR" in capsys.readouterr().err


def test_earlier_checkpoints_and_their_interpolations_are_left_out(write_run, metadata):
    points = [point(*each, 30.0) for each in ((0, 10, 29.0), (0, 20, 25.0), (1, 10, 24.0))]
    generator = FidelityPoint("fidelity-a")
    early, late = (interpolation(generator, TrialPoint(0, step), "weights", 0.5, 26.0, 25.0) for step in (10, 20))
    whole = load_results(write_run(metadata, [*points, early, late]))
    part = only_last_points(whole)
    trials = part.points[part.points["kind"] == "trial"]
    assert [(row.trial, row.iteration, row.psnr_y) for row in trials.itertuples()] == [(0, 20, 25.0), (1, 10, 24.0)]
    assert list(part.points.loc[part.points["kind"] == "interpolation", "name"]) == [late.point.label]
    assert part.metadata.notes[-1] == LAST_POINTS_NOTE
    assert len(whole.points) == 5


def test_unequal_numbers_of_evaluations_are_reported(write_run, metadata):
    events = []
    for number, guidance, times in ((0, "pixel", 2), (1, "aesop", 1)):
        events.append(trial(number, {"loss": {"guidance": guidance}}))
        events += [point(number, iteration, 24.0 + iteration, 30.0) for iteration in range(1, times + 1)]
    results = load_results(write_run(metadata, events))
    said = [
        text for text in limits(results, compute_statistics(results, draws=20)) if "evaluated unequally often" in text
    ]
    assert len(said) == 1
    assert "1 (aesop) and 2 (pixel) times on average" in said[0]
    part = only_last_points(results)
    assert not any("unequally" in text for text in limits(part, compute_statistics(part, draws=20)))
