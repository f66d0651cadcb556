"""MDF's first phase: the pyramid, the penalty and one iteration from the formulas; width inheritance; going on."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.config import CriticsConfig, DataConfig, RunConfig, replace
from study.config.recipes import for_task, mdf
from study.models.critics import Critic
from study.record.paths import WEIGHTS
from study.training.stages import critic_training
from study.training.stages.artifacts import ensure_artifact
from study.training.stages.critic_training import (
    distort,
    gradient_penalty,
    pyramid_sizes,
    train_critics,
    training_image,
)
from study.training.stages.critics import load_critics

SMALL = {"levels": 6, "used_levels": 5, "smallest_side": 14, "largest_side": 40, "features": 2, "largest_features": 4}


@pytest.fixture
def run() -> RunConfig:
    return replace(mdf("tiny"), {"critics": {**SMALL, "iterations": 3}})


def test_the_pyramid_is_the_published_one() -> None:
    """Longer side 250, coarsest shorter side 25, nine levels of one ratio (docs/methods/mdf.md)."""
    sizes = pyramid_sizes((1000, 1500), CriticsConfig())
    assert (sizes[-1], min(sizes[1])) == ((167, 250), 25)
    assert len(sizes) == 10
    ratio = (25 / (1000 / 6)) ** (1 / 8)
    for coarse, fine in pairwise(sizes):
        assert coarse[0] / fine[0] == pytest.approx(ratio, abs=0.02)
    assert pyramid_sizes((100, 120), CriticsConfig(levels=5, used_levels=5))[-1] == (100, 120)  # never enlarged


@pytest.mark.parametrize("size", [(25, 400), (24, 24), (30, 30)])
def test_an_image_too_small_for_the_pyramid_is_named_with_the_rule(size: tuple[int, int]) -> None:
    with pytest.raises(
        ValueError, match=r"9 levels from 25 px needs an image whose shorter side.*choose a larger image"
    ):
        pyramid_sizes(size, CriticsConfig())


def test_the_training_image_is_found_by_name_or_refused(run: RunConfig, open_context, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    images = open_context(tmp_path).train
    assert training_image(run, images) == "train0"
    assert training_image(replace(run, {"critics.image": "train1"}), images) == "train1"
    with pytest.raises(ValueError, match=r"'stone' is none of the 2 in train, such as train0, train1"):
        training_image(replace(run, {"critics.image": "stone"}), images)
    with pytest.raises(ValueError, match=r"critics.image train0: a pyramid of 16 levels"):
        training_image(replace(run, {"critics": {"levels": 16, "smallest_side": 35}}), images)


class Linear(nn.Module):
    """Scores whose slope is known: 3 r + 4 g at each pixel."""

    def forward(self, images: Tensor) -> Tensor:
        return 3 * images[:, :1] + 4 * images[:, 1:2]


def test_the_penalty_of_a_linear_critic_is_known() -> None:
    """The norm is over colours, by pixel: sqrt(3^2 + 4^2) = 5, so (5 - 1)^2."""
    real, fake = torch.rand(1, 3, 6, 5), torch.rand(1, 3, 6, 5)
    assert gradient_penalty(Linear(), real, fake).item() == pytest.approx(16)


def test_the_penalty_is_finite_and_has_finite_gradients_also_where_the_slope_is_zero() -> None:
    torch.manual_seed(0)
    for critic in (Critic(4), _dead(Critic(4))):
        image = torch.rand(1, 3, 16, 16)
        penalty = gradient_penalty(critic, image, image)
        penalty.backward()
        gradients = [parameter.grad for parameter in critic.parameters() if parameter.grad is not None]
        assert torch.isfinite(penalty)
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def _dead(critic: Critic) -> Critic:
    nn.init.zeros_(critic.tail.weight)
    return critic


def test_distortions_are_the_tasks() -> None:
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(distort(images, DataConfig()), images)
    torch.manual_seed(0)
    noise = distort(images, DataConfig(task="denoise", scale=1, sigma=25)) - images
    assert noise.std().item() == pytest.approx(2 * 25 / 255, rel=0.03)
    compressed = distort(images, DataConfig(task="jpeg", scale=1, quality=10))
    assert compressed.shape == images.shape
    assert 0.05 < (compressed - images).abs().mean() < 0.6
    assert torch.equal((compressed + 1) * 127.5, ((compressed + 1) * 127.5).round().clamp(0, 255)) or torch.allclose(
        (compressed + 1) * 127.5, ((compressed + 1) * 127.5).round(), atol=1e-3
    )


@pytest.mark.parametrize("task", [("sr", None), ("denoise", 25.0), ("jpeg", 10.0)])
def test_training_is_reproducible_and_ends_finite(run: RunConfig, open_context, tmp_path: Path, task: Any) -> None:  # type: ignore[no-untyped-def]
    config, context = for_task(run, *task), open_context(tmp_path)
    reached: list[Any] = []
    first, spent = train_critics(config, "key", context, tmp_path / "one", reached.append)
    torch.manual_seed(99)
    second, _ = train_critics(config, "key", context, tmp_path / "two")
    for name, value in first.state_dict().items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, second.state_dict()[name]), name
    assert spent.iterations == 18
    assert spent.pixels_seen == 9 * sum(h * w for h, w in pyramid_sizes((64, 72), config.critics)[1:])
    assert [progress.iteration for progress in reached] == [3, 6, 9, 12, 15, 18]
    assert {progress.iterations for progress in reached} == {18}
    assert reached[0].terms.keys() == {"critic", "penalty", "reconstruction"}


def test_a_level_starts_from_the_one_below_where_they_are_as_wide(
    run: RunConfig, open_context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    """Training then changes them; batch norm counts 12 passes an iteration, as in the released weights."""
    starts: list[dict[str, Tensor]] = []
    ends: list[dict[str, Tensor]] = []
    train_level = critic_training._train_level

    def watched(level: critic_training.Level, *rest: Any) -> None:
        starts.append({name: value.clone() for name, value in level.critic.state_dict().items()})
        train_level(level, *rest)
        ends.append({name: value.clone() for name, value in level.critic.state_dict().items()})

    monkeypatch.setattr(critic_training, "_train_level", watched)
    critics, _ = train_critics(run, "key", open_context(tmp_path), tmp_path / "partial")
    same = lambda one, other: all(torch.equal(value, other[name]) for name, value in one.items())  # noqa: E731
    assert [same(starts[level], ends[level - 1]) for level in (1, 2, 3, 5)] == [True] * 4
    assert starts[4]["tail.weight"].shape != ends[3]["tail.weight"].shape
    assert not any(same(start, end) for start, end in zip(starts, ends, strict=True))
    counts = [int(critic.head.norm.num_batches_tracked) for critic in critics.levels]  # type: ignore[union-attr, arg-type]
    assert counts == [36, 72, 108, 144, 36, 72]


def test_one_that_was_stopped_goes_on_to_the_same_critics(
    run: RunConfig, open_context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    whole, _ = train_critics(run, "key", open_context(tmp_path), tmp_path / "whole")

    def stop(progress: Any) -> None:
        if progress.iteration == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_critics(run, "key", open_context(tmp_path), tmp_path / "broken", stop)
    seen: list[int] = []
    continued, _ = train_critics(
        run, "key", open_context(tmp_path), tmp_path / "broken", lambda progress: seen.append(progress.iteration)
    )
    assert seen == [12, 15, 18]  # the level that it was at, from its start
    assert all(torch.equal(value, continued.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_level_learns_its_image(run: RunConfig, open_context, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The generator's reconstruction gets better, or the critics would see nothing but its faults."""
    config = replace(run, {"critics": {"iterations": 75, "levels": 2, "used_levels": 2, "features": 8}})
    errors: list[float] = []
    train_critics(
        config, "key", open_context(tmp_path), tmp_path, lambda done: errors.append(done.terms["reconstruction"])
    )
    assert len(errors) == 6
    assert errors[2] < 0.7 * errors[0]
    assert all(math.isfinite(error) for error in errors)


def test_critics_are_an_artifact_shared_by_trials(run: RunConfig, open_context, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    context = open_context(tmp_path)
    made = ensure_artifact(run, "critics", context)
    assert not made.reused
    other = replace(run, {"budget.iterations": 7, "critics.used_levels": 2, "data.scale": 2, "autoencoder.factor": 2})
    again = ensure_artifact(other, "critics", context)
    assert (again.key, again.reused) == (made.key, True)
    noisy = for_task(run, "denoise", 25)
    assert ensure_artifact(noisy, "critics", context).key != made.key
    loaded = load_critics(run, context)
    given = replace(run, {"critics.init": str(made.weights)})
    taken = ensure_artifact(given, "critics", context)
    assert taken.spent.iterations == 0
    assert taken.weights.name == WEIGHTS
    images = torch.rand(1, 3, 16, 16)
    pairs = zip(loaded.features(images, 5), load_critics(given, context).features(images, 5), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
