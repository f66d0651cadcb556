"""What a stage costs: measured where it would run, and nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from study.config import RunConfig, Stage, replace
from study.cost.measurement import measure
from study.models.build import build_autoencoder, build_generator
from study.training.context import RunContext


@pytest.mark.parametrize("stage", ["fidelity", "autoencoder", "adversarial"])
def test_a_stage_is_measured_and_leaves_nothing(
    stage: Stage, open_context: Callable[[Path], RunContext], small_run: RunConfig, tmp_path: Path
) -> None:
    before = torch.random.get_rng_state()
    cost = measure(small_run, stage, open_context(tmp_path / "artifacts"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert 0 < cost.seconds < 10
    assert not (tmp_path / "artifacts").exists()
    if stage == "autoencoder":
        network = build_autoencoder(small_run.autoencoder, scale_head=small_run.has_scale_head)
    else:
        network = build_generator(small_run.generator, small_run.data.scale)
    size = sum(tensor.numel() * 4 for tensor in network.state_dict().values())
    assert cost.weights_bytes == size
    assert cost.checkpoint_bytes > 3.9 * size  # the network, its average, two moments of Adam, a discriminator
    assert (cost.image_seconds > 0) == (stage == "adversarial")
    assert cost.peak_bytes == 0  # of a GPU, which is not here


def test_larger_patches_take_longer(
    open_context: Callable[[Path], RunContext], small_run: RunConfig, tmp_path: Path
) -> None:
    wide = replace(small_run, {"fidelity.budget": {"patch": 64, "batch": 16, "iterations": 4}})
    context = open_context(tmp_path)
    assert measure(wide, "fidelity", context).seconds > 2 * measure(small_run, "fidelity", context).seconds
