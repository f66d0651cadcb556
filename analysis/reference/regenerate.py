"""Recompute the comparison*.csv of the reference study from its committed tables.

    python -m analysis.reference.regenerate [OUTPUT]

writes search/comparison.csv and repeat/comparison*.csv below OUTPUT (default: this folder), in about a minute. The
numbers are the report's: the same functions, on the same points, with the same seeds.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from analysis.formatting import BudgetUnit
from analysis.page.exports import comparison_rows
from analysis.statistics.dominance import DRAWS, compare_all
from analysis.statistics.groups import compare_groups
from analysis.statistics.tables import Results
from study.record.goals import Goals, Objective
from study.record.metadata import ImageSetInfo, SearchInfo, StudyMetadata

HERE = Path(__file__).resolve().parent
GROUP = "recipe"
REFERENCE = {"psnr_y": 22.0, "lpips_alex": 0.45}
SET5 = frozenset({"baby", "bird", "butterfly", "head", "woman"})
SETS = ("BSDS500", "Set14", "Set5")


def set_of(image: str) -> str:
    """Return the test set of an image of the repetition, by its name."""
    if image in SET5:
        return "Set5"
    return "BSDS500" if image.isdecimal() else "Set14"


def compare(
    study: str,
    budget_unit: BudgetUnit = "device_seconds",
    *,
    last_points: bool = False,
    test_set: str | None = None,
    folder: Path = HERE,
) -> pd.DataFrame:
    """Compare the guidances of a study as its report does.

    Args:
        study: `search` or `repeat`.
        budget_unit: of the equal budget.
        last_points: use the last point of each trial alone.
        test_set: use its images alone; None for all images.
        folder: of the study's tables.

    Returns:
        A row per pair of guidances, as in comparison.csv.
    """
    points, images, trials, artifacts = (
        pd.read_parquet(folder / study / f"{name}.parquet") for name in ("points", "images", "trials", "artifacts")
    )
    points = points[points["kind"] == "trial"]
    images = images[images["kind"] == "trial"]
    if last_points:
        points = points[points["iteration"] == points.groupby("trial")["iteration"].transform("max")]
    names = [name for name in images["image"].unique() if test_set in (None, set_of(name))]
    results = Results(metadata=_describe(names), points=points, images=images, trials=trials, artifacts=artifacts)
    groups = compare_groups(results, [GROUP], budget_unit=budget_unit)[GROUP]
    return comparison_rows(compare_all(groups, draws=DRAWS), budget_unit)


def comparisons(folder: Path = HERE) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Yield every committed comparison: its file, relative to this folder, and its rows."""
    for study in ("search", "repeat"):
        yield Path(study) / "comparison.csv", compare(study, folder=folder)
    for name, test_set in (("all", None), *((name, name) for name in SETS)):
        rows = compare("repeat", "trials", last_points=True, test_set=test_set, folder=folder)
        yield Path("repeat") / f"comparison-{name}.csv", rows
    yield Path("repeat") / "comparison-all-with-upstream.csv", compare("repeat", last_points=True, folder=folder)


def _describe(images: Sequence[str]) -> StudyMetadata:
    """Return as much of study.json as the statistics read."""
    objectives = (Objective("psnr_y", "maximize"), Objective("lpips_alex", "minimize"))
    image_set = ImageSetInfo("reference", "", tuple(images))
    return StudyMetadata(
        name="reference",
        search=SearchInfo("reference", trials=0, seed=0, groups=(GROUP,)),
        goals=Goals(objectives, REFERENCE),
        images={"train": image_set, "val": image_set},
        config={},
        notes=(),
        code_version="",
        identity={},
        id="",
    )


def main(output: Path) -> None:
    """Write every comparison."""
    for path, rows in comparisons():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(output / path, index=False)
        print(output / path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
