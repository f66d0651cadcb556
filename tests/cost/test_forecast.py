"""A forecast counted by hand on few configurations, with invented costs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.config import RunConfig, Stage, replace
from study.config.recipes import aesop
from study.cost.forecast import Work, draw_configs, forecast, measure_kinds, works_of
from study.cost.measurement import Cost
from study.data import ImageSet
from study.search.spaces import load_space
from study.training.artifact_store import ArtifactFolder
from study.training.stages.graph import artifact_key

BASE = replace(aesop("tiny"), {"eval_schedule": {"evaluate_every": 40, "evaluate_share": 100, "checkpoint_every": 40}})


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    return ImageSet.loaded("noise", ("a", "b"), (noise, noise[::-1].copy()))


def variant(channels: int = 3, *, patch: int = 64, weight: float = 1e-3, seed: int = 0) -> RunConfig:
    changes: dict[str, Any] = {"autoencoder.bottleneck_channels": channels, "loss.adversarial": weight}
    return replace(BASE, {**changes, "budget.patch": patch, "seed": seed})


def test_artifacts_are_counted_once_and_finished_ones_are_found(images: ImageSet, tmp_path: Path) -> None:
    store = ArtifactFolder(tmp_path)
    works = works_of([variant(3), variant(6), variant(3, seed=1)], images, store)
    assert [work.stage for work in works] == ["fidelity", "autoencoder", "autoencoder", *["adversarial"] * 3]
    assert [work.left for work in works] == [800, 200, 200, 160, 160, 160]
    key = artifact_key(BASE, "fidelity", images)
    store.partial_dir(key).mkdir(parents=True)
    store.publish(key)
    again = works_of([variant(3)], images, store)
    assert [(work.finished, work.left) for work in again] == [(True, 0), (False, 200), (False, 160)]


def test_jobs_whose_steps_cost_the_same_are_of_one_kind() -> None:
    def kind(config: RunConfig, stage: Stage = "adversarial") -> str:
        return Work(stage, config, 1).kind

    assert kind(variant(weight=1e-3)) == kind(variant(weight=0.5)) == kind(variant(seed=7))
    assert kind(variant(weight=0.0)) != kind(variant())  # the discriminator is not trained
    assert kind(variant(patch=32)) != kind(variant())
    assert kind(variant(patch=32), "fidelity") == kind(variant(), "fidelity")


def test_kinds_with_most_steps_and_each_stage_are_measured(images: ImageSet, tmp_path: Path) -> None:
    works = works_of([variant(3), variant(3, seed=1), variant(3, patch=32)], images, ArtifactFolder(tmp_path))
    measured: list[tuple[Stage, int]] = []

    def measure(config: RunConfig, stage: Stage) -> Cost:
        measured.append((stage, config.budget.patch))
        return Cost(1.0)

    assert len(measure_kinds(works, measure, seconds=60)) == 4
    measured.clear()
    costs = measure_kinds(works, measure, seconds=0)
    assert measured == [("fidelity", 64), ("adversarial", 64), ("autoencoder", 64)]
    assert len(costs) == 3


def test_sums_are_those_by_hand(images: ImageSet, tmp_path: Path) -> None:
    works = works_of([variant(3), variant(3, patch=32)], images, ArtifactFolder(tmp_path))
    large = next(work for work in works if work.stage == "adversarial")
    fidelity = next(work for work in works if work.stage == "fidelity")
    costs = {
        large.kind: Cost(2.0, peak_bytes=5, checkpoint_bytes=300, weights_bytes=100, image_seconds=0.5),
        fidelity.kind: Cost(0.1, checkpoint_bytes=200, weights_bytes=70),
    }
    stages = {stage.stage: stage for stage in forecast(works, costs, images)}
    assert stages["fidelity"].device_seconds == pytest.approx(80)
    assert math.isnan(stages["autoencoder"].device_seconds)  # nothing of it was measured
    # 160 steps of 2 s, 160 of a quarter of the pixels; four points each of two images of half a second
    assert stages["adversarial"].evaluation_seconds == pytest.approx(2 * 4 * 2 * 0.5)
    assert stages["adversarial"].device_seconds == pytest.approx(160 * 2.0 + 160 * 0.5 + 8)
    assert stages["adversarial"].stored_bytes == 2 * 4 * 100
    assert (stages["adversarial"].checkpoint_bytes, stages["adversarial"].peak_bytes) == (300, 5)
    assert (stages["adversarial"].works, stages["adversarial"].iterations) == (2, 320)


def test_samples_begin_with_the_recipe_and_repeat() -> None:
    space = load_space("aesop")
    base = space.base("tiny", {})
    draws = draw_configs(space, base, 5, seed=3)
    assert len(draws) == 5
    assert draws[0].loss == base.loss
    assert draws == draw_configs(space, base, 5, seed=3)
    assert len({str(draw) for draw in draws}) == 5
