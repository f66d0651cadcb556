"""A study evaluated on some of its held-out images."""

from pathlib import Path

import pandas as pd
import pytest
from analysis.journal import RunDirectoryError
from analysis.statistics.image_subset import only_images_of

from analysis.report import main
from analysis.statistics.tables import load_results


@pytest.fixture
def one_set(tmp_path: Path) -> Path:
    """A test set of two of the three images, and one that the study has never seen."""
    folder = tmp_path / "Set2" / "HR"
    folder.mkdir(parents=True)
    for name in ("astronaut.png", "coffee.png", "other.png"):
        (folder / name).touch()
    return folder


def test_every_metric_is_the_mean_over_the_images_that_are_left(full_run: Path, one_set: Path) -> None:
    whole = load_results(full_run)
    part = only_images_of(whole, one_set)
    assert part.facts.test_images == ("astronaut", "coffee")
    assert part.facts.notes[-1] == "Evaluated by 2 of the 3 held-out images alone, those of Set2."
    assert len(part.points) == len(whole.points)
    for key, event in whole.journal.points.items():
        images = event.get("images") or {}
        point = part.points[(part.points["trial"] == key[0]) & (part.points["iteration"] == key[1])].iloc[0]
        for metric in ("psnr_y", "swd"):
            expected = (images["astronaut"][metric] + images["coffee"][metric]) / 2 if images else float("nan")
            assert point[metric] == pytest.approx(expected, nan_ok=True)


def test_all_images_give_the_study_itself(full_run: Path, tmp_path: Path) -> None:
    whole = load_results(full_run)
    for name in whole.facts.test_images:
        (tmp_path / f"{name}.png").touch()
    part = only_images_of(whole, tmp_path)
    own = part.points[["psnr_y", "swd"]].astype(float)
    pd.testing.assert_frame_equal(own, whole.points[["psnr_y", "swd"]].astype(float), atol=2e-3)


def test_a_report_of_a_part_leaves_the_study_s_own_alone(full_run: Path, one_set: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in full_run.rglob("*")}
    assert main([str(full_run), "--only", str(one_set), "--out", str(tmp_path / "part")]) == 0
    assert {path: path.stat().st_mtime_ns for path in full_run.rglob("*")} == before
    assert "those of Set2" in (tmp_path / "part" / "report.html").read_text()
    assert set(pd.read_parquet(tmp_path / "part" / "images.parquet")["image"]) == {"astronaut", "coffee"}
    assert (tmp_path / "part" / "front.png").is_file()


def test_a_wrong_folder_is_named(full_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = load_results(full_run)
    with pytest.raises(RunDirectoryError, match="there is no such folder"):
        only_images_of(whole, tmp_path / "absent")
    with pytest.raises(
        RunDirectoryError, match=r"none of the study's 3 held-out images is there; they are called astro"
    ):
        only_images_of(whole, tmp_path)
    with pytest.raises(SystemExit):
        main([str(full_run), "--only", str(tmp_path)])
    assert "say with --out DIR" in capsys.readouterr().err
