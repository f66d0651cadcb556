"""What is kept of the reference study: traceable, without paths; and what pages say of it stands in its tables."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "analysis" / "reference"
WAYS = ("pixel", "aesop-3", "aesop-12", "aesop-48", "bottleneck", "consistency")
SETS = {"BSDS500": 100, "Set14": 14, "Set5": 5}
SET5 = {"baby", "bird", "butterfly", "head", "woman"}
A_PATH = re.compile(r"(?<![\w.])/(?:home|work|tmp|root|mnt|Users|data)/")


def points(study: str) -> pd.DataFrame:
    return pd.read_parquet(REFERENCE / study / "points.parquet")


def comparisons(name: str) -> pd.DataFrame:
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


def test_every_way_had_as_many_trials_and_none_failed() -> None:
    search = points("search")
    trials = search[search["kind"] == "trial"].drop_duplicates("trial")
    assert trials["config.recipe"].value_counts().to_dict() == dict.fromkeys(WAYS, 8)
    again = points("repeat")
    trials = again[again["kind"] == "trial"].drop_duplicates("trial")
    runs = trials.groupby("config.recipe")["config.seed"].value_counts()
    assert runs.to_dict() == {(way, seed): 2 for way in WAYS for seed in (1, 2, 3)}
    for study in ("search", "repeat"):
        states = pd.read_parquet(REFERENCE / study / "trials.parquet")["state"]
        assert set(states) == {"COMPLETE"}


def test_what_is_repeated_was_found_by_the_search_and_judged_by_none_of_its_images() -> None:
    settings = ["config.recipe", "config.loss.fidelity", "config.loss.adversarial", "config.loss.perceptual"]
    known = {tuple(row) for row in points("search").query("kind == 'trial'")[settings].itertuples(index=False)}
    repeated = {tuple(row) for row in points("repeat").query("kind == 'trial'")[settings].itertuples(index=False)}
    assert len(repeated) == 12
    assert repeated <= known
    searched, evaluated = (
        set(pd.read_parquet(REFERENCE / name / "images.parquet")["image"]) for name in ("search", "repeat")
    )
    assert (len(searched), len(evaluated)) == (20, sum(SETS.values()))
    assert not searched & evaluated


def test_the_fidelity_generator_is_a_decibel_above_bicubic_on_set5() -> None:
    images = pd.read_parquet(REFERENCE / "repeat" / "images.parquet")
    images = images[images["image"].isin(SET5)]
    assert set(images["image"]) == SET5
    means = images[images["kind"].isin(["bicubic", "fidelity"])].groupby("kind")[["psnr_y", "lpips_alex"]].mean()
    assert means.loc["bicubic", "psnr_y"] == pytest.approx(28.397, abs=5e-4)  # MATLAB's, METHODS 10
    assert means.loc["bicubic", "lpips_alex"] == pytest.approx(0.3440, abs=5e-5)
    assert means.loc["fidelity", "psnr_y"] >= means.loc["bicubic", "psnr_y"] + 1


def test_the_hypervolumes_are_those_of_the_points() -> None:
    corner = json.loads((REFERENCE / "facts.json").read_text())["studies"]["repeat"]["reference"]
    again = points("repeat").query("kind == 'trial'").sort_values("iteration").groupby("trial").tail(1)
    compared = comparisons("all")
    assert len(compared) == 15
    for way in WAYS:
        own = again[again["config.recipe"] == way]
        expected = np.mean(
            [area(of_seed, corner["psnr_y"], corner["lpips_alex"]) for _, of_seed in own.groupby("config.seed")]
        )
        found = [
            *compared.query("one == @way")["hypervolume_one"],
            *compared.query("other == @way")["hypervolume_other"],
        ]
        assert len(found) == 5
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("page", [ROOT / "README.md", REFERENCE / "README.md"], ids=["front page", "its own page"])
def test_the_numbers_of_the_pages_are_those_of_the_tables(page: Path) -> None:
    """Rows such as | `aesop-3` | 0.750 | -0.024 (-0.050 to +0.010) |: hypervolume, and how much it exceeds pixel's."""
    compared = comparisons("all")
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \| ([^|]*)\|", page.read_text(), flags=re.MULTILINE)
    assert {name for name, *_ in rows} >= set(WAYS)
    with_pixel = compared.query("other == 'pixel'").set_index("one")
    for name, volume, more in rows:
        if name == "pixel":
            assert volume == f"{with_pixel['hypervolume_other'].iloc[0]:.3f}"
            continue
        row = with_pixel.loc[name]
        assert volume == f"{row['hypervolume_one']:.3f}"
        assert more.strip() == f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
