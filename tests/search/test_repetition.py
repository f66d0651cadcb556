"""The best settings of an earlier study, trained again."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from study.config import RunConfig, replace
from study.config.recipes import aesop
from study.search.repetition import Repetition, load_repetition, other_than_before
from study.search.spaces import SearchSpace
from study.search.trials import TrialSource
from study.search.warm_start import WarmStartError

BASE = aesop("tiny")
CORNER = {"psnr_y": 20.0, "lpips_alex": 1.0}
# Two groups that take turns; of each trial its points (PSNR, LPIPS).
POINTS = {
    0: [(26.0, 0.6), (25.9, 0.8)],
    1: [(21.0, 0.1)],
    2: [(25.0, 0.5)],
    3: [(22.0, 0.2)],
    4: [(22.0, 0.3)],
    5: [(23.0, 0.25)],
}


def sample(trial: optuna.Trial, base: RunConfig) -> Mapping[str, Any]:
    return {
        "loss.guidance": trial.suggest_categorical("loss.guidance", ["aesop", "pixel"]),
        "loss.fidelity": trial.suggest_float("loss.fidelity@either", 0.1, 2.0),
    }


SPACE = SearchSpace(
    *("mine", Path("mine.py"), "tiny", 6, CORNER, ("loss.guidance",), "f"),
    _base=lambda *_: BASE,
    _sample=sample,
    stratified={"loss.guidance": ("aesop", "pixel")},
)


def box(points: list[tuple[float, float]]) -> float:
    """The hypervolume above 20 dB and below 1, by inclusion and exclusion."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for some in itertools.combinations(points, size):
            common = (min(psnr for psnr, _ in some) - 20) * (1 - max(lpips for _, lpips in some))
            total += (-1) ** (size + 1) * common
    return total


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A finished study of six trials, with its table."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    objectives = [
        {"metric": "psnr_y", "direction": "maximize"},
        {"metric": "lpips_alex", "direction": "minimize"},
    ]
    data = {"train": {"fingerprint": "abc"}}
    (folder / "study.json").write_text(json.dumps({"objectives": objectives, "reference": CORNER, "data": data}))
    source = TrialSource(folder / "optuna.db", "earlier", ["maximize", "minimize"], SPACE, BASE, seed=0)
    for number in POINTS:
        source.ask()
        source.tell(number, "COMPLETE", POINTS[number][0])
    rows = [
        {"trial": number, "group_front": ("aesop", "pixel")[number % 2], "psnr_y": psnr, "lpips_alex": lpips}
        for number, points in POINTS.items()
        for psnr, lpips in points
    ]
    rows.append({"trial": None, "group_front": None, "psnr_y": 27.0, "lpips_alex": 0.7})
    pd.DataFrame(rows).astype({"trial": "Int64"}).to_parquet(folder / "points.parquet")
    return folder


def test_the_settings_that_add_most_to_their_group_s_hypervolume_come_first(earlier: Path) -> None:
    runs = load_repetition(Repetition(earlier, members=2, seeds=1), SPACE, BASE)
    chosen = [run.trial for run in runs]
    for group in (0, 1):
        own = {number: points for number, points in POINTS.items() if number % 2 == group}
        first = max(own, key=lambda number: box(own[number]))
        second = max(set(own) - {first}, key=lambda number: box(own[first] + own[number]))
        assert [number for number in chosen if number % 2 == group] == [first, second]
    assert sorted(number % 2 for number in chosen[:2]) == [0, 1], "the best of each group before all second ones"


def test_each_setting_is_trained_with_seeds_that_it_never_had(earlier: Path) -> None:
    runs = load_repetition(Repetition(earlier, members=3, seeds=2), SPACE, BASE)
    assert len(runs) == 6 * 2
    assert {(run.trial, run.seed) for run in runs} == {(number, seed) for number in POINTS for seed in (1, 2)}
    assert other_than_before(earlier, runs, "abc") == []
    assert other_than_before(earlier, runs, "xyz") == ["set of training images"]
    changed = load_repetition(Repetition(earlier), SPACE, replace(BASE, {"loss.adversarial": 0.5, "data.val": "x"}))
    assert other_than_before(earlier, changed, "abc") == ["loss.adversarial"]


def test_a_study_that_repeated_one_is_repeated_setting_by_setting(earlier: Path, tmp_path: Path) -> None:
    """Its trials are two settings with two seeds each; all are on their group's front."""
    runs = load_repetition(Repetition(earlier, members=1, seeds=2), SPACE, BASE)
    again = tmp_path / "again"
    again.mkdir()
    (again / "study.json").write_text((earlier / "study.json").read_text())
    directions = ["maximize", "minimize"]
    source = TrialSource(again / "optuna.db", "again", directions, SPACE, BASE, seed=0, repeated=runs)  # type: ignore[arg-type]
    rows = []
    for number in range(4):
        guidance = source.ask().config.loss.guidance
        source.tell(number, "COMPLETE", (24.0 + number, 0.3 + 0.1 * number))
        point = {"psnr_y": 24.0 + number, "lpips_alex": 0.3 + 0.1 * number}
        rows.append({"trial": number, "group_front": guidance, **point})
    pd.DataFrame(rows).to_parquet(again / "points.parquet")
    third = load_repetition(Repetition(again, members=3, seeds=2), SPACE, BASE)
    assert len(third) == 4
    assert {run.seed for run in third} == {3, 4}, "neither the first study's seed nor the second's"
    assert len({run.trial for run in third}) == 2


def test_a_study_of_repeated_runs_tries_them_and_nothing_else(earlier: Path, tmp_path: Path) -> None:
    runs = load_repetition(Repetition(earlier, members=2, seeds=2), SPACE, BASE)

    def opened() -> TrialSource:
        directions = ["maximize", "minimize"]
        return TrialSource(tmp_path / "new.db", "new", directions, SPACE, BASE, seed=0, repeated=runs)  # type: ignore[arg-type]

    source = opened()
    first = [source.ask() for _ in range(3)]
    rest = [opened().ask() for _ in range(len(runs) - 3)]  # each time as if the driver had died
    asked = [*first, *rest]
    assert [trial.config for trial in asked] == [run.config for run in runs]
    assert [trial.params["seed"] for trial in asked] == [run.seed for run in runs]
    assert [trial.params["loss.fidelity"] for trial in asked] == [run.params["loss.fidelity@either"] for run in runs]
    assert [trial.config for trial in opened().unfinished()] == [run.config for run in runs]


def test_what_cannot_be_repeated_says_why(earlier: Path, tmp_path: Path) -> None:
    other = replace_field(
        SPACE, _sample=lambda trial, base: {"loss.fidelity": trial.suggest_float("loss.fidelity", 0, 1)}
    )
    with pytest.raises(WarmStartError, match=r"--repeat .*trial \d does not fit space mine"):
        load_repetition(Repetition(earlier), other, BASE)
    with pytest.raises(WarmStartError, match=r"--repeat .* holds no study"):
        load_repetition(Repetition(tmp_path), SPACE, BASE)
    table = pd.read_parquet(earlier / "points.parquet")
    table.assign(group_front=None).to_parquet(earlier / "points.parquet")
    with pytest.raises(WarmStartError, match="no trial of it is on a front"):
        load_repetition(Repetition(earlier), SPACE, BASE)
    table.drop(columns="group_front").to_parquet(earlier / "points.parquet")
    with pytest.raises(WarmStartError, match=r"older version; make it with: python analysis/report.py"):
        load_repetition(Repetition(earlier), SPACE, BASE)
