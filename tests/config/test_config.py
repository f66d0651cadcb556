"""The one door between plain dicts and configurations, the rules between fields, what an artifact's key hangs on."""

import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.config import (
    ConfigError,
    GeneratorConfig,
    RunConfig,
    custom_loss_digest,
    custom_loss_path,
    decoder_as_run,
    digest,
    flatten,
    from_dict,
    get,
    known_paths,
    parse_assignments,
    pin_custom_loss,
    replace,
    stage_key,
    stage_part,
    to_dict,
)
from study.config.recipes import aesop, get_recipe

STAGES = ("fidelity", "autoencoder", "critics", "adversarial")
DATA = "fingerprint-of-the-images"
FILE = __file__  # of weights; any file will do: its content counts


@pytest.fixture(scope="module")
def tiny() -> RunConfig:
    return aesop("tiny")


def keys_of(config: RunConfig) -> dict[str, str]:
    return {stage: stage_key(config, stage, DATA) for stage in STAGES}


def changed_stages(before: RunConfig, after: RunConfig) -> str:
    """First letters of the stages whose keys differ; `u` for the auto-encoder, `d` for the adversarial one."""
    old, new = keys_of(before), keys_of(after)
    assert all(len(new[stage].removeprefix(f"{stage}-")) == 16 for stage in STAGES)
    letters = {"fidelity": "f", "autoencoder": "u", "critics": "c", "adversarial": "d"}
    return "".join(letters[stage] for stage in STAGES if old[stage] != new[stage])


DENOISE = {"task": "denoise", "scale": 1, "sigma": 25}


# --- the door --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["full", "small", "tiny"])
def test_a_config_survives_real_json(size: str) -> None:
    config = aesop(size)
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert isinstance(again.optimiser.betas, tuple)


def test_a_key_is_the_same_in_another_process_and_config_needs_no_torch(tiny: RunConfig) -> None:
    code = (
        "import sys\n"
        "from study.config import stage_key\n"
        "from study.config.recipes import aesop\n"
        f"print(*(stage_key(aesop('tiny'), stage, {DATA!r}) for stage in {STAGES}))\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna', 'numpy'} & set(sys.modules)))\n"
        "print(hash('aesop'))"
    )
    # Another order of every set and dict of strings than here, whatever this process runs with.
    seed = "12" if os.environ.get("PYTHONHASHSEED") == "11" else "11"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert printed[0].split() == list(keys_of(tiny).values())
    assert printed[1] == "[]"
    assert int(printed[2]) != hash("aesop")  # the hash seed did take effect


