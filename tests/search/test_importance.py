"""Importances of parameters, where the answer is known."""

import numpy as np
import pytest

from study.record.points import Distribution
from study.search.importance import FEWEST_TRIALS, importances, joint_distributions

SPACE = {
    "weight": Distribution("float", 1e-4, 1e-1, log=True),
    "rate": Distribution("float", 0.0, 1.0),
    "patch": Distribution("categorical", choices=(32, 64)),
    "guidance": Distribution("categorical", choices=("pixel", "aesop")),
    "same": Distribution("float", 0.0, 1.0),
    "channels": Distribution("int", 1, 9),
}


def made(trials: int = 60) -> list[dict[str, object]]:
    random = np.random.default_rng(0)
    return [
        {
            "weight": float(10 ** random.uniform(-4, -1)),
            "rate": float(random.uniform(0, 1)),
            "patch": int(random.choice([32, 64])),
            "guidance": str(random.choice(["pixel", "aesop"])),
            "same": 1.0,
        }
        for _ in range(trials)
    ]


def test_what_alone_matters_explains_nearly_all() -> None:
    params = made()
    for name, value in (
        ("weight", lambda each: np.log10(each["weight"])),
        ("guidance", lambda each: float(each["guidance"] == "aesop")),
        ("patch", lambda each: float(each["patch"])),
    ):
        found = importances(params, [value(each) for each in params], SPACE)
        assert next(iter(found)) == name
        assert found[name] > 0.9
        assert sum(found.values()) == pytest.approx(1)
        assert "same" not in found


def test_two_that_matter_alike_share_it() -> None:
    params = made(200)
    values = [float(each["rate"] > 0.5) + float(each["guidance"] == "aesop") for each in params]  # type: ignore[operator]
    found = importances(params, values, SPACE)
    assert found["rate"] == pytest.approx(0.5, abs=0.15)
    assert found["guidance"] == pytest.approx(0.5, abs=0.15)


def test_conditional_parameters_are_left_out() -> None:
    params = made()
    for each in params:
        if each["guidance"] == "aesop":
            each["channels"] = 3
    values = [float(each["guidance"] == "aesop") for each in params]
    assert "channels" not in importances(params, values, SPACE)


def test_too_few_trials_or_nothing_that_varies_explain_nothing() -> None:
    params = made(FEWEST_TRIALS - 1)
    assert importances(params, list(range(len(params))), SPACE) == {}
    assert importances(made(), [1.0] * 60, SPACE) == {}
    assert importances([{"same": 1.0}] * 20, list(range(20)), SPACE) == {}
    assert importances([], [], SPACE) == {}


def test_parameters_without_a_distribution_are_left_out() -> None:
    params = made()
    values = [float(np.log10(each["weight"])) for each in params]  # type: ignore[arg-type]
    without = {name: distribution for name, distribution in SPACE.items() if name != "weight"}
    assert "weight" not in importances(params, values, without)
    assert importances(params, values, {}) == {}


def test_integers_explain_as_other_numbers_do() -> None:
    random = np.random.default_rng(0)
    params = [{"channels": int(random.integers(1, 10)), "rate": float(random.uniform())} for _ in range(60)]
    found = importances(params, [float(each["channels"]) for each in params], SPACE)
    assert found["channels"] > 0.9


def test_ranges_that_differ_by_trial_are_joined() -> None:
    """A space may give each method a range of its own for one path."""
    trials = [
        {"weight": Distribution("float", 0.1, 1.0, log=True), "kind": Distribution("categorical", choices=("a", "b"))},
        {"weight": Distribution("float", 0.5, 5.0, log=True), "kind": Distribution("categorical", choices=("b", "c"))},
        {"rate": Distribution("int", 1, 9, step=2), "mixed": Distribution("int", 1, 9)},
        {"rate": Distribution("int", 1, 9, step=2), "mixed": Distribution("float", 1, 9)},
    ]
    assert joint_distributions(trials) == {
        "weight": Distribution("float", 0.1, 5.0, log=True),
        "kind": Distribution("categorical", choices=("a", "b", "c")),
        "rate": Distribution("int", 1, 9, step=2),
    }
    assert joint_distributions([]) == {}
