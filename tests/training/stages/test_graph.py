"""What `STAGES` states of each stage, against the configuration that it reads."""

import pytest

from study.config import INITIAL_WEIGHTS, RunConfig, Stage, get, replace, stage_key
from study.config.recipes import mdf
from study.training.stages.graph import STAGES, needs_of


def test_each_stage_has_its_budget(small_run: RunConfig) -> None:
    assert STAGES["fidelity"].budget(small_run) == small_run.fidelity.budget
    assert STAGES["autoencoder"].budget(small_run) == small_run.autoencoder.budget
    assert STAGES["adversarial"].budget(small_run) == small_run.budget
    assert [spec.iterations(small_run) for name, spec in STAGES.items() if name != "critics"] == [4, 4, 6]


def test_critics_train_every_level_of_one_image() -> None:
    config = replace(mdf("tiny"), {"critics": {"iterations": 7, "levels": 5, "used_levels": 5}, "budget.iterations": 3})
    critics = STAGES["critics"]
    assert critics.iterations(config) == 7 * 5
    assert critics.budget(config) is None  # no batches
    assert get(config, f"{critics.budget_field}.iterations") == 7


def test_each_stage_trains_on_batches_or_alone() -> None:
    assert [spec.name for spec in STAGES.values() if spec.train_alone is not None] == ["critics"]
    assert all((spec.prepare is None) != (spec.train_alone is None) for spec in STAGES.values())
    assert all((spec.evaluate is None) == spec.yields_points for spec in STAGES.values())
    options = {"fidelity": "--pretrain-workers", "autoencoder": "--pretrain-workers", "critics": None}
    assert {name: spec.workers_option for name, spec in STAGES.items()} == options | {"adversarial": "--workers"}


@pytest.mark.parametrize("stage", ["fidelity", "autoencoder", "critics"])
def test_initial_weights_are_read_from_their_field(stage: Stage, small_run: RunConfig) -> None:
    spec = STAGES[stage]
    assert spec.init_field in INITIAL_WEIGHTS
    assert spec.initial_weights(small_run) is None
    assert spec.initial_weights(replace(small_run, {spec.init_field: "given.pth"})) == "given.pth"
    assert STAGES["adversarial"].initial_weights(small_run) is None


def test_needs_come_before_what_starts_from_them(small_run: RunConfig) -> None:
    fidelity, autoencoder = needs_of(small_run, "adversarial")
    assert (fidelity.stage, fidelity.after) == ("fidelity", ())
    assert (autoencoder.stage, autoencoder.after) == ("autoencoder", (fidelity.key,))
    assert autoencoder.key == stage_key(small_run, "autoencoder", "")