def test_a_digest_is_the_sha256_of_the_sorted_compact_json() -> None:
    expected = hashlib.sha256(b'{"a":[1,null,true],"b":{"c":"x","d":0.5}}').hexdigest()[:16]
    assert digest({"b": {"d": 0.5, "c": "x"}, "a": [1, None, True]}) == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"a": math.nan})


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"loss.adverserial": 1e-2}, "'loss.adverserial'", "loss.adversarial"),
        ({"loss": {"adverserial": 1e-2}}, "'loss.adverserial'", "loss.adversarial"),
        ({"fidelity.budget.iteration": 9}, "'fidelity.budget.iteration'", "fidelity.budget.iterations"),
        ({"autoencoder.bottleneck_chanels": 6}, "'autoencoder.bottleneck_chanels'", "autoencoder.bottleneck_channels"),
        ({"lossy.adversarial": 1e-2}, "'lossy.adversarial'", "loss.adversarial"),
        ({"loss.adversarial.weight": 1}, "'loss.adversarial.weight'", "loss.adversarial"),
        ({"zzz": 1}, "'zzz'", "known here: recipe, size, seed"),
        (
            {"data.zzzzzzzzzzzzzz": 1},
            "'data.zzzzzzzzzzzzzz'",
            "known here: data.train, data.val, data.task, data.scale",
        ),
    ],
)
def test_an_unknown_field_is_named_with_its_path_and_a_close_one(
    tiny: RunConfig, changes: dict[str, Any], path: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(tiny, changes)
    assert f"unknown field {path}" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("recipe", 5, "valid string"),
        ("size", "huge", "'full', 'small' or 'tiny'"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 0.5, "valid integer"),
        ("data.scale", 5, "2, 3 or 4"),
        ("data.train", "", "at least 1 character"),
        ("data.train", None, "valid string"),
        ("generator.name", "srgan", "'rrdb', 'msrresnet', 'swinir', 'spsr', 'edsr' or 'srresnet'"),
        ("generator.features", 0, "greater than or equal to 1"),
        ("generator.blocks", "many", "valid integer"),
        ("generator.init_scale", 0, "greater than 0"),
        ("discriminator.features", 257, "less than or equal to 256"),
        ("loss.adversarial", True, "valid number"),
        ("budget.batch", "8", "valid integer"),
        ("autoencoder.bicubic_skip", "yes", "valid boolean"),
        ("budget", 3, "should be an object"),
        ("budget.iterations", 0, "greater than or equal to 1"),
        ("budget.batch", 4097, "less than or equal to 4096"),
        ("budget.patch", 7, "greater than or equal to 8"),
        ("autoencoder.bottleneck_channels", 0, "greater than or equal to 1"),
        ("autoencoder.factor", 1, "2, 3 or 4"),
        ("autoencoder.decoder", "unet", "'rrdb' or 'msrresnet'"),
        ("autoencoder.bicubic_skip", "perhaps", "valid boolean"),
        ("loss.guidance", "lpips", "'pixel', 'aesop', 'bottleneck'"),
        ("loss.gan", "wgan", "'relativistic', 'relativistic-joint' or 'vanilla'"),
        ("loss.criterion", "huber", "'l1' or 'l2'"),
        ("loss.adversarial", -0.1, "greater than or equal to 0"),
        ("loss.adversarial", math.nan, "finite number"),
        ("loss.perceptual", math.inf, "finite number"),
        ("loss.fidelity", None, "valid number"),
        ("optimiser.learning_rate", 0, "greater than 0"),
        ("optimiser.learning_rate", math.nan, "finite number"),
        ("optimiser.ema_decay", 1, "less than 1"),
        ("optimiser.schedule", "linear", "'constant', 'cosine' or 'steps'"),
        ("eval_schedule.evaluate_every", 0, "greater than or equal to 1"),
    ],
)
def test_a_wrong_type_or_range_names_field_rule_and_value(tiny: RunConfig, path: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(tiny, {path: value})
    assert str(caught.value).startswith(f"{path}: ")
    assert rule in str(caught.value)
    assert f"got {value!r}" in str(caught.value)


@pytest.mark.parametrize("betas", [[0.9], [0.9, 0.99, 0.999], [0.9, "much"], [0.9, 1.0], [-0.1, 0.9]])
def test_betas_are_two_numbers_below_one(tiny: RunConfig, betas: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"optimiser"):
        replace(tiny, {"optimiser.betas": betas})


def test_a_missing_field_is_named_and_all_faults_are_told_at_once(tiny: RunConfig) -> None:
    values = to_dict(tiny)
    del values["budget"]["patch"], values["loss"]
    values["seed"] = "first"
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    message = str(caught.value)
    assert "budget.patch: Field required" in message
    assert "loss: Field required" in message
    assert "seed: " in message


def test_a_config_cannot_be_written_to(tiny: RunConfig) -> None:
    with pytest.raises(ValueError, match="frozen"):
        tiny.loss.adversarial = 0.5


# --- rules between fields ------------------------------------------------------------------------------------------

PIXEL = {"loss.guidance": "pixel"}
RRDB_X2 = {
    "generator.name": "rrdb",
    "data.scale": 2,
    "loss.adversarial": 0,
    "autoencoder.factor": 4,
    **PIXEL,
}
RRDB_DECODER_X2 = {"autoencoder.decoder": "rrdb", "autoencoder.factor": 2, "data.scale": 2, "loss.adversarial": 0}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"budget.patch": 62}, ["budget.patch", "data.scale (4)", "got 62", "60 and 64"]),
        ({"fidelity.budget.patch": 50}, ["fidelity.budget.patch", "data.scale (4)", "got 50", "48 and 52"]),
        (
            {"autoencoder.factor": 3, "autoencoder.budget.patch": 66, "budget.patch": 64},
            ["budget.patch", "autoencoder.factor (3)", "got 64", "63 and 66"],
        ),
        (
            {"autoencoder.factor": 3, "autoencoder.budget.patch": 64, "budget.patch": 96},
            ["autoencoder.budget.patch", "autoencoder.factor (3)", "got 64", "63 and 66"],
        ),
        ({**RRDB_X2, "budget.patch": 62}, ["generator", "rrdb", "scale 2", "multiple of 4", "got 62"]),
        ({**RRDB_X2, "fidelity.budget.patch": 50}, ["generator", "rrdb", "multiple of 4", "got 50"]),
        ({**RRDB_DECODER_X2, "autoencoder.budget.patch": 62}, ["autoencoder.decoder", "multiple of 4", "got 62"]),
        ({**RRDB_DECODER_X2, "budget.patch": 62}, ["autoencoder.decoder", "multiple of 4", "got 62"]),
        ({"budget.patch": 48}, ["multiple of 32 below 256", "patch_size=48", "32 or 64"]),
        ({"budget.patch": 288}, ["64 from 256 on", "patch_size=288", "256 or 320"]),
        ({"budget.patch": 16}, ["patch_size=16", "nearest allowed: 32"]),
        (
            {"loss": {"fidelity": 0, "ldl": 0, "perceptual": 0, "adversarial": 0}},
            ["loss", "all weights", "at least one above 0"],
        ),
        (
            {"autoencoder.bottleneck_channels": 2, "autoencoder.bottleneck_weight": 0},
            ["autoencoder", "bicubic_skip", "bottleneck_channels is 2", "3 or more", "bicubic_skip to false"],
        ),
        (
            {"autoencoder.bottleneck_channels": 1, "autoencoder.bicubic_skip": False},
            ["autoencoder", "bottleneck_weight", "bottleneck_channels is 1", "bottleneck_weight to 0"],
        ),
        (
            {"loss.branch": 0.5},
            ["loss.branch", "generator spsr", "generator.name is msrresnet", "set loss.branch to 0"],
        ),
        ({"fusion_share": 0.1}, ["fusion_share", "generator spsr", "is msrresnet"]),
        (
            {"loss.gradient_adversarial": 0.1, "discriminator.name": "unet"},
            ["loss.gradient_adversarial", "VGG-style", "is unet", "choose vgg or spsr"],
        ),
        ({"discriminator.name": "unet", "budget.patch": 68}, ["UNetDiscriminator", "patch_size=68", "64 or 72"]),
        ({"data.degradation": "aesop-real"}, ["fidelity.budget.patch", "at least 55", "aesop-real", "got 48"]),
        (
            {"data.degradation": "real-esrgan", "fidelity.budget.patch": 96},
            ["budget.patch", "at least 74", "real-esrgan", "got 64"],
        ),
        (
            {"generator": {"name": "swinir", "features": 16, "heads": 3}},
            ["generator", "multiple of heads", "got 16 and 3"],
        ),
        ({"generator": {"name": "spsr", "blocks": 3}}, ["generator", "blocks must be at least 4 for spsr", "got 3"]),
        (
            {"generator": {"name": "swinir", "heads": 2, "upsampler": "nearest+conv"}, "data.scale": 2},
            ["generator.upsampler", "enlarges by 4 alone", "data.scale is 2", "use pixelshuffle"],
        ),
        (
            {"autoencoder": {"encoder": "bicubic", "bicubic_skip": False, "bottleneck_channels": 6}},
            ["autoencoder", "bottleneck_channels must be 3", "got 6"],
        ),
        (
            {"autoencoder": {"encoder": "bicubic", "bicubic_skip": False, "frozen_decoder": 1}},
            ["autoencoder", "nothing to train", "lower frozen_decoder"],
        ),
        ({"optimiser.schedule": "steps"}, ["optimiser", "needs milestones"]),
        ({"optimiser.milestones": [0.5, 0.25]}, ["optimiser", "rising shares", "[0.5, 0.25]", "write 0.125"]),
        ({"optimiser.milestones": [50000]}, ["optimiser", "between 0 and 1", "[50000.0]"]),
        ({"data.scale": 1}, ["data", "scale must be 2, 3 or 4 for task sr", "choose denoise or jpeg"]),
        ({"data.task": "jpeg"}, ["data", "task jpeg", "scale must be 1", "got 4"]),
        ({"data.task": "jpeg", "data.scale": 1}, ["data", "quality is not set", "--task jpeg:25"]),
        ({"data.sigma": 25}, ["data", "sigma belongs to task denoise", "the task is sr", "leave sigma out"]),
        (
            {"data": DENOISE, "generator.name": "rrdb"},
            ["data.task denoise", "keeps the images' size", "generator.name is rrdb"],
        ),
        ({"data": DENOISE, "generator.head": "espcn"}, ["with head native", "with head espcn"]),
        ({"generator": {"head": "espcn", "name": "edsr"}}, ["head espcn", "rrdb or msrresnet", "name is edsr"]),
        ({"generator": {"head": "nearest", "icnr": True}}, ["icnr", "head is nearest", "use espcn or sub-pixel"]),
        ({"start": "scratch", "generator.init": FILE}, ["start scratch", "generator.init", "leave one out"]),
        ({"loss.guidance": "ms-ssim", "budget.patch": 32}, ["budget.patch", "at least 33", "ms-ssim", "got 32"]),
        (
            {"loss.guidance": "consistency", "data.degradation": "aesop-real", "fidelity.budget.patch": 64},
            ["loss.guidance consistency", "data.degradation bicubic", "got sr and aesop-real"],
        ),
        (
            {"loss.guidance": "custom"},
            ["loss", "guidance custom", "defines loss(sr, hr, lq)", "loss.custom=my_loss.py"],
        ),
        (
            {"loss.custom": FILE},
            ["loss", FILE, "guidance custom alone reads", "guidance is aesop", "loss.custom to null"],
        ),
        ({"critics.levels": 7}, ["critics", "used_levels must not exceed levels (7)", "got 8"]),
        ({"critics.largest_side": 20}, ["critics", "largest_side must exceed smallest_side (25)", "got 20"]),
        (
            {"loss.perceptual_layers": dict.fromkeys(("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"), 0)},
            ["loss.perceptual_layers", "all layer weights are 0", "loss.perceptual to 0"],
        ),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused_with_a_remedy(
    tiny: RunConfig, changes: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(tiny, changes)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"loss.adversarial": 0, "budget.patch": 48},  # no discriminator, no rule of its patch
        {**PIXEL, "autoencoder.factor": 3},  # no auto-encoder, no rule of its factor
        {"loss.fidelity": 0, "autoencoder.factor": 3},
        {"autoencoder": {"factor": 3, "budget": {"patch": 96}}, "budget.patch": 96, "fidelity.budget.patch": 48},
        {**RRDB_X2, "budget.patch": 60},
        {**RRDB_X2, "generator.name": "msrresnet", "budget.patch": 62},  # MSRResNet takes odd sides
        {"autoencoder": {"bottleneck_channels": 1, "bicubic_skip": False, "bottleneck_weight": 0}},
        {"autoencoder": {"bottleneck_channels": 3, "bicubic_skip": True, "bottleneck_weight": 1}},
        {"loss": {"fidelity": 0, "ldl": 0, "perceptual": 0, "adversarial": 1e-3}},
        {"budget.patch": 256},
        {"data.degradation": "aesop-real", "generator.init": FILE},  # nothing cuts the fidelity stage's patches
        {"generator.init": FILE, "fidelity.budget.patch": 50, **PIXEL},
        {"generator.init": FILE, "fidelity.budget.patch": 50},  # the decoder is the same network, with the same start
        {"autoencoder.init": FILE, "autoencoder.budget.patch": 50},
        {"discriminator.name": "unet", "budget.patch": 72},
        {"loss.adversarial": 0, "loss.gradient_adversarial": 0.1},
        {"loss": {"fidelity": 0, "ldl": 0, "perceptual": 0, "adversarial": 0, "gradient": 1}},
    ],
)
def test_rules_hold_only_where_they_matter(tiny: RunConfig, changes: dict[str, Any]) -> None:
    config = replace(tiny, changes)
    assert all(get(config, path) == value for path, value in changes.items() if not isinstance(value, dict))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_valid_run_has_a_key_for_each_of_its_stages(tiny: RunConfig, factor: int) -> None:
    patches = {"budget.patch": 96, "autoencoder.budget.patch": 96, "fidelity.budget.patch": 48}
    keys = keys_of(replace(tiny, {"autoencoder.factor": factor, **patches}))
    assert len(set(keys.values())) == len(STAGES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"autoencoder": {"factor": 3, "budget": {"patch": 96}}, "budget.patch": 96, "fidelity.budget.patch": 64},
            r"fidelity\.budget\.patch .*autoencoder\.factor \(3\), but got 64",
        ),
        ({**RRDB_DECODER_X2, "fidelity.budget.patch": 50}, r"autoencoder\.decoder .*multiple of 4, but got 50"),
    ],
)
def test_the_decoders_fidelity_generator_must_be_trainable_too(
    tiny: RunConfig, changes: dict[str, Any], message: str
) -> None:
    # It up-scales by the auto-encoder's factor and trains on the fidelity stage's patches. Found out here, not when
    # a running study asks for the artifact's name.
    with pytest.raises(ConfigError, match=message):
        replace(tiny, changes)


