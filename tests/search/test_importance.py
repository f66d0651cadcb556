"""How much each setting explains, where the answer is known."""

import numpy as np
import pytest

from study.search.importance import FEWEST_TRIALS, importances


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
        found = importances(params, [value(each) for each in params])
        assert next(iter(found)) == name
        assert found[name] > 0.9
        assert sum(found.values()) == pytest.approx(1)
        assert "same" not in found


def test_two_that_matter_alike_share_it() -> None:
    params = made(200)
    values = [float(each["rate"] > 0.5) + float(each["guidance"] == "aesop") for each in params]  # type: ignore[operator]
    found = importances(params, values)
    assert found["rate"] == pytest.approx(0.5, abs=0.15)
    assert found["guidance"] == pytest.approx(0.5, abs=0.15)


def test_conditional_settings_are_left_out() -> None:
    params = made()
    for each in params:
        if each["guidance"] == "aesop":
            each["channels"] = 3
    values = [float(each["guidance"] == "aesop") for each in params]
    assert "channels" not in importances(params, values)


def test_too_few_trials_or_nothing_that_varies_explain_nothing() -> None:
    params = made(FEWEST_TRIALS - 1)
    assert importances(params, list(range(len(params)))) == {}
    assert importances(made(), [1.0] * 60) == {}
    assert importances([{"only": 1.0}] * 20, list(range(20))) == {}
    assert importances([], []) == {}
