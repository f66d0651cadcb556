"""Samplers by name: each draws within a conditional space of two objectives, by its seed alone, and learns."""

import statistics

import optuna
import pytest
from optuna.trial import TrialState

from study.search.samplers import RANDOM_TRIALS, SAMPLERS, make_sampler


def draw(trial: optuna.Trial) -> tuple[float, float]:
    """A trade-off in x; y and z, which exists only with an auto-encoder and matters little, are best at 0."""
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 1e-3, 1, log=True)
    guidance = trial.suggest_categorical("guidance", ["pixel", "aesop"])
    z = trial.suggest_categorical("z", [0, 3]) if guidance == "aesop" else 1
    return x - y - z / 100, x**2 + y + z / 100


optuna.logging.set_verbosity(optuna.logging.WARNING)


def search(name: str, *, seed: int, trials: int, bounded: bool = False) -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(trials):
        study.sampler = make_sampler(name, seed=seed, number=number, trials=trials)
        trial = study.ask()
        values = draw(trial)
        if bounded:
            trial.set_constraint("x", trial.params["x"] - 0.2)
        if number % 7 == 5:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, values)
    return study


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_by_its_seed_alone(name: str) -> None:
    trials = RANDOM_TRIALS + 2 if name == "gp" else 24
    one, again, other = (search(name, seed=seed, trials=trials) for seed in (1, 1, 2))
    assert [trial.params for trial in one.trials] == [trial.params for trial in again.trials]
    assert [trial.params for trial in one.trials] != [trial.params for trial in other.trials]
    assert len({trial.params["x"] for trial in one.trials}) >= trials / 2  # genetic ones hand on what is good
    assert all(("z" in trial.params) == (trial.params["guidance"] == "aesop") for trial in one.trials)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3"])
def test_samplers_that_learn_come_to_what_is_better(name: str) -> None:
    """In y, of which less is better in both objectives, the last draws lie below the first; over five seeds."""
    gains = []
    for seed in range(5):
        drawn = [trial.params["y"] for trial in search(name, seed=seed, trials=96).trials]
        gains.append(statistics.mean(drawn[-24:]) / statistics.mean(drawn[:24]))
    assert statistics.median(gains) < 0.6


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_samplers_that_learn_meet_constraints(name: str) -> None:
    """Without a constraint x is anywhere, for both ends are on the front; with x at most 0.2, it is drawn below."""
    free, bounded = (search(name, seed=0, trials=96, bounded=bounded) for bounded in (False, True))
    medians = [statistics.median(trial.params["x"] for trial in study.trials[-32:]) for study in (free, bounded)]
    assert medians[1] < 0.25 < medians[0]


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="--sampler must be one of tpe, nsga2, nsga3, gp, qmc, random, but got grid"):
        make_sampler("grid", seed=0, number=0, trials=1)