# --- variants ------------------------------------------------------------------------------------------------------


def test_replace_makes_a_variant_and_leaves_its_argument_alone(tiny: RunConfig) -> None:
    before = to_dict(tiny)
    changes = {"loss.adversarial": 0.25, "budget": {"iterations": 7}, "optimiser": {"betas": [0.5, 0.9]}}
    variant = replace(tiny, changes)
    assert to_dict(tiny) == before
    assert changes == {"loss.adversarial": 0.25, "budget": {"iterations": 7}, "optimiser": {"betas": [0.5, 0.9]}}
    expected = flatten(before) | {"loss.adversarial": 0.25, "budget.iterations": 7, "optimiser.betas": [0.5, 0.9]}
    assert flatten(to_dict(variant)) == expected
    assert replace(tiny, {}) == tiny


def test_replace_checks_the_whole_once_so_that_fields_may_move_together(tiny: RunConfig) -> None:
    together = {"bottleneck_channels": 2, "bicubic_skip": False, "bottleneck_weight": 0}
    variant = replace(tiny, {f"autoencoder.{name}": value for name, value in together.items()})
    assert variant.autoencoder.bottleneck_channels == 2
    with pytest.raises(ConfigError):
        replace(tiny, {"autoencoder.bottleneck_channels": 2})


