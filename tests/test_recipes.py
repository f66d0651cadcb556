"""The paper's settings, typed from METHODS, and that every recipe holds at every size."""

from typing import Any

import pytest

from study.config import ConfigError, flatten, from_dict, get, known_paths, stage_key, to_dict
from study.recipes import RECIPES, get_recipe

SIZES = ("full", "small", "tiny")

# METHODS 2.1 (the fidelity generator), 1.3 (the auto-encoder), 1.5 (the objective, the generator and its training).
AESOP = {
    "data.scale": 4,
    "generator.name": "rrdb",
    "generator.features": 64,
    "generator.blocks": 23,
    "generator.growth": 32,
    "discriminator.features": 64,
    "fidelity.budget.iterations": 1_000_000,
    "fidelity.budget.batch": 16,
    "fidelity.budget.patch": 128,
    "fidelity.optimiser.learning_rate": 2e-4,
    "fidelity.optimiser.betas": (0.9, 0.99),
    "fidelity.optimiser.weight_decay": 0,
    "fidelity.optimiser.schedule": "cosine",
    "fidelity.optimiser.restarts": 4,
    "fidelity.optimiser.minimum": 1e-7,
    "fidelity.optimiser.warmup": 0,
    "fidelity.optimiser.ema_decay": 0.999,
    "autoencoder.bottleneck_channels": 3,
    "autoencoder.factor": 4,
    "autoencoder.features": 64,
    "autoencoder.blocks": 23,
    "autoencoder.growth": 32,
    "autoencoder.decoder": "rrdb",
    "autoencoder.bicubic_skip": False,
    "autoencoder.bottleneck_weight": 1,
    "autoencoder.budget.iterations": 100_000,
    "autoencoder.budget.batch": 64,
    "autoencoder.budget.patch": 256,
    "autoencoder.optimiser.learning_rate": 1e-4,
    "autoencoder.optimiser.betas": (0.9, 0.99),
    "autoencoder.optimiser.weight_decay": 0,
    "autoencoder.optimiser.schedule": "constant",
    "autoencoder.optimiser.warmup": 0,
    "autoencoder.optimiser.ema_decay": 0.999,
    "autoencoder.seed": 0,
    "loss.guidance": "aesop",
    "loss.fidelity": 1,
    "loss.criterion": "l1",
    "loss.artifact": 1,
    "loss.perceptual": 1,
    "loss.perceptual_network": "vgg19",
    "loss.adversarial": 5e-3,
    "optimiser.learning_rate": 1e-4,
    "optimiser.betas": (0.9, 0.99),
    "optimiser.weight_decay": 0,
    "optimiser.schedule": "constant",
    "optimiser.warmup": 0,
    "optimiser.ema_decay": 0.999,
    "budget.iterations": 300_000,
    "budget.batch": 64,
    "budget.patch": 128,
    "seed": 0,
}
# METHODS 4.3: in its objective and its training LDL differs from the above in the fidelity term alone.
LDL = AESOP | {"loss.guidance": "pixel", "loss.fidelity": 1e-2}


@pytest.mark.parametrize(("name", "published"), [("aesop", AESOP), ("ldl", LDL)])
def test_the_full_recipe_is_the_papers(name: str, published: dict[str, Any]) -> None:
    recipe = get_recipe(name, "full")
    assert {path: get(recipe, path) for path in published} == published


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_each_recipe_is_whole_at_each_size(name: str, size: str) -> None:
    recipe = get_recipe(name, size)
    assert (recipe.recipe, recipe.size) == (name, size)
    assert from_dict(to_dict(recipe)) == recipe
    weights = [recipe.loss.fidelity, recipe.loss.artifact, recipe.loss.perceptual, recipe.loss.adversarial]
    assert min(weights) > 0  # a smaller size drops no term of the method
    assert recipe.loss.uses_autoencoder == (name == "aesop")
    assert recipe.cadence.evaluate_every <= recipe.budget.iterations


@pytest.mark.parametrize("size", SIZES)
def test_ldl_differs_from_aesop_in_the_fidelity_term_alone(size: str) -> None:
    aesop, ldl = (flatten(to_dict(get_recipe(name, size))) for name in ("aesop", "ldl"))
    different = {path for path in known_paths() if aesop[path] != ldl[path]}
    assert different == {"recipe", "loss.guidance", "loss.fidelity"}


def test_both_methods_start_from_one_fidelity_generator() -> None:
    keys = {stage_key(get_recipe(name, "full"), "fidelity", "images") for name in ("aesop", "ldl")}
    assert len(keys) == 1


@pytest.mark.parametrize("stage", ["fidelity.budget", "autoencoder.budget", "budget"])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_sizes_go_down_in_cost(name: str, stage: str) -> None:
    budgets = [get(get_recipe(name, size), stage) for size in SIZES]
    seen = [budget.iterations * budget.pixels_per_step for budget in budgets]
    assert seen[0] > seen[1] > seen[2]


def test_the_default_size_is_the_papers() -> None:
    assert get_recipe("aesop") == get_recipe("aesop", "full")


def test_an_unknown_name_or_size_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"one of aesop, ldl, but got 'esrgan\+'"):
        get_recipe("esrgan+")
    with pytest.raises(ConfigError, match="full, small, tiny, but got 'huge'"):
        get_recipe("aesop", "huge")
