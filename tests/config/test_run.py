"""The rules between the fields of a run, and what follows from them."""

from typing import Any

import pytest
import torch

from study.config import ConfigError, RunConfig, get, replace
from study.models.build import build_discriminator

FILE = __file__  # of weights; any file will do: its content counts
DENOISE = {"task": "denoise", "scale": 1, "sigma": 25}
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
        ({"budget.patch": 48}, ["multiple of 32 below 256", "budget.patch=48", "32 or 64"]),
        ({"budget.patch": 288}, ["64 from 256 on", "budget.patch=288", "256 or 320"]),
        ({"budget.patch": 16}, ["budget.patch=16", "nearest allowed: 32"]),
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
        ({"discriminator.name": "unet", "budget.patch": 68}, ["UNetDiscriminator", "budget.patch=68", "64 or 72"]),
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
        (
            {"generator": {"head": "espcn", "name": "edsr"}},
            ["field 'generator.head' of generator edsr", "only rrdb and msrresnet"],
        ),
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


def test_the_largest_patch_is_of_the_stages_that_run(tiny: RunConfig) -> None:
    config = replace(tiny, {"autoencoder.budget.patch": 128, "fidelity.budget.patch": 96})
    assert config.largest_patch().px == 128
    assert replace(config, PIXEL).largest_patch().px == 96
    assert replace(config, {"budget.patch": 256}).largest_patch().px == 256


def test_pixels_per_step_counts_all_patches(tiny: RunConfig) -> None:
    assert replace(tiny, {"budget": {"batch": 3, "patch": 64}}).budget.pixels_per_step == 12_288


@pytest.mark.parametrize("name", ["vgg", "spsr"])
def test_a_batch_of_one_needs_more_than_one_value_a_channel(tiny: RunConfig, name: str) -> None:
    one = {"discriminator.name": name, "budget": {"batch": 1, "patch": 32}}
    with pytest.raises(
        ConfigError, match=r"budget\.batch must be at least 2 .* set budget.batch to 2, or budget.patch to 64"
    ):
        replace(tiny, one)
    for allowed in ({"budget.batch": 2}, {"budget.patch": 64}, {"discriminator.name": "unet"}):
        config = replace(tiny, {**one, **allowed})
        images = torch.rand(config.budget.batch, 3, config.budget.patch, config.budget.patch)
        assert build_discriminator(config.discriminator, config.budget.patch).train()(images).isfinite().all()
    assert replace(tiny, {**one, "loss.adversarial": 0}).budget.batch == 1  # no discriminator
