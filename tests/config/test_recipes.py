"""Every recipe has its paper's settings, and is valid at every size."""

import re
from typing import Any

import pytest
import torch

from study.config import (
    ConfigError,
    RunConfig,
    Task,
    flatten,
    from_dict,
    get,
    learning_rate_at,
    replace,
    stage_key,
    to_dict,
)
from study.config.recipes import RECIPES, as_method, for_task, get_recipe, parse_task, without_missing_networks
from study.models.build import build_generator

SIZES = ("full", "small", "tiny")

# docs/methods/aesop.md.
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
    "loss.ldl": 1,
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
# docs/methods/ldl.md: LDL differs from the above in the fidelity term alone.
LDL = AESOP | {"loss.guidance": "pixel", "loss.fidelity": 1e-2}
FIVE_LAYERS = (0.1, 0.1, 1, 1, 1)
LAYERS = [f"loss.perceptual_layers.conv{layer}" for layer in ("1_2", "2_2", "3_4", "4_4", "5_4")]
ALL_LAYERS = dict(zip(LAYERS, FIVE_LAYERS, strict=True))
LAST_LAYER = dict(zip(LAYERS, (0, 0, 0, 0, 1), strict=True))
# docs/methods/esrgan.md.
ESRGAN = LDL | {
    "loss.ldl": 0,
    **LAST_LAYER,
    "loss.gan": "relativistic",
    "budget.iterations": 400_000,
    "budget.batch": 16,
    "optimiser.schedule": "steps",
    "optimiser.milestones": (0.125, 0.25, 0.5, 0.75),  # 50K, 100K, 200K, 300K
    "optimiser.gamma": 0.5,
}
# docs/methods/spsr.md.
SPSR = ESRGAN | {
    "generator.name": "spsr",
    "discriminator.name": "spsr",
    "loss.gan": "relativistic-joint",
    "loss.gradient": 1e-2,
    "loss.gradient_adversarial": 5e-3,
    "loss.branch": 0.5,
    "optimiser.betas": (0.9, 0.999),
    "optimiser.milestones": (0.1, 0.2, 0.4, 0.6),  # the same iterations of 500K
    "optimiser.ema_decay": 0,
    "fusion_share": 0.01,  # 5,000
    "budget.iterations": 500_000,
    "budget.batch": 30,
    "seed": 9,
}
# docs/methods/swinir.md.
SWINIR_AESOP = {path: value for path, value in AESOP.items() if path != "generator.growth"} | {
    "generator.name": "swinir",
    "generator.features": 180,
    "generator.blocks": 6,
    "generator.depth": 6,
    "generator.heads": 6,
    "generator.window": 8,
    "generator.mlp_ratio": 2,
    "generator.drop_path": 0.1,
    "generator.upsampler": "pixelshuffle",
    "generator.bilinear_skip": False,
    "fidelity.budget.iterations": 500_000,
    "fidelity.budget.batch": 32,
    "fidelity.budget.patch": 256,
    "fidelity.optimiser.schedule": "steps",
    "fidelity.optimiser.milestones": (0.5, 0.8, 0.9, 0.95),  # 250K, 400K, 450K, 475K
    "budget.patch": 256,
    "seed": 1,
    **ALL_LAYERS,
}
SWINIR_LDL = SWINIR_AESOP | {"loss.guidance": "pixel", "loss.fidelity": 1e-2}
# docs/methods/aesop.md, real-world images.
AESOP_REAL = AESOP | {
    "data.degradation": "aesop-real",
    "discriminator.name": "unet",
    "loss.ldl": 0,
    **dict(zip(LAYERS, (0, 0.1, 1, 1, 1), strict=True)),
    "loss.perceptual_target": "sharpened",
    "loss.gan": "vanilla",
    "loss.adversarial": 0.1,
    "autoencoder.bottleneck_weight": 0,
    "autoencoder.frozen_decoder": 1,
    "fidelity.budget.batch": 48,
    "fidelity.budget.patch": 256,
    "fidelity.optimiser.schedule": "constant",
    "budget.iterations": 400_000,
    "budget.batch": 48,
    "budget.patch": 256,
}
# docs/methods/mdf.md, and EDSR's paper for the generator and its training.
MDF = {
    "generator.name": "edsr",
    "generator.features": 64,
    "generator.blocks": 16,
    "generator.residual_scale": 1,
    "start": "scratch",
    "budget.batch": 16,
    "budget.patch": 192,
    "budget.iterations": 300_000,
    "optimiser.learning_rate": 1e-4,
    "optimiser.milestones": (2 / 3,),
    "loss.guidance": "mdf",
    "loss.critics_range": "unit",
    "critics.levels": 9,
    "critics.used_levels": 8,
    "critics.smallest_side": 25,
    "critics.largest_side": 250,
    "critics.features": 32,
    "critics.largest_features": 128,
    "critics.iterations": 1000,
    "critics.steps": 3,
    "critics.learning_rate": 5e-4,
    "critics.betas": (0.5, 0.999),
    "critics.decay_at": 0.8,
    "critics.penalty": 0.1,
    "critics.reconstruction": 10,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "aesop": AESOP | ALL_LAYERS | {"loss.gan": "relativistic", "discriminator.name": "vgg"},
    "aesop-256": AESOP | {"budget.patch": 256},
    "aesop-real": AESOP_REAL,
    "consistency": ESRGAN
    | {"loss.guidance": "consistency", "loss.fidelity": 1, "loss.perceptual": 0, "loss.downsampling": "matlab"},
    "esrgan": ESRGAN,
    "mdf": MDF,
    "ldl": LDL | ALL_LAYERS,
    "spsr": SPSR,
    "swinir-aesop": SWINIR_AESOP,
    "swinir-aesop-short": SWINIR_AESOP | {"budget.iterations": 200_000},
    "swinir-gan": SWINIR_LDL | {"loss.ldl": 0},
    "swinir-ldl": SWINIR_LDL,
}
# The terms of each method, which no size may drop.
TERMS = {
    **{key: {"fidelity", "ldl", "perceptual", "adversarial"} for key in RECIPES},
    **{key: {"fidelity", "perceptual", "adversarial"} for key in ("aesop-real", "esrgan", "swinir-gan")},
    "consistency": {"fidelity", "adversarial"},
    "mdf": {"fidelity"},
    "spsr": {"fidelity", "perceptual", "adversarial", "gradient", "gradient_adversarial", "branch"},
}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_full_recipe_is_the_papers(name: str) -> None:
    recipe = get_recipe(name, "full")
    assert {path: get(recipe, path) for path in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_each_recipe_is_whole_at_each_size_and_scale(name: str, size: str, scale: int) -> None:
    recipe = get_recipe(name, size, scale)
    assert (recipe.recipe, recipe.size, recipe.data.scale) == (name, size, scale)
    assert from_dict(to_dict(recipe)) == recipe
    assert {term for term, weight in recipe.loss.weights.items() if weight > 0} == TERMS[name]
    assert recipe.loss.uses_autoencoder == ("aesop" in name)
    assert recipe.autoencoder.factor == scale  # the bottleneck has the LR image's size
    assert recipe.eval_schedule.evaluate_every <= recipe.budget.iterations


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_any_recipe_can_be_shortened(name: str) -> None:
    full = get_recipe(name, "full")
    short = replace(full, {"budget.iterations": 10})
    rates = [[learning_rate(config, share) for share in (0.05, 0.15, 0.3, 0.55, 0.95)] for config in (full, short)]
    assert rates[0] == rates[1]  # the schedule keeps its shape


def learning_rate(config: RunConfig, share: float) -> float:
    passed = sum(share >= milestone for milestone in config.optimiser.milestones)
    expected = config.optimiser.learning_rate * config.optimiser.gamma**passed
    iterations = config.budget.iterations
    # The rate is set before each step, so a share is looked at where its iteration begins.
    return expected if iterations == 10 else learning_rate_at(config.optimiser, round(share * iterations), iterations)


@pytest.mark.parametrize(("size", "patch", "fidelity", "autoencoder"), [("full", 96, 96, 192), ("small", 96, 96, 96)])
def test_scale_3_keeps_the_lr_patch(size: str, patch: int, fidelity: int, autoencoder: int) -> None:
    wide, threes = get_recipe("aesop", size), get_recipe("aesop", size, 3)
    assert (threes.budget.patch, threes.fidelity.budget.patch) == (patch, fidelity)
    assert threes.autoencoder.budget.patch == autoencoder
    assert threes.budget.patch / 3 == wide.budget.patch / 4
    assert threes.budget.batch == wide.budget.batch


def test_scale_2_keeps_all_but_scale_and_factor() -> None:
    four, two = (flatten(to_dict(get_recipe("spsr", "full", scale))) for scale in (4, 2))
    assert {path for path in four if four[path] != two[path]} == {"data.scale", "autoencoder.factor"}


@pytest.mark.parametrize("size", SIZES)
def test_swinir_shares_the_rrdb_auto_encoder(size: str) -> None:
    keys = {stage_key(get_recipe(name, size), "autoencoder", "images") for name in ("aesop", "swinir-aesop")}
    assert len(keys) == 1


@pytest.mark.parametrize("size", ["full", "small"])
def test_spsr_starts_from_the_rrdb_generator_of_the_others(size: str) -> None:
    keys = {stage_key(get_recipe(name, size), "fidelity", "images") for name in ("aesop", "spsr", "esrgan", "ldl")}
    assert len(keys) == 1


@pytest.mark.parametrize("size", ["small", "tiny"])
def test_below_full_all_methods_see_as_many_pixels(size: str) -> None:
    seen = {
        name: (config.budget.iterations, config.budget.pixels_per_step)
        for name in RECIPES
        for config in [get_recipe(name, size)]
    }
    del seen["swinir-aesop-short"]
    if size == "tiny":
        del seen["mdf"]  # it has no fidelity stage before it
    if size == "tiny":
        assert seen.pop("aesop-256")[1] == 2 * seen["aesop"][1]
    assert len(set(seen.values())) == 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("aesop-real", "consistency", "mdf")])