def test_get_reads_every_known_path_and_names_an_unknown_one(tiny: RunConfig) -> None:
    whole = replace(tiny, {"autoencoder.decoder_fidelity.seed": 3})  # the one part that may be absent
    plain = flatten(to_dict(whole))
    assert list(plain) == known_paths()
    for path, value in plain.items():
        found = get(whole, path)
        assert (list(found) if isinstance(found, tuple) else found) == value
    assert get(tiny, "autoencoder.budget") == tiny.autoencoder.budget
    for wrong in ("loss.adverserial", "loss.adversarial.x", "model_fields", "loss.__class__", ""):
        with pytest.raises(ConfigError, match="unknown field"):
            get(tiny, wrong)


def test_assignments_are_json_where_they_can_be_and_strings_where_not() -> None:
    arguments = [
        "loss.adversarial=1e-2",
        "budget.patch=64",
        "generator.name=rrdb",
        "data.val=null",
        "data.train=/photos/a=b",
        "autoencoder.bicubic_skip=true",
        "optimiser.betas=[0.9, 0.99]",
        ' recipe ="mine"',
        'budget={"batch": 2}',
        "data.train=",
        "seed=1",
        "seed=2",
    ]
    assert parse_assignments(arguments) == {
        "loss.adversarial": 0.01,
        "budget.patch": 64,
        "generator.name": "rrdb",
        "data.val": None,
        "data.train": "",
        "autoencoder.bicubic_skip": True,
        "optimiser.betas": [0.9, 0.99],
        "recipe": "mine",
        "budget": {"batch": 2},
        "seed": 2,
    }
    assert parse_assignments(["data.train=/photos/a=b"]) == {"data.train": "/photos/a=b"}


