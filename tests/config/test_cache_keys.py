"""What determines the result of a stage, and the key of its artifact."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.config import (
    ConfigError,
    RunConfig,
    custom_loss_digest,
    custom_loss_path,
    decoder_as_run,
    digest,
    from_dict,
    known_paths,
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


def keys_of(config: RunConfig) -> dict[str, str]:
    return {stage: stage_key(config, stage, DATA) for stage in STAGES}


def changed_stages(before: RunConfig, after: RunConfig) -> str:
    """First letters of the stages whose keys differ; `u` for the auto-encoder, `d` for the adversarial one."""
    old, new = keys_of(before), keys_of(after)
    assert all(len(new[stage].removeprefix(f"{stage}-")) == 16 for stage in STAGES)
    letters = {"fidelity": "f", "autoencoder": "u", "critics": "c", "adversarial": "d"}
    return "".join(letters[stage] for stage in STAGES if old[stage] != new[stage])


def test_keys_are_the_same_in_another_process_without_torch(tiny: RunConfig) -> None:
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


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_valid_run_has_a_key_for_each_of_its_stages(tiny: RunConfig, factor: int) -> None:
    patches = {"budget.patch": 96, "autoencoder.budget.patch": 96, "fidelity.budget.patch": 48}
    keys = keys_of(replace(tiny, {"autoencoder.factor": factor, **patches}))
    assert len(set(keys.values())) == len(STAGES)


# --- what determines a stage -----------------------------------------------------------------------------------------

# Every field, a value other than tiny's, and the stages whose weights depend on it: f fidelity, u auto-encoder, d
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
    "data.train_lq": ("elsewhere", ""),  # the images' fingerprint says which they are
    "data.val_lq": ("elsewhere", ""),
    "data.task": ("denoise", "fcd"),
    "data.scale": (2, "fd"),
    "data.degradation": ("aesop-real", "fud"),
    "data.sigma": (25.0, "fcd"),
    "data.quality": (10, "fcd"),
    "generator.name": ("rrdb", "fd"),
    "generator.features": (8, "fd"),
    "generator.blocks": (1, "fd"),
    "generator.init_scale": (0.1, "fud"),
    "generator.init": (FILE, "fud"),
    "generator.bilinear_skip": (True, "fd"),
    "generator.head": ("espcn", "fd"),
    "generator.icnr": (True, "fd"),
    "generator.growth": (16, "fd"),
    "generator.unshuffle": (False, "fd"),
    "generator.depth": (2, "fd"),
    "generator.heads": (2, "fd"),
    "generator.window": (4, "fd"),
    "generator.mlp_ratio": (4.0, "fd"),
    "generator.drop_path": (0.2, "fd"),
    "generator.upsampler": ("nearest+conv", "fd"),
    "generator.residual_scale": (0.1, "fd"),
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
# The runs that have a field, where tiny has not.
RRDB, SWINIR = {"generator.name": "rrdb"}, {"generator.name": "swinir", "generator.heads": 4}
OF: dict[str, dict[str, Any]] = {
    "generator.bilinear_skip": RRDB,
    "generator.growth": RRDB,
    "generator.unshuffle": {**RRDB, "data.scale": 2},
    **{f"generator.{name}": SWINIR for name in ("depth", "heads", "window", "mlp_ratio", "drop_path", "upsampler")},
    "generator.residual_scale": {"generator.name": "edsr"},
    "loss.downsampling": {"loss.guidance": "consistency"},
    "loss.critics_range": {"loss.guidance": "mdf"},
    "loss.kl": {"loss.guidance": "probabilistic"},
    "loss.kl_form": {"loss.guidance": "probabilistic"},
}
# Fields of SPSR's generator, which tiny has not: any other value is refused.
UNCHANGED = {"loss.branch", "fusion_share"}


def test_every_field_has_a_row() -> None:
    assert list(DETERMINES) == known_paths()


@pytest.mark.parametrize("path", DETERMINES)
def test_a_key_changes_only_with_what_determines_the_stage(tiny: RunConfig, path: str) -> None:
    value, stages = DETERMINES[path]
    base = replace(tiny, OF.get(path, {}))
    variant = replace(base, {path: value} | WITH.get(path, {}))
    assert (variant != base) == (path not in UNCHANGED)
    assert changed_stages(base, variant) == stages


@pytest.mark.parametrize("path", [path for path in DETERMINES if path.startswith("autoencoder.")])
@pytest.mark.parametrize("unused", [{"loss.guidance": "pixel"}, {"loss.fidelity": 0}])
def test_an_unused_autoencoder_determines_nothing(tiny: RunConfig, path: str, unused: dict[str, Any]) -> None:
    without = replace(tiny, unused)
    assert without.stages == ("fidelity", "adversarial")
    assert "d" not in changed_stages(without, replace(without, {path: DETERMINES[path][0]}))
    assert "autoencoder" not in stage_part(without, "adversarial")


def test_an_unused_discriminator_determines_nothing(tiny: RunConfig) -> None:
    without = replace(tiny, {"loss.adversarial": 0})
    assert changed_stages(without, replace(without, {"discriminator.features": 4})) == ""


def test_a_generator_depends_on_no_field_of_another_kind() -> None:
    small = aesop("small")
    decoder = replace(small, {"autoencoder.decoder": "msrresnet"})
    assert changed_stages(decoder, replace(decoder, {"generator.init_scale": 0.7})) == "ud"  # of the decoder alone
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


def test_another_decoder_starts_from_another_generator(tiny: RunConfig) -> None:
    own = stage_key(tiny, "fidelity", DATA)
    for changes in ({"autoencoder.decoder": "rrdb"}, {"autoencoder.factor": 2}, {"autoencoder.features": 8}):
        other = decoder_as_run(replace(tiny, changes))
        assert stage_key(other, "fidelity", DATA) != own
    assert decoder_as_run(replace(tiny, {"autoencoder.factor": 2})).data.scale == 2


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


def test_training_of_given_weights_does_not_count(tiny: RunConfig) -> None:
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


# --- custom losses ----------------------------------------------------------------------------------------------------


def with_custom(config: RunConfig, path: Path | str) -> RunConfig:
    return replace(config, {"loss.guidance": "custom", "loss.custom": str(path)})


def test_a_custom_loss_counts_by_its_content_pinned_or_not(tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    texts = {"one.py": b"text", "folder/two.py": b"text", "three.py": b"text "}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    plain = [keys_of(with_custom(tiny, tmp_path / name)) for name in texts]
    pinned = [keys_of(pin_custom_loss(with_custom(tiny, name), tmp_path)) for name in texts]
    assert plain == pinned
    assert plain[0] == plain[1]
    assert [stage for stage in STAGES if plain[0][stage] != plain[2][stage]] == ["adversarial"]


def test_a_pinned_loss_keeps_its_digest_when_the_file_changes(tiny: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(b"text")
    pinned = pin_custom_loss(with_custom(tiny, path))
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


def test_a_run_without_a_custom_loss_keeps_its_former_key(tiny: RunConfig) -> None:
    assert "custom" not in stage_part(tiny, "adversarial")["loss"]
    assert pin_custom_loss(tiny) == tiny


# --- kinds of networks and losses ------------------------------------------------------------------------------------


def test_a_decoder_for_spsr_loses_what_only_spsr_has() -> None:
    config = replace(get_recipe("spsr", "small"), {"loss.guidance": "aesop", "loss.fidelity": 1})
    start = decoder_as_run(config)
    assert (start.generator.name, start.loss.branch, start.fusion_share) == ("rrdb", 0, 0)
    assert stage_key(start, "fidelity", DATA) == stage_key(config, "fidelity", DATA)


@pytest.mark.parametrize("guidance", ["pixel", "lr", "aesop", "bottleneck", "loss-map", "probabilistic"])
def test_guidance_decides_whether_there_is_an_autoencoder(tiny: RunConfig, guidance: str) -> None:
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


def test_critics_for_super_resolution_do_not_depend_on_the_scale(tiny: RunConfig) -> None:
    keys = {stage_key(replace(tiny, {"data.scale": scale}), "critics", DATA) for scale in (2, 4)}
    assert len(keys) == 1  # the distortion is none; up-sampling between levels is the pyramid's own


def test_stages_are_those_that_the_loss_needs(tiny: RunConfig) -> None:
    assert tiny.stages == ("fidelity", "autoencoder", "adversarial")
    mdf = replace(tiny, {"loss.guidance": "mdf"})
    assert mdf.stages == ("fidelity", "critics", "adversarial")
    assert replace(mdf, {"start": "scratch"}).stages == ("critics", "adversarial")
    assert replace(mdf, {"loss.fidelity": 0}).stages == ("fidelity", "adversarial")
    assert changed_stages(mdf, replace(mdf, {"critics.iterations": 5})) == "cd"
    assert changed_stages(mdf, replace(mdf, {"critics.used_levels": 5})) == "d"