def test_another_method_at_equal_budget(name: str, size: str) -> None:
    base = replace(get_recipe("aesop", size), {"budget.iterations": 90, "loss.perceptual": 0.125})
    other = replace(base, as_method(base, name))
    recipe = get_recipe(name, size)
    assert other.recipe == name
    for part in ("generator", "discriminator", "optimiser"):
        assert get(other, part) == get(recipe, part)
    assert other.loss.weights == recipe.loss.weights | {"perceptual": 0.125}  # what was set stays
    assert other.budget.iterations == (60 if name == "swinir-aesop-short" else 90)
    most = 2 if (name, size) == ("aesop-256", "tiny") else 1
    assert other.budget.pixels_per_step == most * base.budget.pixels_per_step
    assert other.seed == base.seed
    if other.loss.uses_autoencoder:
        keys = {stage_key(config, "autoencoder", "images") for config in (base, other)}
        assert len(keys) == 1


def test_a_missing_network_is_replaced_by_the_adversarial_term() -> None:
    tiny = get_recipe("aesop", "tiny")
    assert without_missing_networks(tiny, {"squeezenet"}) == tiny
    without = without_missing_networks(tiny, {"vgg19"})
    assert (without.loss.perceptual, without.loss.adversarial) == (0, 5e-3)


@pytest.mark.parametrize("size", SIZES)
def test_ldl_differs_from_aesop_in_the_fidelity_term_alone(size: str) -> None:
    aesop, ldl = (flatten(to_dict(get_recipe(name, size))) for name in ("aesop", "ldl"))
    different = {path for path in aesop if aesop[path] != ldl[path]}
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
    with pytest.raises(ConfigError, match=r"one of aesop, aesop-256, .*swinir-ldl, but got 'esrgan\+'"):
        get_recipe("esrgan+")
    with pytest.raises(ConfigError, match="scale must be 2, 3 or 4, but got 8"):
        get_recipe("esrgan", "full", 8)
    with pytest.raises(ConfigError, match="full, small, tiny, but got 'huge'"):
        get_recipe("aesop", "huge")


