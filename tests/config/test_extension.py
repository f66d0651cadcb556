"""Which longer runs continue a shorter one, and the remedies that the refusals of others name."""

import re
import shlex
from typing import Any

import pytest

from study.config import (
    ConfigError,
    RunConfig,
    check_extension,
    learning_rate_at,
    parse_assignments,
    reduced,
    replace,
)
from study.config.recipes import get_recipe

RUN = replace(
    get_recipe("aesop", "tiny"), {"budget.iterations": 80, "optimiser": {"schedule": "constant", "warmup": 5}}
)
STEPS = {"optimiser": {"schedule": "steps", "milestones": [0.25, 0.5]}}
COSINE = {"optimiser": {"schedule": "cosine", "restarts": 2}}
SPSR = replace(get_recipe("spsr", "tiny"), {"budget.iterations": 80, "optimiser.schedule": "constant"})


@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ({}, {"budget.iterations": 81}),
        ({}, {"budget.iterations": 160, "optimiser": {"schedule": "steps", "milestones": [0.5, 0.75]}}),
        (STEPS, {"budget.iterations": 160, "optimiser.milestones": [0.125, 0.25]}),
        (STEPS, {"budget.iterations": 160, "optimiser.milestones": [0.125, 0.25, 0.5]}),
        (COSINE, {"budget.iterations": 120, "optimiser.restarts": 3}),
        (COSINE, {"budget.iterations": 160, "optimiser.restarts": 4}),
    ],
)
def test_a_run_with_the_same_learning_rates_continues(before: dict[str, Any], changes: dict[str, Any]) -> None:
    short = replace(RUN, before)
    long = replace(short, changes)
    check_extension(short, long)
    assert reduced(long, short) == short
    assert rates_of(long) == rates_of(short)


@pytest.mark.parametrize(
    ("before", "changes", "problem"),
    [
        (
            STEPS,
            {},
            "iteration 21 had the learning rate .* would have .*, since optimiser.milestones are shares of the budget",
        ),
        (STEPS, {"budget.iterations": 83}, "83 iterations .* do not continue 80: iteration 21 had"),
        (STEPS, {"optimiser.gamma": 0.1, "optimiser.milestones": [0.125, 0.25]}, "iteration 21 had"),
        (COSINE, {}, "iteration 2 had .*, since the periods of optimiser.schedule cosine are parts of the budget"),
        (COSINE, {"budget.iterations": 100}, "give --set budget.iterations=160 --set optimiser.restarts=4, or name"),
        ({}, {"optimiser.learning_rate": 1e-3}, "iteration 1 had the learning rate"),
        ({}, {"optimiser.warmup": 50}, "iteration 1 had the learning rate"),
        (
            {},
            COSINE,
            r"iteration 2 had the learning rate \S+, and would have \S+; give --set optimiser.schedule=constant",
        ),
    ],
)
def test_the_fields_that_a_refusal_names_continue_the_run(
    before: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    short = replace(RUN, before)
    long = mended(short, replace(short, {"budget.iterations": 160} | changes), problem)
    assert reduced(long, short) == short
    assert rates_of(long) == rates_of(short)


@pytest.mark.parametrize(("iterations", "share"), [(160, 0.25), (83, 0.1), (1000, 0.01)])
def test_spsrs_first_iterations_are_those_of_the_shorter_run(iterations: int, share: float) -> None:
    short = replace(SPSR, {"fusion_share": share})
    wrong = replace(short, {"budget.iterations": iterations, "fusion_share": 0.9})
    for long in (
        mended(short, wrong, "fusion_share, of the budget, ended before"),
        replace(short, {"budget.iterations": 160, "fusion_share": 80 * share / 160}),
    ):
        check_extension(short, long)
        assert trains_fusion_alone(long) == trains_fusion_alone(short)


def test_a_run_does_not_become_shorter() -> None:
    with pytest.raises(ConfigError, match=r"budget.iterations 40 is below the 80 .* set it to 80 or more, or name"):
        check_extension(RUN, replace(RUN, {"budget.iterations": 40}))


def trains_fusion_alone(run: RunConfig) -> list[bool]:
    """Return in which of the iterations of a run of 80 only SPSR's fusion layers train (docs/methods/spsr.md)."""
    return [step + 1 < run.fusion_share * run.budget.iterations for step in range(80)]


def rates_of(run: RunConfig) -> list[float]:
    """Return the learning rates of the iterations of a run of 80."""
    return [learning_rate_at(run.optimiser, at, run.budget.iterations) for at in range(80)]


def mended(short: RunConfig, long: RunConfig, problem: str) -> RunConfig:
    """Return a run that is refused with the fields that the message names, with which it is accepted."""
    with pytest.raises(ConfigError, match=problem) as caught:
        check_extension(short, long)
    given = re.search(r"give (--set .*), or name another --output$", str(caught.value))
    assert given is not None, str(caught.value)
    assignments = [part for part in shlex.split(given[1]) if part != "--set"]
    accepted = replace(long, parse_assignments(assignments))
    check_extension(short, accepted)
    return accepted
