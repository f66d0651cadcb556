"""The tables made of a journal, against the journal itself and a front by brute force."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.statistics.fronts import beats_reference, front_hypervolume, front_of, group_fronts, group_values
from analysis.statistics.tables import flatten, load_results


def _point(trial: int, iteration: int, psnr: float | None, swd: float | None) -> dict:
    metrics = {"psnr_y": psnr, "swd": swd}
    return {"event": "point", "trial": trial, "iteration": iteration, "metrics": metrics}


def _brute_force_front(points: pd.DataFrame) -> list[bool]:
    """Straight from the definition, one pair of points after the other."""
    counts = (points["kind"] == "fidelity") | ((points["kind"] == "trial") & (points["state"] != "FAILED"))
    rows = [(row.psnr_y, row.swd, ok) for row, ok in zip(points.itertuples(), counts, strict=True)]
    front = []
    for psnr, swd, ok in rows:
        rivals = [(p, s) for p, s, rival_ok in rows if rival_ok and p >= psnr and s <= swd and (p > psnr or s < swd)]
        front.append(bool(ok and not rivals))
    return front


def test_front_flag_equals_brute_force(full_run: Path):
    points = load_results(full_run).points
    assert points["front"].tolist() == _brute_force_front(points)
    assert 3 < points["front"].sum() < len(points)


@pytest.mark.parametrize("seed", range(5))
def test_front_flag_equals_brute_force_on_random_points(write_run, study_json, seed):
    random = np.random.default_rng(seed)
    values = random.choice(np.linspace(20, 30, 40), size=(60, 2))
    events = [_point(i % 7, i, *map(float, pair)) for i, pair in enumerate(np.unique(values, axis=0))]
    events.append({"event": "end", "trial": 3, "state": "FAILED"})
    points = load_results(write_run(study_json, events)).points
    assert points["front"].tolist() == _brute_force_front(points)


def test_points_of_failed_trials_and_bicubic_never_stand_on_the_front(write_run, study_json):
    events = [
        {"event": "reference", "name": "bicubic", "kind": "bicubic", "metrics": {"psnr_y": 40.0, "swd": 1.0}},
        _point(0, 100, 39.0, 2.0),
        {"event": "end", "trial": 0, "state": "FAILED", "cause": "diverged"},
        _point(1, 100, 25.0, 9.0),
        {"event": "end", "trial": 1, "state": "PRUNED"},
        _point(2, 100, 24.0, 8.0),
    ]
    points = load_results(write_run(study_json, events)).points
    assert points.loc[points["front"], "trial"].tolist() == [1, 2]
    assert points["state"].tolist() == ["COMPLETE", "FAILED", "PRUNED", "RUNNING"]


def test_points_without_a_finite_objective_are_left_out(write_run, study_json):
    events = [
        _point(0, 1, math.nan, 1.0),
        _point(0, 2, 30.0, None),
        _point(0, 3, math.inf, 2.0),
        _point(0, 4, 22.0, 30.0),
    ]
    results = load_results(write_run(study_json, events))
    assert results.points["front"].tolist() == [False, False, False, True]
    assert results.trials["best.psnr_y"].tolist() == [30.0]


def test_hypervolume_of_three_points_by_hand(write_run, study_json):
    # Corner (20 dB, 60). Boxes of 8 x 10, 5 x 25 and 2 x 40 overlap in their common parts:
    # 8 x 10 + 5 x (25 - 10) + 2 x (40 - 25) = 80 + 75 + 30.
    # The last two points lie beyond the corner in one objective each, and add nothing.
    values = [(28.0, 50.0), (25.0, 35.0), (22.0, 20.0), (19.0, 10.0), (29.0, 61.0)]
    results = load_results(write_run(study_json, [_point(i, 1, *pair) for i, pair in enumerate(values)]))
    front = front_of(results.points, results.facts)
    assert front_hypervolume(front, results.facts) == pytest.approx(185.0)
    assert front["psnr_y"].tolist() == [29.0, 28.0, 25.0, 22.0, 19.0]
    assert beats_reference(front, results.facts).tolist() == [False, True, True, True, False]


def test_groups_split_points_and_cost(full_run: Path):
    results = load_results(full_run)
    aesop, pixel = group_fronts(results.points, results.facts, "loss.guidance")
    assert (aesop.value, aesop.trials, pixel.value, pixel.trials) == ("aesop", 5, "pixel", 6)
    assert aesop.seconds_per_iteration == pytest.approx(0.14)
    assert pixel.seconds_per_iteration == pytest.approx(0.09)
    total = front_hypervolume(front_of(results.points, results.facts), results.facts)
    assert 0 < pixel.hypervolume < total
    assert aesop.device_seconds == pytest.approx(5 * 400 * 0.14)


def test_settings_of_a_stage_that_a_trial_never_used_do_not_group_it(full_run: Path):
    points = load_results(full_run).points
    values = group_values(points, "autoencoder.bottleneck_channels")
    pixel = (points["config.loss.guidance"] == "pixel") & (points["kind"] == "trial")
    assert set(values[pixel]) == {"none"}
    assert set(values[(points["config.loss.guidance"] == "aesop")]) == {"3", "12"}
    assert set(group_values(points, "no.such.path")) == {"none"}


def test_points_table_keeps_types_and_traces(full_run: Path, tmp_path: Path):
    load_results(full_run).points.to_parquet(tmp_path / "points.parquet", index=False)
    points = pd.read_parquet(tmp_path / "points.parquet", dtype_backend="numpy_nullable")
    kinds = {name: str(points[name].dtype) for name in points}
    assert kinds["trial"] == kinds["iteration"] == kinds["config.budget.patch"] == "Int64"
    assert kinds["psnr_y"] == kinds["swd"] == kinds["ssim_y"] == kinds["config.loss.adversarial"] == "Float64"
    assert kinds["front"] == kinds["config.loss.ldl"] == "boolean"
    row = points[(points["trial"] == 2) & (points["iteration"] == 300)].iloc[0]
    assert row["config.loss.layers"] == "[0.1, 1.0]"
    assert row["artifact.autoencoder"] == f"autoencoder-{12:016d}"
    assert row["term.adversarial"] == 4.1
    assert (row["iterations"], row["pixels_seen"]) == (300, 300 * 16 * 64 * 64)
    references = points[points["trial"].isna()]
    assert references["kind"].tolist() == ["bicubic", "fidelity"]
    assert references["iterations"].tolist()[1] == 600


def test_trials_table_has_a_row_per_trial_with_its_end(full_run: Path):
    trials = load_results(full_run).trials
    assert trials["trial"].tolist() == list(range(12))
    assert trials["state"].value_counts().to_dict() == {"COMPLETE": 9, "PRUNED": 1, "FAILED": 1, "RUNNING": 1}
    assert trials["points"].tolist() == [4] * 9 + [2, 1, 2]
    assert trials["cause"][10] == "loss.adversarial is not finite at iteration 131"
    assert trials["param.budget.patch"].tolist() == [48] * 4 + [64] * 4 + [48] * 4


def test_artifacts_are_counted_by_training_and_use(write_run, study_json):
    key = "fidelity-0123"
    event = {"event": "artifact", "key": key, "stage": "fidelity", "state": "COMPLETE"}
    budget = {"iterations": 600, "pixels_seen": 9, "device_seconds": 11.0}
    uses = [{"event": "trial", "trial": i, "upstream": {"fidelity": key}} for i in range(3)]
    events = [{**event, "reused": False, "budget": budget}, *uses, {**event, "reused": True}, uses[0]]
    artifacts = load_results(write_run(study_json, events)).artifacts
    assert artifacts[["key", "trained", "uses", "device_seconds"]].to_numpy().tolist() == [[key, 1, 3, 11.0]]
    assert artifacts["training_seconds"].tolist() == [11.0]


def test_what_an_artifact_of_another_study_took_is_told_apart_from_what_it_cost_here(write_run, study_json):
    event = {"event": "artifact", "key": "fidelity-0123", "stage": "fidelity", "state": "COMPLETE", "reused": True}
    budget = {"iterations": 600, "pixels_seen": 9, "device_seconds": 11.0}
    (artifact,) = load_results(write_run(study_json, [{**event, "budget": budget}])).artifacts.to_dict("records")
    assert np.isnan(artifact["device_seconds"])
    assert (artifact["training_seconds"], artifact["trained"]) == (11.0, 0)


def test_an_empty_study_has_tables_with_all_columns(write_run, study_json):
    results = load_results(write_run(study_json, []))
    assert len(results.points) == len(results.trials) == len(results.artifacts) == 0
    assert {"trial", "state", "iteration", "psnr_y", "swd", "front"} <= set(results.points.columns)
    assert front_hypervolume(front_of(results.points, results.facts), results.facts) == 0.0


def test_flatten_joins_names_with_dots():
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [1]}, "config") == {
        "config.a.b": 1,
        "config.a.c.d": None,
        "config.e": [1],
    }
