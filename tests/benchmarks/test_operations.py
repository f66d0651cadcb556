"""Operations of a step: against sums over layers by hand, and against a step that computes."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.operations import count_image, count_step, counting_context
from study.config import Stage, replace
from study.config.recipes import get_recipe
from study.cost.measurement import give_random_upstream
from study.data import bicubic_downsample
from study.models.build import build_discriminator, build_generator
from study.training.context import RunContext
from study.training.stages.adversarial import prepare_adversarial


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return counting_context(tmp_path)


def forward_by_hand(network: nn.Module, *shape: int) -> int:
    """Twice the multiplications of convolutions and linear layers, from the shapes that go through them."""
    total = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += 2 * output.numel() * layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            total += 2 * output.numel() * layer.in_features

    for layer in network.modules():
        layer.register_forward_hook(add)
    with torch.no_grad():
        network(torch.rand(shape))
    return total


def test_a_pixel_method_costs_the_sum_of_its_layers(context: RunContext) -> None:
    config = replace(get_recipe("ldl", "tiny"), {"loss.perceptual": 0.0})
    parts = count_step(config, "adversarial", context).parts
    batch, patch = config.budget.batch, config.budget.patch
    generator = forward_by_hand(build_generator(config.generator, 4), batch, 3, patch // 4, patch // 4)
    assert parts["generator forward"] == parts["average reference"] == pytest.approx(generator, rel=0.01)
    # Backward has a product for the weights and one for the input of each layer, except the first, whose input is LQ.
    assert 1.9 < parts["generator backward"] / generator < 2
    discriminator = forward_by_hand(build_discriminator(config.discriminator, patch), batch, 3, patch, patch)
    assert parts["discriminator forward"] == 2 * discriminator  # of HR and of SR images
    # The generator's term passes through it to the SR images (1); its own step needs the gradients of weights for both
    # batches, and of all inputs except the first layer's (4).
    assert 4.5 < parts["discriminator backward"] / discriminator < 5
    assert set(parts) - {"other"} == {
        f"{part}" for part in (
            "generator forward", "generator backward", "average reference",
            "discriminator forward", "discriminator backward",
        )
    }  # fmt: skip


def test_the_autoencoder_runs_forward_twice_and_backward_once(context: RunContext) -> None:
    config = replace(get_recipe("aesop", "tiny"), {"loss.perceptual": 0.0})
    parts = count_step(config, "adversarial", context).parts
    # Frozen: its backward pass has no products for weights.
    assert parts["autoencoder forward"] == parts["autoencoder reference"]
    assert parts["autoencoder backward"] == pytest.approx(parts["autoencoder forward"], rel=0.02)
    pixel = count_step(replace(config, {"loss.guidance": "pixel"}), "adversarial", context).parts
    assert {part: count for part, count in parts.items() if "autoencoder" not in part and part != "other"} == {
        part: count for part, count in pixel.items() if part != "other"
    }


@pytest.mark.parametrize("recipe", ["aesop", "aesop-real", "spsr", "swinir-aesop"])
def test_a_step_without_values_counts_as_one_that_computes(recipe: str, context: RunContext) -> None:
    config = replace(get_recipe(recipe, "tiny"), {"budget.batch": 2})
    counted = count_step(config, "adversarial", context)
    give_random_upstream(config, "adversarial", context)
    state, step, batches = prepare_adversarial(config, context)
    state.iteration = config.budget.iterations - 1
    lq, hr = (torch.rand(2, 3, side, side) for side in (batches.patch // 4, batches.patch))
    with FlopCounterMode(display=False) as counter:
        step(state, lq, hr)
    assert counted.total == counter.get_total_flops()
    # At least a call for each convolution, forward and backward, and for each of Adam's updates.
    assert counted.calls > 2 * sum(isinstance(layer, nn.Conv2d) for layer in state.model.modules())


@pytest.mark.parametrize("stage", ["fidelity", "autoencoder"])
def test_training_costs_three_passes(stage: Stage, context: RunContext) -> None:
    config = get_recipe("aesop", "tiny")
    parts = count_step(config, stage, context).parts
    name = {"fidelity": "generator", "autoencoder": "autoencoder"}[stage]
    assert parts[f"{name} backward"] / parts[f"{name} forward"] == pytest.approx(2, rel=0.05)


def test_a_step_grows_with_its_patches(context: RunContext) -> None:
    def of(**changes: int) -> dict[str, int]:
        config = replace(get_recipe("aesop", "tiny"), {"budget": changes})
        return count_step(config, "adversarial", context).parts

    base = of(patch=64, batch=4)
    assert of(patch=64, batch=8) == {part: 2 * operations for part, operations in base.items()}
    wide = of(patch=128, batch=4)
    for part in ("generator forward", "generator backward", "average reference"):
        assert wide[part] == 4 * base[part]


def test_an_image_costs_a_forward_pass() -> None:
    config = get_recipe("aesop", "tiny")
    by_hand = forward_by_hand(build_generator(config.generator, 4), 1, 3, 12, 25)
    assert count_image(config, 48, 100).total == pytest.approx(by_hand, rel=0.01)


def test_computation_after_a_count_has_values(context: RunContext) -> None:
    config = replace(get_recipe("aesop", "tiny"), {"budget.patch": 96})  # a size whose matrices are not cached yet
    count_step(config, "adversarial", context)
    lq = bicubic_downsample(torch.ones(1, 3, 96, 96), 4)
    assert type(lq) is torch.Tensor
    torch.testing.assert_close(lq, torch.ones(1, 3, 24, 24))


def test_critics_are_not_counted(context: RunContext) -> None:
    with pytest.raises(ValueError, match="operations of stage critics are not counted"):
        count_step(get_recipe("mdf", "tiny"), "critics", context)