@pytest.mark.parametrize("argument", ["loss.adversarial", "=3", "  =3", ""])
def test_an_assignment_without_its_parts_is_refused_with_an_example(argument: str) -> None:
    with pytest.raises(ConfigError, match=r"FIELD=VALUE.*loss\.adversarial=1e-2") as caught:
        parse_assignments([argument])
    assert repr(argument) in str(caught.value)


def test_not_a_number_does_not_come_in_through_an_assignment(tiny: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"loss\.adversarial.*finite"):
        replace(tiny, parse_assignments(["loss.adversarial=NaN"]))


# --- what determines a stage -----------------------------------------------------------------------------------------

# Every field, a value other than tiny's, and the stages whose weights hang on it: f fidelity, u auto-encoder, d
# adversarial. Tiny's generator and decoder are MSRResNets with 16 features, 2 blocks.
FIDELITY = {
    "budget.iterations": 5,
    "budget.batch": 5,
    "budget.patch": 64,
    "optimiser.learning_rate": 1e-5,
    "optimiser.betas": [0.5, 0.9],
    "optimiser.weight_decay": 0.1,
    "optimiser.schedule": "constant",
    "optimiser.restarts": 2,
    "optimiser.minimum": 1e-6,
    "optimiser.milestones": [0.5],
    "optimiser.gamma": 0.25,
    "optimiser.warmup": 3,
    "optimiser.ema_decay": 0.5,
    "seed": 1,
}
DETERMINES: dict[str, tuple[Any, str]] = {
    "recipe": ("mine", ""),
    "size": ("small", ""),
    "seed": (1, "d"),
    "precision": ("bf16", "fud"),
    "data.train": ("elsewhere", ""),
    "data.val": ("elsewhere", ""),
    "data.task": ("denoise", "fcd"),
    "data.scale": (2, "fd"),
    "data.degradation": ("aesop-real", "fud"),
    "data.sigma": (25.0, "fcd"),
    "data.quality": (10, "fcd"),
    "generator.name": ("rrdb", "fd"),
    "generator.features": (8, "fd"),
    "generator.blocks": (1, "fd"),
    "generator.growth": (16, ""),
    "generator.init_scale": (0.1, "fud"),
    "generator.residual_scale": (0.1, ""),
    "generator.head": ("espcn", "fd"),
    "generator.icnr": (True, "fd"),
    "generator.unshuffle": (False, ""),
    "generator.bilinear_skip": (True, ""),
    "generator.depth": (2, ""),
    "generator.heads": (2, ""),
    "generator.window": (4, ""),
    "generator.mlp_ratio": (4.0, ""),
    "generator.drop_path": (0.2, ""),
    "generator.upsampler": ("nearest+conv", ""),
    "generator.init": (FILE, "fud"),
    "discriminator.name": ("unet", "d"),
    "discriminator.features": (4, "d"),
    "fidelity.budget.iterations": (5, "fud"),
    "fidelity.budget.batch": (5, "fud"),
    "fidelity.budget.patch": (64, "fud"),
    "fidelity.optimiser.learning_rate": (1e-5, "fud"),
    "fidelity.optimiser.betas": ([0.5, 0.9], "fud"),
    "fidelity.optimiser.weight_decay": (0.1, "fud"),
    "fidelity.optimiser.schedule": ("constant", "fud"),
    "fidelity.optimiser.restarts": (2, "fud"),
    "fidelity.optimiser.minimum": (1e-6, "fud"),
    "fidelity.optimiser.milestones": ([0.5], "fud"),
    "fidelity.optimiser.gamma": (0.25, "fud"),
    "fidelity.optimiser.warmup": (3, "fud"),
    "fidelity.optimiser.ema_decay": (0.5, "fud"),
    "fidelity.seed": (1, "fud"),
    "autoencoder.bottleneck_channels": (12, "ud"),
    "autoencoder.factor": (2, "ud"),
    "autoencoder.features": (8, "ud"),
    "autoencoder.blocks": (1, "ud"),
    "autoencoder.growth": (16, "ud"),
    "autoencoder.encoder": ("bicubic", "ud"),
    "autoencoder.decoder": ("rrdb", "ud"),
    "autoencoder.bicubic_skip": (False, "ud"),
    "autoencoder.bottleneck_weight": (0.5, "ud"),
    "autoencoder.scale_weight": (0.5, ""),
    "autoencoder.frozen_decoder": (0.5, "ud"),
    "autoencoder.init": (FILE, "ud"),
    "autoencoder.decoder_init": (FILE, "ud"),
    **{f"autoencoder.decoder_fidelity.{path}": (value, "ud") for path, value in FIDELITY.items()},
    "autoencoder.budget.iterations": (5, "ud"),
    "autoencoder.budget.batch": (5, "ud"),
    "autoencoder.budget.patch": (32, "ud"),
    "autoencoder.optimiser.learning_rate": (1e-5, "ud"),
    "autoencoder.optimiser.betas": ([0.5, 0.9], "ud"),
    "autoencoder.optimiser.weight_decay": (0.1, "ud"),
    "autoencoder.optimiser.schedule": ("constant", "ud"),
    "autoencoder.optimiser.restarts": (2, "ud"),
    "autoencoder.optimiser.minimum": (1e-6, "ud"),
    "autoencoder.optimiser.milestones": ([0.5], "ud"),
    "autoencoder.optimiser.gamma": (0.25, "ud"),
    "autoencoder.optimiser.warmup": (3, "ud"),
    "autoencoder.optimiser.ema_decay": (0.5, "ud"),
    "autoencoder.seed": (1, "ud"),
    "critics.image": ("stone", "c"),
    "critics.levels": (10, "c"),
    "critics.used_levels": (7, ""),
    "critics.smallest_side": (30, "c"),
    "critics.largest_side": (200, "c"),
    "critics.features": (16, "c"),
    "critics.largest_features": (64, "c"),
    "critics.iterations": (5, "c"),
    "critics.steps": (1, "c"),
    "critics.learning_rate": (1e-4, "c"),
    "critics.betas": ([0.9, 0.99], "c"),
    "critics.decay_at": (0.5, "c"),
    "critics.penalty": (1.0, "c"),
    "critics.reconstruction": (1.0, "c"),
    "critics.init": (FILE, "c"),
    "critics.seed": (1, "c"),
    "start": ("scratch", "d"),
    "loss.guidance": ("pixel", "d"),
    "loss.custom": (FILE, "d"),
    "loss.fidelity": (0.5, "d"),
    "loss.criterion": ("l2", "d"),
    "loss.downsampling": ("torch", "d"),
    "loss.critics_range": ("signed", "d"),
    "loss.kl": ("forward", "d"),
    "loss.kl_form": ("exact", "d"),
    "loss.ldl": (0.5, "d"),
    "loss.perceptual": (0.5, "d"),
    "loss.perceptual_network": ("vgg19", "d"),
    **{f"loss.perceptual_layers.conv{layer}": (0.25, "d") for layer in ("1_2", "2_2", "3_4", "4_4", "5_4")},
    "loss.perceptual_target": ("sharpened", "d"),
    "loss.adversarial": (0.5, "d"),
    "loss.gan": ("vanilla", "d"),
    "loss.gradient": (0.5, "d"),
    "loss.gradient_adversarial": (0.5, "d"),
    "loss.branch": (0.0, ""),
    "optimiser.learning_rate": (1e-5, "d"),
    "optimiser.betas": ([0.5, 0.9], "d"),
    "optimiser.weight_decay": (0.1, "d"),
    "optimiser.schedule": ("cosine", "d"),
    "optimiser.restarts": (2, "d"),
    "optimiser.minimum": (1e-6, "d"),
    "optimiser.milestones": ([0.5], "d"),
    "optimiser.gamma": (0.25, "d"),
    "optimiser.warmup": (3, "d"),
    "optimiser.ema_decay": (0.5, "d"),
    "budget.iterations": (5, "d"),
    "budget.batch": (5, "d"),
    "budget.patch": (32, "d"),
    "fusion_share": (0.0, ""),
    "eval_schedule.evaluate_every": (1, ""),
    "eval_schedule.evaluate_share": (0.5, ""),
    "eval_schedule.checkpoint_every": (1, ""),
}


