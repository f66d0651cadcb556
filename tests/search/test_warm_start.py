"""A study that begins with what an earlier one found."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.config import RunConfig
from study.config.recipes import aesop
from study.record.events import Event
from study.record.journal import Journal
from study.search.spaces import SearchSpace
from study.search.trials import Asked, TrialSource
from study.search.warm_start import WarmStartError, check_comparable, load_warm_start
from tests.record.lines import write_lines
from tests.search.small_records import ended, evaluated, generator, interpolated, started, write_study

BASE = aesop("tiny")
IDENTITY = {"config": "c", "training images": "t", "held-out images": "h", "objectives": ["psnr_y", "lpips_alex"]}


def space_of(low: float = 0.1, high: float = 2.0, name: str = "loss.fidelity") -> SearchSpace:
    def sample(trial: optuna.Trial, base: RunConfig) -> Mapping[str, Any]:
        return {name: trial.suggest_float(name, low, high)}

    return SearchSpace("mine", Path("mine.py"), "tiny", 9, {}, (), "f", _base=lambda *_: BASE, _sample=sample)


def events_of(trials: list[Asked], points: Mapping[int, tuple[float, float]]) -> Iterator[Event]:
    for asked in trials:
        yield started(asked.number, asked.config)
    for number, values in points.items():
        yield evaluated(number, 40, *values)
        yield ended(number, "PRUNED" if number == 4 else "COMPLETE")


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A study of five trials, of which numbers 3 and 1 are on the front; number 4 was pruned."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    source = TrialSource(folder / "optuna.db", "earlier", ["maximize", "minimize"], space_of(), BASE, seed=0)
    trials = []
    for number in range(5):
        trials.append(source.ask())
        source.tell(number, "PRUNED" if number == 4 else "COMPLETE", (float(number), 1.0))
    points = {3: (30.0, 0.5), 0: (25.0, 0.6), 2: (24.0, 0.4), 1: (29.0, 0.3), 4: (28.0, 0.35)}
    write_study(folder, [*events_of(trials, points), generator(31.0, 0.7)], identity=IDENTITY)
    return folder


def weights_of(folder: Path) -> list[float]:
    stored = optuna.load_study(study_name=folder.name, storage=f"sqlite:///{folder / 'optuna.db'}").trials
    return [trial.params["loss.fidelity"] for trial in stored]


def test_the_front_is_tried_after_the_recipe_s_own_values(earlier: Path, tmp_path: Path) -> None:
    there = weights_of(earlier)
    begun = load_warm_start(earlier, space_of(), BASE, learn=False)
    source = TrialSource(
        tmp_path / "new.db", "new", ["maximize", "minimize"], space_of(), BASE, seed=9, warm_start=begun
    )
    asked = [source.ask() for _ in range(3)]
    assert [one.number for one in asked] == [0, 1, 2]
    assert [one.params["loss.fidelity"] for one in asked] == [BASE.loss.fidelity, there[1], there[3]]
    assert source.ask().params["loss.fidelity"] not in there


def test_trials_that_are_learned_from_have_no_number_here(earlier: Path, tmp_path: Path) -> None:
    begun = load_warm_start(earlier, space_of(), BASE, learn=True)
    assert len(begun.finished) == 4

    def opened() -> TrialSource:
        directions = ["maximize", "minimize"]
        return TrialSource(tmp_path / "new.db", "new", directions, space_of(), BASE, seed=9, warm_start=begun)  # type: ignore[arg-type]

    source = opened()
    assert source.count == 0
    first, second = source.ask(), source.ask()
    assert (first.number, second.number, source.count) == (0, 1, 2)
    source.tell(0, "COMPLETE", (30.0, 0.2))
    source.tell(1, "FAILED", cause="diverged")
    again = opened()
    assert (again.count, again.unfinished()) == (2, [])
    (failed,) = again.failed()
    assert (failed.number, failed.params, str(failed)) == (1, second.params, "diverged")
    third = again.ask()
    assert [left.number for left in opened().unfinished()] == [third.number] == [2]
    stored = optuna.load_study(study_name="new", storage=f"sqlite:///{tmp_path / 'new.db'}").trials
    assert [trial.values for trial in stored[:5]] == [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [30.0, 0.2]]


def test_a_warm_started_study_hands_on_its_own_trials_alone(earlier: Path, tmp_path: Path) -> None:
    begun = load_warm_start(earlier, space_of(), BASE, learn=True)
    folder = tmp_path / "second"
    folder.mkdir()
    source = TrialSource(
        folder / "optuna.db", "second", ["maximize", "minimize"], space_of(), BASE, seed=1, warm_start=begun
    )
    asked = source.ask()
    source.tell(0, "COMPLETE", (5.0, 0.5))
    write_study(folder, events_of([asked], {0: (5.0, 0.5)}))
    handed_on = load_warm_start(folder, space_of(), BASE, learn=True)
    assert handed_on.front == (asked.params,)
    assert [trial.values for trial in handed_on.finished] == [[5.0, 0.5]]


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (space_of(name="loss.ldl"), r"does not fit space mine .*name a study of the same space"),
        (space_of(high=0.2), r"outside of what the space offers: loss\.fidelity = "),
    ],
)
def test_a_study_of_another_space_is_refused(earlier: Path, space: SearchSpace, said: str) -> None:
    with pytest.raises(WarmStartError, match=said):
        load_warm_start(earlier, space, BASE, learn=False)


def test_a_stratified_space_is_refused(earlier: Path) -> None:
    space = replace_field(space_of(), stratified={"loss.guidance": ("pixel", "aesop")})
    with pytest.raises(WarmStartError, match=r"stratifies loss\.guidance, so that each"):
        load_warm_start(earlier, space, BASE, learn=False)


def test_trial_with_an_interpolation_on_the_front_counts(earlier: Path) -> None:
    journal = Journal(earlier / "journal.jsonl")
    journal.append(interpolated(30.5, 0.45))  # of trial 0
    there = weights_of(earlier)
    begun = load_warm_start(earlier, space_of(), BASE, learn=False)
    # It dominates the point of trial 3.
    assert [params["loss.fidelity"] for params in begun.front] == [there[1], there[0]]


def test_directories_without_a_usable_study_are_refused(earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(WarmStartError, match=r"holds no study \(study\.json, journal\.jsonl and optuna\.db\)"):
        load_warm_start(tmp_path, space_of(), BASE, learn=False)
    journal = earlier / "journal.jsonl"
    lines = journal.read_text().splitlines()
    write_lines(journal, (line for line in lines if "point_evaluated" not in line))
    with pytest.raises(WarmStartError, match="no trial of it is on its front"):
        load_warm_start(earlier, space_of(), BASE, learn=False)
    (earlier / "study.json").write_text("{}")
    with pytest.raises(WarmStartError, match=r"--warm-start .*study\.json: it has no version, but"):
        load_warm_start(earlier, space_of(), BASE, learn=False)
    journal.unlink()
    with pytest.raises(WarmStartError, match=r"holds no study"):
        load_warm_start(earlier, space_of(), BASE, learn=False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds 0 studies of Optuna"),
        (b"hello\n" * 1000, "is no database of Optuna"),
        ("update trial_params set distribution_json = '['", "is no database of Optuna, or is damaged"),
    ],
)
def test_a_database_that_is_none_of_optuna_is_named_with_the_remedy(
    earlier: Path, content: bytes | str, said: str
) -> None:
    database = earlier / "optuna.db"
    if isinstance(content, bytes):
        database.write_bytes(content)
    else:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(content)
    with pytest.raises(WarmStartError, match=rf"^--warm-start .*{said}.*; run the command of that study once more"):
        load_warm_start(earlier, space_of(), BASE, learn=False)


def test_values_measured_on_other_images_are_not_learned_from(earlier: Path) -> None:
    check_comparable(earlier, {**IDENTITY, "seed": 7})
    with pytest.raises(WarmStartError, match=r"differs in held-out images \(there h, here x\)"):
        check_comparable(earlier, {**IDENTITY, "held-out images": "x"})