# --- tasks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("task", "strength", "field"), [("denoise", 25.0, "sigma"), ("jpeg", 10.0, "quality")])
def test_a_recipe_becomes_one_for_another_task(size: str, task: Task, strength: float, field: str) -> None:
    recipe = for_task(get_recipe("mdf", size), task, strength)
    assert (recipe.data.task, recipe.data.scale, getattr(recipe.data, field)) == (task, 1, strength)
    assert (recipe.generator.name, recipe.generator.features) == (
        "msrresnet",
        get_recipe("mdf", size).generator.features,
    )
    network = build_generator(recipe.generator, recipe.data.scale)
    assert network(torch.rand(1, 3, 9, 7)).shape == (1, 3, 9, 7)
    assert recipe.stages == ("critics", "adversarial")


def test_super_resolution_is_left_as_it_is() -> None:
    assert for_task(get_recipe("aesop"), *parse_task("sr")) == get_recipe("aesop")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("denoise", "task denoise needs its noise in levels of 255, such as --task denoise:25, but got 'denoise'"),
        ("jpeg:", "task jpeg needs its quality from 1 to 100"),
        ("sr:4", "--task takes sr, denoise:SIGMA"),
        ("deblur:3", "--task takes sr, denoise:SIGMA (such as denoise:25) or jpeg:QUALITY, but got 'deblur:3'"),
    ],
)
def test_a_task_without_its_distortion_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        parse_task(text)


@pytest.mark.parametrize(
    ("text", "problem"), [("denoise:0", "data.sigma"), ("jpeg:101", "data.quality"), ("jpeg:9.5", "data.quality")]
)
def test_a_distortion_out_of_range_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        for_task(get_recipe("mdf", "tiny"), *parse_task(text))
