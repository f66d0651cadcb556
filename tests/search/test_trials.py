"""Trials of a database that survives the driver: none is lost, none is drawn twice."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from study.config import RunConfig, replace, to_dict
from study.config.recipes import aesop, get_recipe
from study.record.points import Distribution
from study.search.spaces import SearchSpace, load_space
from study.search.trials import Asked, TrialSource, UnusableTrial
from study.search.warm_start import _trials_of

Sample = Callable[[optuna.Trial, RunConfig], Mapping[str, Any]]
BASE = aesop("tiny")
QUICK = load_space("quick")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory, no_flushing: None) -> Path:
    """Optuna's tables without a row: to make them takes longer than most of the tests."""
    path = tmp_path_factory.mktemp("optuna") / "empty.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def databases(tmp_path: Path, empty_database: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    for path in (first, second):
        shutil.copy(empty_database, path)
    return first, second


@pytest.fixture
def database(databases: tuple[Path, Path]) -> Path:
    return databases[0]


def open_source(database: Path, space: SearchSpace = QUICK, *, seed: int = 0) -> TrialSource:
    return TrialSource(database, "mine", ["maximize", "minimize"], space, BASE, seed=seed)


def stored(database: Path) -> list[FrozenTrial]:
    """The trials as any other program finds them."""
    return optuna.load_study(study_name="mine", storage=f"sqlite:///{database}").trials


def test_objectives_are_named_in_the_database(tmp_path: Path) -> None:
    for _ in range(2):  # also when it is opened again
        TrialSource(tmp_path / "a.db", "mine", ["maximize", "minimize"], QUICK, BASE, seed=0, metrics=["psnr_y", "swd"])
        study = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'a.db'}")
        assert study.metric_names == ["psnr_y", "swd"]


def space_with(sample: Sample) -> SearchSpace:
    return SearchSpace("mine", Path("mine.py"), "tiny", 9, {}, (), "f", _base=lambda *_: BASE, _sample=sample)


