"""A study split by chosen settings, not by its own groups."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.notebooks.sources import OpenStudy, open_study
from analysis.notebooks.splits import Split, restricted, split_study, values_of
from study.record.metadata import StudyMetadata
from tests.analysis.made_events import end, point, trial


@pytest.fixture(scope="module")
def study(full_run: Path) -> OpenStudy:
    return open_study(str(full_run))


def split_by(study: OpenStudy, *paths: str) -> Split:
    return split_study(study, paths, draws=20)


def test_only_what_differs_is_a_group(study: OpenStudy) -> None:
    split = split_by(study, "budget.patch", "budget.batch", "no.such")
    assert split.paths == ("budget.patch",)
    assert split.refusal == ""
    assert {each.value for each in split.statistics.groups["budget.patch"].groups} == {"48", "64"}


def test_the_study_s_groups_are_the_default(study: OpenStudy) -> None:
    assert split_study(study, draws=20).paths == study.results.groups


def test_a_stage_that_was_not_used_is_no_value(study: OpenStudy) -> None:
    """Trials guided by pixels have an auto-encoder in their configuration, and never met it."""
    assert values_of(study.results, "autoencoder.bottleneck_channels") == ["3", "12"]


def test_it_says_why_it_cannot_compare(study: OpenStudy) -> None:
    assert split_by(study, "budget.batch").refusal == (
        "There is nothing to compare here: in this study, batch is 16 in all trials."
    )
    assert split_by(study, "no.such").refusal == (
        "No point of this study's 12 trials has no.such, so there is nothing to compare here."
    )
    assert split_by(study).refusal.startswith("This study has no settings")


def test_restricted_to_a_group_references_stay(study: OpenStudy) -> None:
    found = restricted(study.results, "loss.guidance", "pixel").points
    assert set(found["config.loss.guidance"][found["kind"] == "trial"]) == {"pixel"}
    assert set(found["kind"]) == {"trial", "bicubic", "fidelity"}
    # 2 x 4 of the even ones' counterparts: trials 1, 3, 5, 7 COMPLETE (4 each), 9 PRUNED (2), 11 RUNNING (2)
    assert (found["kind"] == "trial").sum() == 4 * 4 + 2 + 2


def test_values_of_failed_trials_do_not_count(metadata: StudyMetadata, write_run: Callable[..., Path]) -> None:
    begun = [trial(number, {"budget": {"patch": 32 * (number + 1)}}) for number in (0, 1)]
    points = [point(number, 10, 28.0, 20.0) for number in (0, 1)]
    study = open_study(str(write_run(metadata, [*begun, *points, end(1, "FAILED")])))
    assert values_of(study.results, "budget.patch") == ["32"]
