"""The committed reference study: traceable, without paths, its comparisons recomputed, its pages true to its tables."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.reference.regenerate import REFERENCE as CORNER
from analysis.reference.regenerate import SET5, compare, comparisons, set_of

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "analysis" / "reference"
GUIDANCES = ("pixel", "aesop-3", "aesop-12", "aesop-48", "bottleneck", "consistency")
IMAGES = {"BSDS500": 100, "Set14": 14, "Set5": 5}
A_PATH = re.compile(r"(?<![\w.])/(?:home|work|tmp|root|mnt|Users|data)/")


def points(study: str) -> pd.DataFrame:
    return pd.read_parquet(REFERENCE / study / "points.parquet")


def committed(name: str) -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "repeat" / f"comparison-{name}.csv")


def area(front: pd.DataFrame, psnr: float, lpips: float) -> float:
    """The hypervolume of two objectives, as rectangles from the best LPIPS on."""
    total, best = 0.0, psnr
    for _, row in front[(front["psnr_y"] > psnr) & (front["lpips_alex"] < lpips)].sort_values("lpips_alex").iterrows():
        total += max(0.0, row["psnr_y"] - best) * (lpips - row["lpips_alex"])
        best = max(best, row["psnr_y"])
    return total


def test_no_table_and_no_text_names_a_machine_s_paths() -> None:
    texts = [path for path in REFERENCE.rglob("*") if path.suffix in (".json", ".csv", ".md", ".sh", ".py")]
    for path in texts:
        assert not A_PATH.search(path.read_text()), path
    tables = list(REFERENCE.rglob("*.parquet"))
    assert len(tables) == 8
    for path in tables:
        table = pd.read_parquet(path)
        for column in table.select_dtypes(include=["string", "object"]):
            assert not table[column].astype(str).str.contains(A_PATH).any(), (path, column)


def test_every_guidance_has_as_many_trials_and_none_failed() -> None:
    search = points("search")
    trials = search[search["kind"] == "trial"].drop_duplicates("trial")
    assert trials["config.recipe"].value_counts().to_dict() == dict.fromkeys(GUIDANCES, 8)
    again = points("repeat")
    trials = again[again["kind"] == "trial"].drop_duplicates("trial")
    runs = trials.groupby("config.recipe")["config.seed"].value_counts()
    assert runs.to_dict() == {(guidance, seed): 2 for guidance in GUIDANCES for seed in (1, 2, 3)}
    for study in ("search", "repeat"):
        states = pd.read_parquet(REFERENCE / study / "trials.parquet")["state"]
        assert set(states) == {"COMPLETE"}


def test_the_repetition_uses_the_search_s_settings_and_new_images() -> None:
    settings = ["config.recipe", "config.loss.fidelity", "config.loss.adversarial", "config.loss.perceptual"]
    known = {tuple(row) for row in points("search").query("kind == 'trial'")[settings].itertuples(index=False)}
    repeated = {tuple(row) for row in points("repeat").query("kind == 'trial'")[settings].itertuples(index=False)}
    assert len(repeated) == 12
    assert repeated <= known
    searched, evaluated = (
        set(pd.read_parquet(REFERENCE / name / "images.parquet")["image"]) for name in ("search", "repeat")
    )
    assert (len(searched), len(evaluated)) == (20, sum(IMAGES.values()))
    assert not searched & evaluated
    assert Counter(map(set_of, evaluated)) == IMAGES


def test_the_fidelity_generator_is_a_decibel_above_bicubic_on_set5() -> None:
    images = pd.read_parquet(REFERENCE / "repeat" / "images.parquet")
    images = images[images["image"].isin(SET5)]
    assert set(images["image"]) == SET5
    means = images[images["kind"].isin(["bicubic", "fidelity"])].groupby("kind")[["psnr_y", "lpips_alex"]].mean()
    assert means.loc["bicubic", "psnr_y"] == pytest.approx(28.397, abs=5e-4)  # MATLAB's
    assert means.loc["bicubic", "lpips_alex"] == pytest.approx(0.3440, abs=5e-5)
    assert means.loc["fidelity", "psnr_y"] >= means.loc["bicubic", "psnr_y"] + 1


def test_the_hypervolumes_are_those_of_the_points() -> None:
    corner = json.loads((REFERENCE / "provenance.json").read_text())["studies"]["repeat"]["reference"]
    assert corner == CORNER
    again = points("repeat").query("kind == 'trial'").sort_values("iteration").groupby("trial").tail(1)
    compared = committed("all")
    assert len(compared) == 15
    for guidance in GUIDANCES:
        runs = again[again["config.recipe"] == guidance]
        expected = np.mean(
            [area(of_seed, corner["psnr_y"], corner["lpips_alex"]) for _, of_seed in runs.groupby("config.seed")]
        )
        found = [
            *compared.query("one == @guidance")["hypervolume_one"],
            *compared.query("other == @guidance")["hypervolume_other"],
        ]
        assert len(found) == 5
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_every_comparison_has_the_hypervolumes_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but intervals and dominance, which take a minute for all; of two comparisons they are compared below."""
    monkeypatch.setattr("analysis.reference.regenerate.DRAWS", 3)
    exact = ["hypervolume_one", "hypervolume_other", "difference"]
    found = dict(comparisons())
    assert {REFERENCE / path for path in found} == set(REFERENCE.rglob("comparison*.csv"))
    for path, rows in found.items():
        expected = pd.read_csv(REFERENCE / path)
        assert list(rows.columns) == list(expected.columns)
        budget = next(column for column in rows if column.startswith("budget_"))
        pd.testing.assert_frame_equal(rows[["one", "other"]], expected[["one", "other"]], check_dtype=False)
        np.testing.assert_allclose(rows[[budget, *exact]], expected[[budget, *exact]], rtol=1e-9, err_msg=str(path))


@pytest.mark.parametrize(
    ("path", "rows"),
    [
        ("search/comparison.csv", lambda: compare("search")),
        ("repeat/comparison-all.csv", lambda: compare("repeat", "trials", last_points=True)),
    ],
)
def test_intervals_and_dominance_are_recomputed_alike(path: str, rows: Callable[[], pd.DataFrame]) -> None:
    expected = pd.read_csv(REFERENCE / path)
    pd.testing.assert_frame_equal(rows(), expected, check_dtype=False, rtol=1e-9, atol=0)


def more_than_pixel(name: str) -> str:
    """A guidance's hypervolume less the pixel loss', with its interval, as the pages write it."""
    row = committed("all").query("other == 'pixel'").set_index("one").loc[name]
    return f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def test_the_numbers_of_the_page_are_those_of_the_tables() -> None:
    """Rows such as | `aesop-3` | 0.750 | -0.024 (-0.050 to +0.010) |: hypervolume, and how much it exceeds pixel's."""
    with_pixel = committed("all").query("other == 'pixel'").set_index("one")
    page = (REFERENCE / "README.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \| ([^|]*)\|", page, flags=re.MULTILINE)
    assert {name for name, *_ in rows} >= set(GUIDANCES)
    for name, volume, more in rows:
        if name == "pixel":
            assert volume == f"{with_pixel['hypervolume_other'].iloc[0]:.3f}"
            continue
        assert volume == f"{with_pixel.loc[name]['hypervolume_one']:.3f}"
        assert more.strip() == more_than_pixel(name)


def test_the_numbers_of_the_front_page_are_those_of_the_tables() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    found = dict(re.findall(r"`([\w-]+)` ([+-][\d.]+ \([+-][\d.]+ to [+-][\d.]+\))", text))
    assert found == {name: more_than_pixel(name) for name in GUIDANCES if name != "pixel"}
