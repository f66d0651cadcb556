"""Simulations on a table made by hand, the costs and hypervolumes of which a reader can check."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from rich.console import Console

from benchmarks.tabular.simulate import main
from benchmarks.tabular.simulator import Proposals, Strategy, simulate, study_rule
from benchmarks.tabular.table import (
    Curve,
    TabularBenchmark,
    TabularBenchmarkError,
    distance,
    load_benchmark,
    save_benchmark,
)
from study.search.asha import Rungs
from study.search.front import hypervolume
from study.search.samplers import SAMPLERS

ARTIFACTS = {"fidelity-a": 100.0, "autoencoder-b": 30.0, "autoencoder-c": 40.0}
GENERATOR = np.array([30.0, 0.5])
INTERPOLATION = np.array([[29.5, 0.3]])


def curve(number: int, *values: tuple[float, float], channels: int | None = None, weight: float = 0.1) -> Curve:
    """A trial whose points are 10 iterations and 2 device-seconds apart, each with one interpolation that cost 0.5."""
    count = len(values)
    params: dict[str, Any] = {"guidance": "pixel" if channels is None else "aesop", "weight": weight}
    upstream: tuple[str, ...] = ("fidelity-a",)
    if channels is not None:
        params["channels"], upstream = channels, ("fidelity-a", "autoencoder-b" if channels == 3 else "autoencoder-c")
    return Curve(
        number=number,
        params=params,
        iterations=np.arange(1, count + 1) * 10,
        seconds=np.arange(1, count + 1) * 2.0,
        values=np.array(values),
        upstream=upstream,
        interpolations=(INTERPOLATION,) * count,
        interpolation_seconds=np.full(count, 0.5),
    )


@pytest.fixture
def benchmark() -> TabularBenchmark:
    """Ten trials, three of which are worth something."""
    good = [
        curve(0, (29, 0.4), (28, 0.3), weight=0.01),
        curve(1, (29, 0.45), (27, 0.2), channels=3, weight=0.02),
        curve(2, (28, 0.4), (26, 0.1), channels=6, weight=0.03),
    ]
    poor = [curve(3 + index, (25, 0.6), (24, 0.55), weight=0.1 + index / 10) for index in range(7)]
    return TabularBenchmark(
        "by hand",
        (*good, *poor),
        ARTIFACTS,
        {"fidelity-a": GENERATOR},
        ("psnr_y", "lpips_alex"),
        ("maximize", "minimize"),
        (20.0, 0.9),
    )


PLAIN = Strategy(sampler="random", sharing=False, interpolation=False, recipe_first=False)


# --- costs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_without_sharing_every_trial_pays_for_its_upstream(
    benchmark: TabularBenchmark, seed: int, workers: int
) -> None:
    trace = simulate(benchmark, replace(PLAIN, workers=workers), seed)
    assert trace.seconds[-1] == 10 * 100 + 30 + 40 + 10 * 4
    assert (trace.drawn, trace.stopped) == (10, 0)
    assert trace.hypervolumes[-1] == pytest.approx(benchmark.final_hypervolume())
    assert (np.diff(trace.hypervolumes) >= 0).all()
    assert (np.diff(trace.seconds) >= 0).all()


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_with_sharing_each_artifact_is_paid_for_once(benchmark: TabularBenchmark, workers: int) -> None:
    trace = simulate(benchmark, replace(PLAIN, sharing=True, workers=workers), 0)
    assert trace.upstream_seconds == 100 + 30 + 40
    assert trace.seconds[-1] == 100 + 30 + 40 + 10 * 4


def test_a_stopped_trial_costs_what_it_was_trained(benchmark: TabularBenchmark) -> None:
    class AfterTheFirstPoint:
        def continues(self, trial: int, iteration: int, losses: np.ndarray) -> bool:
            assert iteration == 10
            return trial == 2

    strategy = replace(PLAIN, sharing=True, stopper=lambda benchmark, seed: AfterTheFirstPoint())
    trace = simulate(benchmark, strategy, 0)
    assert (trace.stopped, trace.seconds[-1]) == (9, 170 + 9 * 2 + 4)
    best = np.array([[30, 0.5], [29, 0.4], [28, 0.4], [26, 0.1]])
    assert trace.hypervolumes[-1] == pytest.approx(hypervolume(best, benchmark.reference, benchmark.directions))


def test_only_last_points_count_when_asked(benchmark: TabularBenchmark) -> None:
    trace = simulate(benchmark, replace(PLAIN, only_last=True), 0)
    last = np.array([[30, 0.5], [28, 0.3], [27, 0.2], [26, 0.1]])
    assert trace.hypervolumes[-1] == pytest.approx(hypervolume(last, benchmark.reference, benchmark.directions))


def test_the_last_point_on_the_front_is_interpolated_after_its_trial(benchmark: TabularBenchmark) -> None:
    """Trial 0 comes first, alone: its second point is on the front; of all ten, at most three others are."""
    trace = simulate(benchmark, replace(PLAIN, sharing=True, interpolation=True, recipe_first=True, workers=1), 1)
    assert trace.interpolation_seconds in (0.5, 1.0, 1.5, 2.0)
    assert trace.seconds[-1] == pytest.approx(170 + 40 + trace.interpolation_seconds)
    whole = np.concatenate([benchmark.final_front(), INTERPOLATION])
    assert trace.hypervolumes[-1] == pytest.approx(hypervolume(whole, benchmark.reference, benchmark.directions))
    assert trace.front.tolist().count([29.5, 0.3]) == 1
    improved_at = np.flatnonzero(np.diff(trace.hypervolumes) > 0)[:3]
    assert trace.seconds[improved_at[-1] + 1] == 100 + 4 + 0.5  # generator, two points, the interpolation


def test_costs_and_hypervolumes_can_be_looked_up(benchmark: TabularBenchmark) -> None:
    trace = simulate(benchmark, replace(PLAIN, workers=1), 0)
    final = trace.hypervolumes[-1]
    at_target = trace.cost_of(0.9 * final)
    assert trace.at(np.array([at_target]))[0] >= 0.9 * final
    assert trace.at(np.array([at_target - 1e-6]))[0] < 0.9 * final
    assert math.isinf(trace.cost_of(2 * final))
    assert trace.at(np.array([-1.0, 1e9])).tolist() == [0.0, final]
    assert trace.front_at(-1.0).shape == (0, 2)
    assert sorted(map(tuple, trace.front_at(1e9))) == sorted(map(tuple, benchmark.final_front()))
    first = trace.front_at(trace.seconds[0])
    assert hypervolume(first, benchmark.reference, benchmark.directions) == trace.hypervolumes[0]


def test_the_study_s_early_stopping_stops_poor_trials(benchmark: TabularBenchmark) -> None:
    rungs = benchmark.rungs(Rungs(10, 3))
    assert rungs == (10,)
    traces = [
        simulate(benchmark, replace(PLAIN, sharing=True, stopper=study_rule(rungs, 3)), seed) for seed in range(10)
    ]
    # All seven are equal and dominated; those that come before any better trial continue.
    assert all(4 <= trace.stopped <= 9 for trace in traces)
    assert np.mean([trace.stopped for trace in traces]) > 5


# --- draws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])  # a GP takes a second a draw
def test_every_sampler_draws_each_trial_once_and_the_same_by_its_seed(
    benchmark: TabularBenchmark, sampler: str
) -> None:
    def order(seed: int) -> list[int]:
        proposals, drawn = Proposals(benchmark, sampler, seed, recipe_first=False), []
        while (next_one := proposals.draw()) is not None:
            drawn.append(next_one.number)
            proposals.tell(next_one.number, next_one.values[-1] if len(drawn) % 3 else None)
        return drawn

    assert sorted(order(0)) == list(range(10))
    assert order(0) == order(0)
    assert order(0) != order(1)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_recipe_s_trial_comes_first(benchmark: TabularBenchmark, sampler: str) -> None:
    firsts = [Proposals(benchmark, sampler, seed).draw() for seed in range(3)]
    assert [first.number for first in firsts if first is not None] == [0, 0, 0]


def test_the_space_is_guessed_from_sampled_values_where_not_stated(benchmark: TabularBenchmark) -> None:
    kinds = {name: type(distribution).__name__ for name, distribution in benchmark.distributions.items()}
    assert kinds == {
        "channels": "CategoricalDistribution",
        "guidance": "CategoricalDistribution",
        "weight": "FloatDistribution",
    }
    assert benchmark.distributions["weight"].log  # type: ignore[attr-defined]
    assert benchmark.always == ("guidance", "weight")
    assert benchmark.conditions == {"channels": {("aesop",)}}


def test_the_nadir_is_the_front_s_worst_and_a_tenth_of_its_range(benchmark: TabularBenchmark) -> None:
    assert benchmark.final_front()[:, 0].min() == 26
    assert benchmark.nadir() == pytest.approx((26 - 0.1 * 4, 0.5 + 0.1 * 0.4))


def test_distance_counts_choices_and_what_is_missing_as_one() -> None:
    assert distance({"a": 0.25, "b": "x"}, {"a": 0.75, "b": "x"}) == 0.5
    assert distance({"b": "x"}, {"b": "y"}) == 1
    assert distance({"b": "x", "c": 3}, {"b": "x"}) == 1


# --- from a run directory ------------------------------------------------------------------------------------------


def write_run(folder: Path, *, reference: dict[str, float] | None = None, lpips: float | None = None) -> Path:
    """A run directory with three trials (one FAILED) of two points, tables as the report writes them."""
    objectives = [{"metric": "psnr_y", "direction": "maximize"}, {"metric": "lpips_alex", "direction": "minimize"}]
    metadata = {"name": "made", "objectives": objectives, "reference": reference or {"psnr_y": 20.0, "lpips_alex": 0.9}}
    (folder / "study.json").write_text(json.dumps(metadata))
    rows = [{"kind": "fidelity", "name": "fidelity-a", "psnr_y": 30.0, "lpips_alex": 0.5}]
    for trial in range(3):
        for index in (1, 2):
            found = {"psnr_y": 30.0 - trial - index, "lpips_alex": lpips or 0.5 - 0.1 * (trial + index)}
            base = {"trial": trial, "iteration": 10 * index, **found}
            rows.append({**base, "kind": "trial", "device_seconds": 2.0 * index})
            interpolation = {
                "kind": "interpolation",
                "device_seconds": 0.5,
                "interpolation.space": "weights",
                "interpolation.with": "fidelity",
            }
            rows.append({**base, **interpolation, "psnr_y": 29.9})
            rows.append({**base, **interpolation, "interpolation.space": "images", "psnr_y": 99.0})
    points = pd.DataFrame(rows)
    points["trial"] = points["trial"].astype("Int64")
    points["iteration"] = points["iteration"].astype("Int64")
    points.to_parquet(folder / "points.parquet")
    trials = {
        "trial": [0, 1, 2],
        "state": ["COMPLETE", "PRUNED", "FAILED"],
        "artifact.fidelity": ["fidelity-a"] * 3,
        "param.weight": [0.1, 0.2, 0.3],
        "param.channels": [3.0, None, 6.0],
    }
    pd.DataFrame(trials).to_parquet(folder / "trials.parquet")
    pd.DataFrame({"key": ["fidelity-a"], "training_seconds": [100.0]}).to_parquet(folder / "artifacts.parquet")
    return folder


def test_a_run_directory_is_a_table(tmp_path: Path) -> None:
    benchmark = load_benchmark(write_run(tmp_path))
    assert [each.number for each in benchmark.curves] == [0, 1]
    first = benchmark.curves[0]
    assert first.params == {"weight": 0.1, "channels": 3.0}
    assert benchmark.curves[1].params == {"weight": 0.2}
    assert first.values.tolist() == [[29.0, 0.4], [28.0, 0.3]]
    assert first.seconds.tolist() == [2.0, 4.0]
    assert [interpolations.tolist() for interpolations in first.interpolations] == [[[29.9, 0.4]], [[29.9, 0.3]]]
    assert first.interpolation_seconds.tolist() == [0.5, 0.5]
    assert benchmark.artifacts == {"fidelity-a": 100.0}
    assert first.upstream == ("fidelity-a",)
    assert load_benchmark(tmp_path, {"psnr_y": 10}).reference == (10.0, 0.9)


def test_the_space_is_the_one_that_trials_state(tmp_path: Path) -> None:
    trials = pd.read_parquet(write_run(tmp_path) / "trials.parquet")
    channels = {"kind": "int", "low": 3, "high": 12, "step": 3}
    weights = [{"kind": "float", "low": low, "high": 1.0, "log": True} for low in (0.01, 0.001)]
    drawn = [{"weight": weights[0], "channels": channels}, {"weight": weights[1]}, {}]
    trials.assign(distributions=[json.dumps(each) for each in drawn]).to_parquet(tmp_path / "trials.parquet")
    space = load_benchmark(tmp_path).distributions
    assert space["channels"] == IntDistribution(3, 12, step=3)
    assert space["weight"] == FloatDistribution(0.001, 1.0, log=True)  # the hull of both
    trace = simulate(load_benchmark(tmp_path), Strategy(), 0)
    assert trace.drawn == 2
    save_benchmark(tmp_path, tmp_path / "kept")
    assert load_benchmark(tmp_path / "kept").distributions == space


def test_a_saved_table_is_a_small_copy_that_simulates_alike(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    points = pd.read_parquet(write_run(run) / "points.parquet").assign(**{"config.seed": 0, "term.pixel": 0.1})
    points.to_parquet(run / "points.parquet")
    assert main([str(run), "--save", str(tmp_path / "kept")], Console(quiet=True)) == 0
    assert "config.seed" not in pd.read_parquet(tmp_path / "kept" / "points.parquet")
    first, second = load_benchmark(run), load_benchmark(tmp_path / "kept")
    for strategy in (PLAIN, Strategy()):
        assert simulate(first, strategy, 3).hypervolumes.tolist() == simulate(second, strategy, 3).hypervolumes.tolist()
    with pytest.raises(TabularBenchmarkError, match="exists already; name another"):
        main([str(run), "--save", str(tmp_path / "kept")], Console(quiet=True))


def test_unusable_tables_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(TabularBenchmarkError, match=r"study\.json does not exist: name a directory"):
        load_benchmark(tmp_path / "nowhere")
    run = write_run(tmp_path)
    with pytest.raises(
        TabularBenchmarkError, match="niqe is no objective of the study; its objectives are psnr_y, lpips_alex"
    ):
        load_benchmark(run, {"niqe": 3.0})
    (run / "artifacts.parquet").unlink()
    with pytest.raises(TabularBenchmarkError, match=r"artifacts\.parquet does not exist; make the tables with: python"):
        load_benchmark(run)


def test_a_constant_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TabularBenchmarkError, match=r"every point has the same lpips_alex, 0\.3: there is no trade-off"
    ):
        load_benchmark(write_run(tmp_path, lpips=0.3))


@pytest.mark.parametrize(
    ("metric", "value", "worst", "remedy"), [("psnr_y", 27.5, "27", "24.3"), ("lpips_alex", 0.45, "0.5", "0.55")]
)
def test_a_reference_point_inside_the_front_is_refused(
    tmp_path: Path, metric: str, value: float, worst: str, remedy: str
) -> None:
    with pytest.raises(
        TabularBenchmarkError, match=rf"{metric} {value:g} lies inside the front .*worst is {worst}: .*={remedy}$"
    ):
        load_benchmark(write_run(tmp_path), {metric: value})


def test_the_command_prints_costs_and_draws(tmp_path: Path) -> None:
    console = Console(record=True, width=140)
    figure = tmp_path / "figures" / "simulation.png"
    options = ["--sampler", "random", "tpe", "--seeds", "3", "--grace-period", "10", "--figure", str(figure)]
    assert main([str(write_run(tmp_path)), *options], console) == 0
    text = console.export_text()
    assert "device-seconds to reach 95% of the table's hypervolume" in text
    assert "2 trials in the table, 3 seeds" in text
    assert figure.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--grace-period", "20"], "--grace-period 20 leaves no rung below the 20 iterations"),
        (["--sampler", "grid"], "--sampler must be one of tpe, nsga2, .* but got grid"),
        (["--reference", "psnr_y"], "--reference must look like psnr_y=25"),
        (["--reduction-factor", "1", "--grace-period", "10"], "--reduction-factor must be above 1 and finite"),
    ],
)
def test_bad_options_are_refused_by_name(tmp_path: Path, options: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        main([str(write_run(tmp_path)), *options], Console(quiet=True))


@pytest.mark.parametrize("name", ["aesop-tiny", "wide-tiny"])
def test_the_committed_tables_can_be_simulated(name: str) -> None:
    benchmark = load_benchmark(Path(__file__).parents[2] / "benchmarks" / "tabular" / "tables" / name)
    assert len(benchmark.curves) >= 60
    assert benchmark.curves[0].params["loss.adversarial"] == 1e-3  # the recipe's value
    assert {len(curve.values) for curve in benchmark.curves} == {8}
    assert all(len(interpolations) for curve in benchmark.curves for interpolations in curve.interpolations)
    trace = simulate(benchmark, PLAIN, 0)
    assert trace.hypervolumes[-1] == pytest.approx(benchmark.final_hypervolume())
    trials = sum(curve.seconds[-1] for curve in benchmark.curves)
    upstream = sum(benchmark.artifacts[key] for curve in benchmark.curves for key in curve.upstream)
    assert trace.seconds[-1] == pytest.approx(trials + upstream)
