"""The best settings of an earlier study, trained again."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.config import RunConfig, replace
from study.config.recipes import aesop
from study.record.events import Event
from study.record.journal import Journal
from study.record.state import StudyRecord
from study.search.repetition import Repetition, _group_of, load_repetition, other_than_before
from study.search.spaces import SearchSpace
from study.search.trials import Asked, TrialSource
from study.search.warm_start import WarmStartError
from tests.record.lines import write_lines
from tests.search.small_records import ended, evaluated, generator, interpolated, started, write_study

BASE = aesop("tiny")
CORNER = {"psnr_y": 20.0, "lpips_alex": 1.0}
GROUPS = ("loss.guidance",)
# Two groups, stratified; of each trial its points (PSNR, LPIPS).
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
    *("mine", Path("mine.py"), "tiny", 6, CORNER, GROUPS, "f"),
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


def events_of(trials: list[Asked], points: Mapping[int, list[tuple[float, float]]]) -> Iterator[Event]:
    for asked in trials:
        yield started(asked.number, asked.config)
        for index, values in enumerate(points[asked.number]):
            yield evaluated(asked.number, 20 * (index + 1), *values)
        yield ended(asked.number)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A finished study of six trials. A point of the fidelity generator and an interpolation are on its front, too."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    source = TrialSource(folder / "optuna.db", "earlier", ["maximize", "minimize"], SPACE, BASE, seed=0)
    trials = []
    for number in POINTS:
        trials.append(source.ask())
        source.tell(number, "COMPLETE", POINTS[number][0])
    more = [generator(27.0, 0.7), interpolated(26.5, 0.01)]
    write_study(folder, [*events_of(trials, POINTS), *more], groups=GROUPS)
    return folder


def test_settings_that_add_most_hypervolume_to_their_group_come_first(earlier: Path) -> None:
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
    directions = ["maximize", "minimize"]
    source = TrialSource(again / "optuna.db", "again", directions, SPACE, BASE, seed=0, repeated=runs)  # type: ignore[arg-type]
    points = {number: [(24.0 + number, 0.3 + 0.1 * number)] for number in range(4)}
    trials = []
    for number in range(4):
        trials.append(source.ask())
        source.tell(number, "COMPLETE", points[number][0])
    write_study(again, events_of(trials, points), groups=GROUPS)
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


def test_studies_that_cannot_be_repeated_are_refused(earlier: Path, tmp_path: Path) -> None:
    other = replace_field(
        SPACE, _sample=lambda trial, base: {"loss.fidelity": trial.suggest_float("loss.fidelity", 0, 1)}
    )
    with pytest.raises(WarmStartError, match=r"--repeat .*trial \d does not fit space mine"):
        load_repetition(Repetition(earlier), other, BASE)
    with pytest.raises(WarmStartError, match=r"--repeat .* holds no study"):
        load_repetition(Repetition(tmp_path), SPACE, BASE)
    journal = earlier / "journal.jsonl"
    lines = journal.read_text().splitlines()
    write_lines(journal, (line for line in lines if "point_evaluated" not in line))
    with pytest.raises(WarmStartError, match="no trial of it is on a front"):
        load_repetition(Repetition(earlier), SPACE, BASE)
    journal.write_text('{"event": "point"}\n')
    with pytest.raises(WarmStartError, match=r"--repeat .*journal\.jsonl, line 1: it has no version"):
        load_repetition(Repetition(earlier), SPACE, BASE)
    journal.unlink()
    with pytest.raises(WarmStartError, match=r"holds no study \(study\.json, journal\.jsonl and optuna\.db\)"):
        load_repetition(Repetition(earlier), SPACE, BASE)


def test_points_that_do_not_count_are_not_chosen(earlier: Path) -> None:
    """A failed trial, an infinite value; a study without groups is one group."""
    source = TrialSource(earlier / "optuna.db", "earlier", ["maximize", "minimize"], SPACE, BASE, seed=0)
    journal = Journal(earlier / "journal.jsonl")
    for number, values in ((6, (40.0, 0.01)), (7, (math.inf, 0.01))):
        source.ask()
        journal.append(started(number, BASE))
        journal.append(evaluated(number, 20, *values))
    journal.append(ended(6, "FAILED"))
    assert {run.trial for run in load_repetition(Repetition(earlier), SPACE, BASE)} == set(POINTS)
    path = earlier / "study.json"
    path.write_text(path.read_text().replace('"loss.guidance"', ""))
    (all_at_once,) = {len(load_repetition(Repetition(earlier, members=9, seeds=1), SPACE, BASE))}
    front = {0, 1, 2, 3, 5}  # trial 3 has a better LPIPS than 4 at the same PSNR
    assert all_at_once == len(front)


def test_trials_without_a_stage_are_a_group_of_their_own(tmp_path: Path) -> None:
    """Trials that never meet an auto-encoder are not told apart by its settings."""
    record = StudyRecord()
    configs = {number: replace(BASE, {"autoencoder.bottleneck_channels": 3 * (1 + number % 2)}) for number in range(3)}
    for number, config in configs.items():
        record.apply(started(number, config))
    with_it = started(3, BASE)
    groups = ("autoencoder.bottleneck_channels",)
    assert [_group_of(record.trials[number], groups, record) for number in range(3)] == ["3", "6", "3"]
    record.apply(replace_field(with_it, upstream={"autoencoder": "autoencoder-1"}))
    assert [_group_of(record.trials[number], groups, record) for number in range(4)] == ["none"] * 3 + ["3"]
    assert _group_of(with_it, (), record) == "all"
    assert _group_of(with_it, ("loss.custom",), record) == "none"
