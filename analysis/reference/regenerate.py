"""Recompute the comparison*.csv of the reference study from its committed tables.

    python -m analysis.reference.regenerate [OUTPUT]

writes search/comparison.csv and repeat/comparison*.csv below OUTPUT (default: this folder), in about a minute. The
numbers are the report's: the same functions, on the same points, with the same seeds.
"""

import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from analysis.formatting import Currency
from analysis.journal import Journal, Objective, StudyFacts
from analysis.page.exports import comparison_rows
from analysis.statistics.dominance import DRAWS, compare_all
from analysis.statistics.groups import contests
from analysis.statistics.tables import Results

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
    budget_unit: Currency = "device_seconds",
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
    facts, journal = _study(names), _journal(images[images["image"].isin(names)])
    results = Results(facts=facts, journal=journal, points=points, trials=trials, artifacts=artifacts)
    groups = contests(results, [GROUP], budget_unit=budget_unit)[GROUP]
    return comparison_rows(compare_all(groups, draws=DRAWS), budget_unit)


def comparisons(folder: Path = HERE) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Yield every committed comparison: its file, relative to this folder, and its rows."""
    for study in ("search", "repeat"):
        yield Path(study) / "comparison.csv", compare(study, folder=folder)
    ends = {name: ("trials", test_set) for name, test_set in (("all", None), *((each, each) for each in SETS))}
    for name, (budget_unit, test_set) in {**ends, "all-with-upstream": ("device_seconds", None)}.items():
        rows = compare("repeat", budget_unit, last_points=True, test_set=test_set, folder=folder)
        yield Path("repeat") / f"comparison-{name}.csv", rows


def _study(images: Collection[str]) -> StudyFacts:
    """Return as much of study.json as the statistics read."""
    return StudyFacts(
        name="reference",
        space="reference",
        recipe="aesop-3",
        size="tiny",
        trials=0,
        seed=0,
        objectives=(
            Objective(metric="psnr_y", direction="maximize", unit="dB", label="PSNR-Y"),
            Objective(metric="lpips_alex", direction="minimize", unit="", label="LPIPS (AlexNet)"),
        ),
        reference=REFERENCE,
        notes=(),
        data={"val": {"images": list(images)}},
        scale=4,
        code_version="",
        config={},
        groups=(GROUP,),
    )


def _journal(images: pd.DataFrame) -> Journal:
    """Return a journal of points that have their metrics by image and nothing else."""
    values = images.set_index(["trial", "iteration", "image"])[list(REFERENCE)]
    points: dict[tuple[int, int], dict[str, dict[str, dict[str, float]]]] = {}
    for (trial, iteration, image), row in zip(values.index, values.to_dict("records"), strict=True):
        points.setdefault((int(trial), int(iteration)), {"images": {}})["images"][image] = row
    return Journal(points=points)


def main(output: Path) -> None:
    """Write every comparison."""
    for path, rows in comparisons():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(output / path, index=False)
        print(output / path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