# What a field needs beside it to be valid; neither matters to the keys of tiny's networks.
WITH = {
    "data.degradation": {"fidelity.budget.patch": 64},
    "autoencoder.encoder": {"autoencoder.bicubic_skip": False},
    "generator.features": {},
    "generator.icnr": {"generator.head": "espcn"},
    "data.task": {"data.scale": 1, "data.sigma": 50},
    "data.sigma": {"data.scale": 1, "data.task": "denoise"},
    "data.quality": {"data.scale": 1, "data.task": "jpeg"},
    "loss.custom": {"loss.guidance": "custom"},
}
# Fields of SPSR's generator, which tiny has not: any other value is refused.
UNCHANGED = {"loss.branch", "fusion_share"}


def test_it_is_said_of_every_field_what_it_determines() -> None:
    assert list(DETERMINES) == known_paths()


@pytest.mark.parametrize("path", DETERMINES)
def test_a_key_changes_with_what_determines_the_stage_and_only_with_that(tiny: RunConfig, path: str) -> None:
    value, stages = DETERMINES[path]
    variant = replace(tiny, {path: value} | WITH.get(path, {}))
    assert (variant != tiny) == (path not in UNCHANGED)
    assert changed_stages(tiny, variant) == stages


@pytest.mark.parametrize("path", [path for path in DETERMINES if path.startswith("autoencoder.")])
@pytest.mark.parametrize("unused", [{"loss.guidance": "pixel"}, {"loss.fidelity": 0}])
def test_without_an_autoencoder_nothing_of_it_determines_a_run(
    tiny: RunConfig, path: str, unused: dict[str, Any]
) -> None:
    without = replace(tiny, unused)
    assert without.stages == ("fidelity", "adversarial")
    assert "d" not in changed_stages(without, replace(without, {path: DETERMINES[path][0]}))
    assert "autoencoder" not in stage_part(without, "adversarial")


def test_without_a_discriminator_nothing_of_it_determines_a_run(tiny: RunConfig) -> None:
    without = replace(tiny, {"loss.adversarial": 0})
    assert changed_stages(without, replace(without, {"discriminator.features": 4})) == ""


