"""A study split by what is asked, not by its own groups."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.notebooks.sources import OpenStudy, open_study
from analysis.notebooks.splits import Question, ask, restricted, values_of


@pytest.fixture(scope="module")
def study(full_run: Path) -> OpenStudy:
    return open_study(str(full_run))


def asked(study: OpenStudy, *paths: str) -> Question:
    return ask(study, paths, draws=20)


def test_only_what_differs_is_a_group(study: OpenStudy) -> None:
    question = asked(study, "budget.patch", "budget.batch", "no.such")
    assert question.paths == ("budget.patch",)
    assert question.refusal == ""
    assert {each.value for each in question.statistics.contests["budget.patch"].groups} == {"48", "64"}


def test_by_default_the_study_asks(study: OpenStudy) -> None:
    assert ask(study, draws=20).paths == study.results.facts.groups


def test_a_stage_that_was_not_used_is_no_value(study: OpenStudy) -> None:
    """Trials guided by pixels have an auto-encoder in their configuration, and never met it."""
    assert values_of(study.results, "autoencoder.bottleneck_channels") == ["3", "12"]


def test_it_says_why_it_cannot_compare(study: OpenStudy) -> None:
    assert asked(study, "budget.batch").refusal == (
        "There is nothing to compare here: in this study, batch is 16 in all trials."
    )
    assert asked(study, "no.such").refusal == (
        "No point of this study's 12 trials has no.such, so there is nothing to compare here."
    )
    assert asked(study).refusal.startswith("This study names no settings")


def test_restricted_to_a_group_references_stay(study: OpenStudy) -> None:
    found = restricted(study.results, "loss.guidance", "pixel").points
    assert set(found["config.loss.guidance"][found["kind"] == "trial"]) == {"pixel"}
    assert set(found["kind"]) == {"trial", "bicubic", "fidelity"}
    # 2 x 4 of the even ones' counterparts: trials 1, 3, 5, 7 COMPLETE (4 each), 9 PRUNED (2), 11 RUNNING (2)
    assert (found["kind"] == "trial").sum() == 4 * 4 + 2 + 2


def test_values_of_failed_trials_do_not_count(study_json: dict, write_run: Callable[..., Path]) -> None:
    begun = [{"event": "trial", "trial": n, "config": {"budget": {"patch": 32 * (n + 1)}}} for n in (0, 1)]
    metrics = {"psnr_y": 28.0, "swd": 20.0}
    points = [{"event": "point", "trial": n, "iteration": 10, "metrics": metrics} for n in (0, 1)]
    end = {"event": "end", "trial": 1, "state": "FAILED"}
    study = open_study(str(write_run(study_json, [*begun, *points, end])))
    assert values_of(study.results, "budget.patch") == ["32"]