def one_weight(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
    return {"loss.fidelity": trial.suggest_float("loss.fidelity", 0.1, 2.0)}


def score(asked: Asked) -> tuple[float, float]:
    """Some result that depends on the parameters, for the sampler to learn from."""
    loss = asked.config.loss
    return 25.0 + loss.fidelity, 0.3 - loss.adversarial + 0.01 * asked.number


def draw(source: TrialSource, count: int, *, told: bool = True) -> list[Asked]:
    drawn = []
    for _ in range(count):
        drawn.append(source.ask())
        if told:
            source.tell(drawn[-1].number, "COMPLETE", score(drawn[-1]))
    return drawn


def test_trial_zero_is_the_recipe_itself(tmp_path: Path) -> None:
    source = open_source(tmp_path / "new.db")
    assert source.count == 0
    first = source.ask()
    assert (first.number, first.config) == (0, BASE)
    assert first.params == QUICK.own_values(BASE)
    assert source.count == 1
    assert source.ask().config != BASE


def test_distributions_are_those_of_the_space(database: Path) -> None:
    source = open_source(database)
    asked = draw(source, 3, told=False)
    assert all(trial.distributions.keys() == trial.params.keys() for trial in asked)
    assert asked[0].distributions["budget.patch"] == Distribution("categorical", choices=(32, 64))
    weight = asked[0].distributions["loss.adversarial"]
    assert (weight.kind, weight.log) == ("float", True)
    assert weight.contains(asked[0].params["loss.adversarial"])
    assert [trial.distributions for trial in open_source(database).unfinished()] == [
        trial.distributions for trial in asked
    ]


def test_a_trial_is_drawn_within_the_space_and_stored(database: Path) -> None:
    asked = draw(open_source(database), 4)
    for trial, frozen in zip(asked, stored(database), strict=True):
        assert frozen.number == trial.number
        assert frozen.params == trial.params
        assert json.loads(frozen.user_attrs["config"]) == to_dict(trial.config)
        conditional = {"budget.batch": {32: 16, 64: 4}[trial.params["budget.patch"]]}
        assert replace(BASE, trial.params | conditional) == trial.config


def test_each_state_is_optunas_with_values_or_cause(database: Path) -> None:
    source = open_source(database)
    draw(source, 4, told=False)
    source.tell(0, "COMPLETE", (29.5, 0.2))
    source.tell(1, "PRUNED")
    source.tell(2, "FAILED", cause="diverged: loss is nan at iteration 7")
    states = [(trial.state, trial.values, trial.user_attrs.get("cause")) for trial in stored(database)]
    assert states == [
        (TrialState.COMPLETE, [29.5, 0.2], None),
        (TrialState.PRUNED, None, None),
        (TrialState.FAIL, None, "diverged: loss is nan at iteration 7"),
        (TrialState.RUNNING, None, None),
    ]


def test_values_of_incomplete_trials_are_not_scores(database: Path) -> None:
    source = open_source(database)
    draw(source, 2, told=False)
    source.tell(0, "FAILED", (29.5, 0.2), "the metric of another point is not finite")
    source.tell(1, "PRUNED", (29.5, 0.2))
    assert [trial.values for trial in stored(database)] == [None, None]


def test_telling_twice_changes_nothing(database: Path) -> None:
    source = open_source(database)
    source.ask()
    source.tell(0, "COMPLETE", (29.5, 0.2))
    source.tell(0, "COMPLETE", (1.0, 1.0))
    source.tell(0, "FAILED", cause="told by mistake")
    again = open_source(database)
    again.tell(0, "PRUNED")
    (only,) = stored(database)
    assert (only.state, only.values, only.user_attrs.get("cause")) == (TrialState.COMPLETE, [29.5, 0.2], None)


def test_trials_that_were_not_told_are_resumed_unchanged(database: Path) -> None:
    source = open_source(database)
    asked = draw(source, 4, told=False)
    source.tell(1, "COMPLETE", (29.5, 0.2))
    again = open_source(database)
    assert again.unfinished() == [asked[0], asked[2], asked[3]]
    assert again.count == 4
    assert again.ask().number == 4


def test_a_resumed_trial_keeps_its_config_in_an_edited_space(database: Path) -> None:
    drawn = open_source(database, space_with(one_weight)).ask()
    edited = space_with(lambda trial, base: {"loss.fidelity": trial.suggest_float("loss.fidelity", 0.1, 2.0) / 2})
    assert open_source(database, edited).unfinished() == [drawn]


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("suggested", [0, 2])
def test_an_interrupted_draw_is_completed(database: Path, number: int, suggested: int) -> None:
    draw(open_source(database), number)
    interrupted = optuna.load_study(
        study_name="mine", storage=f"sqlite:///{database}", sampler=optuna.samplers.RandomSampler(seed=5)
    ).ask()
    assert interrupted.number == number
    if suggested:  # in the order of the space
        interrupted.suggest_categorical("budget.patch", [32, 64])
        interrupted.suggest_categorical("loss.guidance", ["pixel", "aesop"])
    kept = dict(interrupted.params)

    source = open_source(database)
    (found,) = source.unfinished()
    assert found.number == number
    assert {name: found.params[name] for name in kept} == kept
    assert source.unfinished() == [found]  # now it is noted
    if number == 0:
        assert found.config == BASE
    assert [trial.number for trial in draw(source, 2)] == [number + 1, number + 2]
    assert found.params in [trial.params for trial in stored(database)]


def test_a_space_that_raises_makes_a_failed_trial(database: Path) -> None:
    def fails_twice(trial: optuna.Trial, base: RunConfig) -> dict[str, Any]:
        weight = trial.suggest_float("loss.fidelity", 0.1, 2.0)
        if trial.number == 1:
            raise RuntimeError("no such place")
        return {"loss.fidelity": weight if trial.number != 2 else -weight}

    source = open_source(database, space_with(fails_twice))
    source.ask()
    for number, cause in ((1, "RuntimeError: no such place"), (2, "greater than or equal to 0")):
        with pytest.raises(UnusableTrial, match=cause) as caught:
            source.ask()
        assert caught.value.number == number
        assert list(caught.value.params) == ["loss.fidelity"]
        assert caught.value.distributions == {"loss.fidelity": Distribution("float", 0.1, 2.0)}
    assert source.ask().number == 3
    assert source.count == 4
    assert [trial.number for trial in source.unfinished()] == [0, 3]
    failed = stored(database)[1:3]
    assert {trial.state for trial in failed} == {TrialState.FAIL}
    assert "no such place" in failed[0].user_attrs["cause"]


def test_an_interrupted_draw_that_cannot_be_completed_fails(database: Path) -> None:
    draw(open_source(database, space_with(one_weight)), 1)
    optuna.load_study(study_name="mine", storage=f"sqlite:///{database}").ask()
    source = open_source(database, space_with(lambda trial, base: {"loss.fidelity": -1.0 * trial.number}))
    assert source.unfinished() == []
    last = stored(database)[-1]
    assert last.state == TrialState.FAIL
    assert "greater than or equal to 0" in last.user_attrs["cause"]


def test_a_resumed_study_draws_what_an_uninterrupted_one_draws(databases: tuple[Path, Path]) -> None:
    count = 12  # TPE has taken over from random draws by then
    unbroken = draw(open_source(databases[0]), count)
    broken = [draw(open_source(databases[1]), 1)[0] for _ in range(count)]
    assert broken == unbroken


def test_no_point_is_drawn_twice_and_another_seed_draws_others(databases: tuple[Path, Path]) -> None:
    weights = [
        [trial.params["loss.adversarial"] for trial in draw(open_source(database, seed=seed), 12)]
        for seed, database in enumerate(databases)
    ]
    # The first is the recipe's own in both.
    assert weights[0][0] == weights[1][0]
    assert len({*weights[0], *weights[1]}) == 23


def test_trials_drawn_before_any_was_told_differ_too(database: Path) -> None:
    drawn = draw(open_source(database), 6, told=False)
    assert len({trial.config for trial in drawn}) == 6
    assert [trial.number for trial in drawn] == list(range(6))


def test_the_recipes_own_trial_is_asked_for_only_once(database: Path) -> None:
    open_source(database)
    open_source(database)
    draw(open_source(database), 1)
    configs = [trial.config for trial in draw(open_source(database), 3)]
    assert BASE not in configs
    assert [trial.state for trial in stored(database)] == [TrialState.COMPLETE] * 4


def test_stratified_values_begin_with_the_recipes_own(database: Path) -> None:
    guidance = load_space("guidance")
    base = guidance.base("tiny", {"squeezenet"})
    source = TrialSource(database, "strata", ["maximize", "minimize"], guidance, base, seed=1)
    kinds = [source.ask().config.loss.guidance for _ in range(12)]
    assert kinds == list(guidance.stratified["loss.guidance"]) * 2
    assert kinds[0] == base.loss.guidance


def test_strata_go_on_when_a_study_is_resumed(database: Path) -> None:
    guidance = load_space("guidance")
    base = guidance.base("tiny", {"squeezenet"})
    kinds = []
    for _ in range(7):
        source = TrialSource(database, "strata", ["maximize", "minimize"], guidance, base, seed=1)
        kinds.append(source.ask().config.loss.guidance)
    assert kinds == [*guidance.stratified["loss.guidance"], "aesop"]


def test_ranges_by_method_share_the_path_of_their_field(database: Path) -> None:
    baselines = load_space("baselines")
    base = baselines.base("tiny", {"squeezenet"})
    source = TrialSource(database, "methods", ["maximize", "minimize"], baselines, base, seed=1)
    for name in baselines.stratified["recipe"]:
        asked = source.ask()
        assert asked.config.recipe == name
        assert asked.params.keys() == {"recipe", "loss.fidelity", "loss.adversarial"}
        assert asked.config.loss.fidelity == asked.params["loss.fidelity"]
        recipe = get_recipe(name, "tiny").loss
        assert recipe.fidelity / 10 <= asked.config.loss.fidelity <= recipe.fidelity * 10


@pytest.mark.parametrize("name", ["what?x=1", "%41", "100%25", "a #{b}@é"])
def test_the_database_is_in_its_folder_whatever_its_name(tmp_path: Path, empty_database: Path, name: str) -> None:
    database = tmp_path / name / "optuna.db"
    database.parent.mkdir()
    shutil.copy(empty_database, database)
    open_source(database).ask()
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == [Path(name), Path(name, "optuna.db")]
    assert len(_trials_of(database)) == 1  # as a warm start reads it