def test_a_generator_hangs_on_no_field_of_the_other_architecture() -> None:
    small = aesop("small")
    assert changed_stages(small, replace(small, {"generator.init_scale": 0.7})) == ""
    assert changed_stages(small, replace(small, {"generator.growth": 16})) == "fd"


def test_other_images_make_other_artifacts(tiny: RunConfig) -> None:
    for stage in STAGES:
        assert stage_key(tiny, stage, DATA) != stage_key(tiny, stage, DATA + "!")


def test_the_order_of_fields_does_not_matter(tiny: RunConfig) -> None:
    def reverse(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: reverse(values[name]) for name in reversed(values)}

    turned = reverse(to_dict(tiny))
    assert list(turned) == list(reversed(to_dict(tiny)))
    assert keys_of(from_dict(turned)) == keys_of(tiny)


@pytest.mark.parametrize("size", ["full", "small", "tiny"])
def test_the_decoder_starts_from_the_runs_own_fidelity_generator(size: str) -> None:
    config = aesop(size)
    assert stage_key(decoder_as_run(config), "fidelity", DATA) == stage_key(config, "fidelity", DATA)


def test_a_decoder_of_another_kind_or_factor_starts_from_a_generator_of_its_own(tiny: RunConfig) -> None:
    own = stage_key(tiny, "fidelity", DATA)
    for changes in ({"autoencoder.decoder": "rrdb"}, {"autoencoder.factor": 2}, {"autoencoder.features": 8}):
        other = decoder_as_run(replace(tiny, changes))
        assert stage_key(other, "fidelity", DATA) != own
    assert decoder_as_run(replace(tiny, {"autoencoder.factor": 2})).data.scale == 2


def test_the_largest_patch_is_of_the_stages_that_run(tiny: RunConfig) -> None:
    config = replace(tiny, {"autoencoder.budget.patch": 128, "fidelity.budget.patch": 96})
    assert config.largest_patch == 128
    assert replace(config, PIXEL).largest_patch == 96
    assert replace(config, {"budget.patch": 256}).largest_patch == 256


def test_pixels_per_step_counts_all_patches(tiny: RunConfig) -> None:
    assert replace(tiny, {"budget": {"batch": 3, "patch": 64}}).budget.pixels_per_step == 12_288


# --- weights to start from -------------------------------------------------------------------------------------------


def test_a_file_to_start_from_counts_by_its_content(tiny: RunConfig, tmp_path: Path) -> None:
    keys = []
    for name, content in (("one.pth", b"weights"), ("two.pth", b"weights"), ("three.pth", b"others")):
        (tmp_path / name).write_bytes(content)
        keys.append(keys_of(replace(tiny, {"generator.init": str(tmp_path / name)})))
    assert keys[0] == keys[1]
    assert all(keys[0][stage] != keys[2][stage] for stage in tiny.stages)
    (tmp_path / "one.pth").write_bytes(b"changed since")
    assert keys_of(replace(tiny, {"generator.init": str(tmp_path / "one.pth")})) != keys[0]


def test_what_would_have_trained_the_given_weights_no_longer_counts(tiny: RunConfig) -> None:
    given = replace(tiny, {"generator.init": FILE})
    assert changed_stages(given, replace(given, {"fidelity.budget.iterations": 5})) == ""
    assert changed_stages(given, replace(given, {"fidelity.seed": 5})) == ""
    assert changed_stages(given, replace(given, {"generator.features": 8})) != ""
    whole = replace(tiny, {"autoencoder.init": FILE})
    assert changed_stages(whole, replace(whole, {"autoencoder.budget.iterations": 5})) == ""
    assert changed_stages(whole, replace(whole, {"autoencoder.growth": 5})) == "ud"


def test_a_decoder_that_is_the_generator_starts_from_the_same_file(tiny: RunConfig) -> None:
    given = replace(tiny, {"generator.init": FILE})
    assert given.decoder_is_generator
    assert decoder_as_run(given).generator.init == FILE
    other = replace(given, {"autoencoder.features": 8})
    assert not other.decoder_is_generator
    assert decoder_as_run(other).generator.init is None
    own = replace(other, {"autoencoder.decoder_init": "decoder.pth"})
    assert decoder_as_run(own).generator.init == "decoder.pth"


def test_a_missing_file_is_named_with_its_field(tiny: RunConfig) -> None:
    config = replace(tiny, {"autoencoder.init": "/nowhere/ae.pth"})
    with pytest.raises(ConfigError, match=r"autoencoder\.init must name a weight file, but /nowhere/ae\.pth"):
        stage_key(config, "autoencoder", DATA)


def test_an_unset_decoder_fidelity_is_the_runs_own(tiny: RunConfig) -> None:
    assert tiny.autoencoder.decoder_fidelity is None
    longer = replace(tiny, {"autoencoder.decoder_fidelity.budget.iterations": 7})
    expected = tiny.fidelity.model_copy(update={"budget": tiny.fidelity.budget.model_copy(update={"iterations": 7})})
    assert longer.autoencoder.decoder_fidelity == expected
    same = replace(tiny, {"autoencoder.decoder_fidelity": to_dict(tiny.fidelity)})
    assert keys_of(same) == keys_of(tiny)


# --- a loss of one's own ---------------------------------------------------------------------------------------------


