"""Fields that a person sets and no run reads."""

from collections.abc import Mapping
from typing import Any

import pytest

from study.config import ConfigError, RunConfig, Stage, check_set_fields, known_paths, replace
from study.config.recipes import RECIPES, get_recipe

UNREAD: list[tuple[str, dict[str, Any], str]] = [
    ("esrgan", {"autoencoder.init": "none.pth"}, "loss.guidance aesop, bottleneck, loss-map or probabilistic"),
    ("esrgan", {"autoencoder.budget.iterations": 7}, "loss.guidance aesop, bottleneck, loss-map or probabilistic"),
    ("esrgan", {"autoencoder": {"budget": {"iterations": 7}}}, "loss.guidance aesop, bottleneck"),
    ("esrgan", {"autoencoder.decoder_fidelity.seed": 7}, "loss.guidance aesop, bottleneck"),
    ("esrgan", {"critics.iterations": 3}, "loss.guidance mdf"),
    ("mdf", {"discriminator.features": 12}, "loss.adversarial or loss.gradient_adversarial"),
    ("mdf", {"fidelity.budget.iterations": 3}, "start fidelity and no generator.init"),
    ("mdf", {"loss.criterion": "l2"}, "loss.guidance pixel, lr, consistency, aesop or bottleneck"),
    ("mdf", {"loss.gan": "vanilla"}, "loss.adversarial"),
    ("mdf", {"loss.perceptual_layers.conv1_2": 0.5}, "loss.perceptual_network vgg19"),
    ("mdf", {"loss.perceptual_network": "alexnet"}, "loss.perceptual above 0"),
    ("aesop", {"autoencoder.scale_weight": 2}, "loss.guidance probabilistic"),
    ("aesop", {"autoencoder.bottleneck_weight": 2, "autoencoder.encoder": "bicubic"}, "other fields of autoencoder"),
    ("esrgan", {"optimiser.schedule": "constant", "optimiser.gamma": 0.1}, "optimiser.schedule steps"),
    ("esrgan", {"fidelity.optimiser.schedule": "steps", "fidelity.optimiser.milestones": [0.5],
                "fidelity.optimiser.restarts": 3}, "fidelity.optimiser.schedule cosine"),
    ("aesop", {"recipe": "esrgan"}, "RECIPE on the command line"),
    ("aesop", {"size": "small"}, "--size"),
]  # fmt: skip


def check(recipe: str, changes: Mapping[str, Any], *others: Mapping[str, Any], until: Stage = "adversarial") -> None:
    before = get_recipe(recipe, "tiny")
    after = replace(before, changes)
    check_set_fields(changes, before, [after, *(replace(after, other) for other in others)], until)


def is_taken(recipe: str, changes: Mapping[str, Any]) -> bool:
    """Return whether fields are taken; those that are not change nothing in the run."""
    try:
        check(recipe, changes)
    except ConfigError as error:
        if "would change nothing in this run" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize(("recipe", "changes", "reader"), UNREAD)
def test_a_field_that_no_stage_reads_is_refused(recipe: str, changes: dict[str, Any], reader: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set .* would change nothing in this run; leave it out: ") as caught:
        check(recipe, changes)
    assert reader in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "changes", "reader"),
    [
        ("esrgan", {"autoencoder.init": "none.pth"}, {"loss.guidance": "aesop"}),
        ("esrgan", {"critics.iterations": 3}, {"loss.guidance": "mdf"}),
        ("mdf", {"discriminator": {"name": "unet", "features": 12}}, {"loss.adversarial": 0.1}),
        ("mdf", {"fidelity.budget.iterations": 3}, {"start": "fidelity"}),
        ("mdf", {"loss.criterion": "l2"}, {"loss.guidance": "pixel"}),
        ("mdf", {"loss.perceptual_network": "alexnet"}, {"loss.perceptual": 1}),
        ("aesop", {"autoencoder.scale_weight": 2}, {"loss.guidance": "probabilistic"}),
        ("esrgan", {"optimiser.gamma": 0.1, "optimiser.milestones": [0.5]}, {"optimiser.schedule": "steps"}),
    ],
)
def test_a_field_is_taken_with_what_reads_it_alone(
    recipe: str, changes: dict[str, Any], reader: dict[str, Any]
) -> None:
    assert not is_taken(recipe, changes)
    assert is_taken(recipe, changes | reader)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("aesop", {"autoencoder.decoder_fidelity.seed": 3}),
        ("aesop", {"data.val": "held-out", "eval_schedule.evaluate_every": 7, "precision": "bf16", "seed": 4}),
        ("spsr", {"loss.branch": 0.1, "fusion_share": 0.3}),
        ("aesop", {"generator": {"name": "swinir", "heads": 2}, "loss.custom": None}),
    ],
)
def test_a_field_that_the_run_reads_is_taken(recipe: str, changes: dict[str, Any]) -> None:
    assert is_taken(recipe, changes)


def test_a_stage_replaced_by_a_file_is_named(tmp_path: Any) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    with pytest.raises(ConfigError, match=r"autoencoder\.init has .*weights\.pth in place of that training"):
        check("aesop", {"autoencoder.init": str(weights), "autoencoder.budget.iterations": 7})
    with pytest.raises(ConfigError, match=r"start fidelity and no generator\.init"):
        check("esrgan", {"generator.init": str(weights), "fidelity.budget.iterations": 7})


def test_a_further_stage_reads_its_fields() -> None:
    check("esrgan", {"critics.iterations": 3}, until="critics")
    with pytest.raises(ConfigError, match=r"critics\.used_levels"):
        check("esrgan", {"critics.used_levels": 3}, until="critics")


def test_one_trial_that_reads_a_field_suffices() -> None:
    check("esrgan", {"critics.iterations": 3}, {}, {"loss.guidance": "mdf"})
    with pytest.raises(ConfigError, match=r"critics\.iterations would change nothing in any trial of this search"):
        check("esrgan", {"critics.iterations": 3}, {}, {"loss.guidance": "ssim"})


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipes_own_fields_are_set_again(recipe: str) -> None:
    config: RunConfig = get_recipe(recipe, "tiny")
    every = config.model_dump(mode="json")
    del every["generator"]
    check_set_fields(every, config, [config])
    assert known_paths()
