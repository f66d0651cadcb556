"""Interpolations of two generators: the weights and pixels that they must have, and what is left on disk."""

from collections.abc import Callable
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from study.config import RunConfig, replace
from study.data import to_uint8
from study.models import load_weights
from study.models.build import build_generator
from study.record.events import InterpolationEvaluated
from study.record.paths import RunDirectory, TrialDirectory
from study.record.points import FidelityPoint, TrialPoint
from study.training.context import RunContext
from study.training.evaluation import evaluate_generator, sample_window
from study.training.interpolation import Trained, evaluate_interpolations, interpolate_weights
from study.training.loop import Stopped
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import ensure_artifact
from study.training.stages.fidelity import load_generator
from study.training.stages.graph import artifact_key

SHARES = (0.25, 0.5, 0.75)


@pytest.fixture
def context(open_context: Callable[[Path], RunContext], tmp_path: Path) -> RunContext:
    return open_context(tmp_path / "artifacts")


@pytest.fixture
def parents(context: RunContext, small_run: RunConfig, tmp_path: Path) -> tuple[Trained, Trained]:
    """A fidelity generator and a point of a trial that started from it."""
    run = replace(small_run, {"loss.guidance": "pixel", "optimiser.learning_rate": 1e-2})
    ensure_artifact(run, "fidelity", context)
    train_adversarial(run, context, TrialDirectory(tmp_path, 0), lambda point: None)
    generator = FidelityPoint(artifact_key(run, "fidelity", context.train))
    return Trained(generator, run), Trained(TrialPoint(0, 6), run)


def interpolations_of(
    parents: tuple[Trained, Trained], context: RunContext, folder: Path, **more: Any
) -> dict[str, InterpolationEvaluated]:
    given: dict[str, Any] = {"spaces": ("weights", "images"), "shares": SHARES} | more
    made = evaluate_interpolations(*parents, context=context, run_dir=RunDirectory(folder), **given)
    return {event.point.name: event for event in made}


def test_weights_are_interpolated_by_the_share(
    parents: tuple[Trained, Trained], context: RunContext, tmp_path: Path
) -> None:
    run_dir = RunDirectory(tmp_path)
    first, second = (parent.load(context, run_dir) for parent in parents)
    mixed = interpolate_weights(first, second, 0.25, parents[1].load(context, run_dir)).state_dict()
    for name, tensor in first.state_dict().items():
        expected = 0.75 * tensor.double().numpy() + 0.25 * second.state_dict()[name].double().numpy()
        np.testing.assert_allclose(mixed[name].numpy(), expected, rtol=1e-6, atol=1e-8)


def test_counters_of_a_network_are_the_second_s() -> None:
    first, second, into = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    second.num_batches_tracked.fill_(7)
    assert interpolate_weights(first, second, 0.5, into).state_dict()["num_batches_tracked"] == 7


def test_each_interpolation_is_evaluated_and_stored(
    parents: tuple[Trained, Trained], context: RunContext, tmp_path: Path
) -> None:
    made = interpolations_of(parents, context, tmp_path)
    names = [f"{space}-{share}" for space in ("weights", "images") for share in ("2500", "5000", "7500")]
    assert list(made) == names
    run = parents[0].config
    kept = build_generator(run.generator, run.data.scale)
    pair = RunDirectory(tmp_path).pair(parents[0].point, parents[1].point)
    load_weights(kept, pair / "weights-5000.safetensors")
    test = context.val_pairs(run.data)
    again = evaluate_generator(kept.eval(), test, context.evaluator)
    assert (made["weights-5000"].metrics, made["weights-5000"].images) == (again.metrics, again.images)
    assert {event.samples for event in made.values()} == {f"interpolations/{pair.name}/{name}" for name in names}
    assert not list(pair.glob("images-*.safetensors"))


def test_images_are_interpolated_as_the_files_show_them(
    parents: tuple[Trained, Trained], context: RunContext, tmp_path: Path
) -> None:
    (event,) = interpolations_of(parents, context, tmp_path, spaces=("images",), shares=(0.25,)).values()
    run_dir = RunDirectory(tmp_path)
    test = context.val_pairs(parents[0].config.data)
    lq = test.tensors(0)[0]
    with torch.no_grad():
        images = [
            to_uint8(parent.load(context, run_dir)(lq).clamp(0, 1))[0].permute(1, 2, 0).numpy() for parent in parents
        ]
    top, left, side = sample_window(test.hr[0])
    mixed = (0.75 * images[0] + 0.25 * images[1])[top : top + side, left : left + side]
    shown = np.asarray(Image.open(tmp_path / event.samples / f"{test.names[0]}.png"))
    assert np.abs(shown - mixed).max() <= 0.5  # exact halves fall either way in float32
    assert (shown[mixed % 1 != 0.5] == np.round(mixed)[mixed % 1 != 0.5]).all()


def test_a_generator_interpolated_with_itself_keeps_its_metrics(
    parents: tuple[Trained, Trained], context: RunContext, small_run: RunConfig, tmp_path: Path
) -> None:
    own = evaluate_generator(
        load_generator(parents[0].config, context), context.val_pairs(small_run.data), context.evaluator
    )
    made = interpolations_of((parents[0], parents[0]), context, tmp_path, shares=(0.5,))
    for interpolation in made.values():
        assert interpolation.metrics == pytest.approx(own.metrics, rel=1e-6)


def test_weights_of_different_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="only weights of the same network can be interpolated"):
        interpolate_weights(torch.nn.Linear(2, 3), torch.nn.Linear(2, 4), 0.5, torch.nn.Linear(2, 4))


def test_a_request_to_stop_counts_between_interpolations(
    parents: tuple[Trained, Trained], context: RunContext, tmp_path: Path
) -> None:
    asked = iter([False, True])
    stopping = replace_field(context, stopping=lambda: next(asked))
    made = evaluate_interpolations(
        *parents, spaces=("weights",), shares=SHARES, context=stopping, run_dir=RunDirectory(tmp_path)
    )
    assert next(made).point.name == "weights-2500"
    with pytest.raises(Stopped, match=r"before the interpolation of weights at 0\.5"):
        next(made)


def test_the_parents_differ(parents: tuple[Trained, Trained], context: RunContext, tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    first, second = (parent.load(context, run_dir).state_dict() for parent in parents)
    assert any(not torch.equal(first[name], second[name]) for name in first)