def with_own(config: RunConfig, path: Path | str) -> RunConfig:
    return replace(config, {"loss.guidance": "custom", "loss.custom": str(path)})


def test_an_custom_loss_counts_by_its_content_pinned_or_not(tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    texts = {"one.py": b"text", "folder/two.py": b"text", "three.py": b"text "}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    plain = [keys_of(with_own(tiny, tmp_path / name)) for name in texts]
    pinned = [keys_of(pin_custom_loss(with_own(tiny, name), tmp_path)) for name in texts]
    assert plain == pinned
    assert plain[0] == plain[1]
    assert [stage for stage in STAGES if plain[0][stage] != plain[2][stage]] == ["adversarial"]


def test_a_pinned_loss_is_what_it_was_wherever_the_file_is_now(tiny: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(b"text")
    pinned = pin_custom_loss(with_own(tiny, path))
    sha256 = hashlib.sha256(b"text").hexdigest()
    assert pinned.loss.custom == f"{path}@sha256:{sha256}"
    assert custom_loss_digest(pinned.loss.custom) == f"sha256:{sha256}"
    assert custom_loss_path(pinned.loss.custom) == str(path)
    assert pin_custom_loss(pinned) == pinned
    before = keys_of(pinned)

    path.write_bytes(b"edited")
    assert keys_of(pinned) == before
    with pytest.raises(
        ConfigError, match=rf"loss\.custom names {path} .*{sha256}, but now it has .*leave the hash out"
    ):
        pin_custom_loss(pinned)
    path.unlink()
    assert keys_of(pinned) == before
    with pytest.raises(
        ConfigError, match=rf"loss\.custom must name a Python file, but {path} cannot be read .*correct"
    ):
        pin_custom_loss(pinned)


def test_a_run_without_an_custom_loss_has_the_key_that_it_had_before_there_could_be_one(tiny: RunConfig) -> None:
    assert "custom" not in stage_part(tiny, "adversarial")["loss"]
    assert pin_custom_loss(tiny) == tiny


# --- kinds of networks and losses ------------------------------------------------------------------------------------


def test_spsr_starts_from_an_rrdb_network_that_does_not_shrink_its_input() -> None:
    config = GeneratorConfig(name="spsr", features=8, blocks=5, growth=4)
    form = config.fidelity_form
    assert (form.name, form.features, form.blocks, form.growth, form.unshuffle) == ("rrdb", 8, 5, 4, False)
    rrdb = GeneratorConfig(name="rrdb", features=8, blocks=5, growth=4)
    assert form.determining(4) == rrdb.determining(4)  # at scale 4 there is nothing to shrink
    assert form.determining(2) != rrdb.determining(2)
    assert rrdb.fidelity_form == rrdb


def test_a_decoder_for_spsr_loses_what_only_spsr_has() -> None:
    config = replace(get_recipe("spsr", "small"), {"loss.guidance": "aesop", "loss.fidelity": 1})
    start = decoder_as_run(config)
    assert (start.generator.name, start.loss.branch, start.fusion_share) == ("rrdb", 0, 0)
    assert stage_key(start, "fidelity", DATA) == stage_key(config, "fidelity", DATA)


@pytest.mark.parametrize("guidance", ["pixel", "lr", "aesop", "bottleneck", "loss-map", "probabilistic"])
def test_guidance_says_whether_there_is_an_auto_encoder(tiny: RunConfig, guidance: str) -> None:
    config = replace(tiny, {"loss.guidance": guidance})
    assert config.loss.uses_autoencoder == (guidance not in ("pixel", "lr"))
    assert config.has_scale_head == (guidance == "probabilistic")
    assert not config.loss.uses_critics
    keys = {stage_key(run, "autoencoder", DATA) for run in (tiny, config)}
    assert len(keys) == (2 if guidance == "probabilistic" else 1)  # all others share one


def test_a_bicubic_encoder_has_no_bottleneck_to_train(tiny: RunConfig) -> None:
    bicubic = replace(tiny, {"autoencoder.encoder": "bicubic", "autoencoder.bicubic_skip": False})
    assert tiny.autoencoder.trains_bottleneck
    assert not bicubic.autoencoder.trains_bottleneck
    assert changed_stages(bicubic, replace(bicubic, {"autoencoder.bottleneck_weight": 0})) == ""


def test_stages_are_those_that_the_loss_needs(tiny: RunConfig) -> None:
    assert tiny.stages == ("fidelity", "autoencoder", "adversarial")
    mdf = replace(tiny, {"loss.guidance": "mdf"})
    assert mdf.stages == ("fidelity", "critics", "adversarial")
    assert replace(mdf, {"start": "scratch"}).stages == ("critics", "adversarial")
    assert replace(mdf, {"loss.fidelity": 0}).stages == ("fidelity", "adversarial")
    assert changed_stages(mdf, replace(mdf, {"critics.iterations": 5})) == "cd"
    assert changed_stages(mdf, replace(mdf, {"critics.used_levels": 5})) == "d"


def test_critics_for_super_resolution_do_not_know_the_scale(tiny: RunConfig) -> None:
    keys = {stage_key(replace(tiny, {"data.scale": scale}), "critics", DATA) for scale in (2, 4)}
    assert len(keys) == 1  # the distortion is none; up-sampling between levels is the pyramid's own
