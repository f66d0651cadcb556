"""The cost model: fits with known truth, and schedules short enough to draw by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.cost_model import Conditions, Machine, exponent, fit_machine, modelled_costs, timetable
from benchmarks.operations import Operations
from study.config import RunConfig, Stage, replace
from study.config.recipes import aesop
from study.cost.forecast import Price, Work, works_of
from study.cost.measurement import Cost
from study.data import ImageSet
from study.training.artifact_store import ArtifactFolder


def counted(operations: int, calls: int = 0) -> Operations:
    return Operations({"generator forward": operations // 2, "generator backward": operations - operations // 2}, calls)


def test_a_fit_finds_the_machine_that_made_the_samples() -> None:
    truth = Machine(rate=2e9, call_seconds=1e-5)
    steps = [counted(10**7, 4000), counted(10**8, 1000), counted(3 * 10**9, 9000)]
    fitted = fit_machine([(step, truth.seconds(step)) for step in steps])
    assert truth.seconds(steps[0]) == pytest.approx(0.045)
    assert fitted.rate == pytest.approx(2e9)
    assert fitted.call_seconds == pytest.approx(1e-5)


def test_calls_never_take_negative_time() -> None:
    # With a thousand calls each, the line through them would begin below zero.
    fitted = fit_machine([(counted(1, 1000), 0.5), (counted(2, 1000), 2.5), (counted(3, 1000), 4.5)])
    assert fitted.call_seconds == 0
    slopes = [1 / 0.5, 2 / 2.5, 3 / 4.5]  # the least squares of s * slope - 1 are at s = sum(slope) / sum(slope^2)
    assert fitted.rate == pytest.approx(sum(slope**2 for slope in slopes) / sum(slopes))


def test_steps_that_get_faster_with_more_work_are_refused() -> None:
    with pytest.raises(ValueError, match="do not take longer the more operations"):
        fit_machine([(counted(1, 9), 3.0), (counted(2, 9), 2.0), (counted(3, 9), 1.0)])


def test_an_exponent_is_that_of_the_power() -> None:
    assert exponent([1, 2, 4, 8], [5, 20, 80, 320]) == pytest.approx(2)
    assert exponent([3, 5, 7], [4, 4, 4]) == pytest.approx(0, abs=1e-12)


def work(stage: Stage, key: str = "", *after: str, there: bool = False, iterations: int = 4) -> Work:
    return Work(stage, aesop("tiny"), iterations, there, key, after)


def price(seconds: float, evaluation: float = 0.0) -> Price:
    return Price(seconds, evaluation, 1, Cost(seconds / 4))


def test_a_timetable_is_the_one_drawn_by_hand() -> None:
    works = [
        work("fidelity", "f"),
        work("autoencoder", "a", "f"),
        work("adversarial", "", "f", "a"),
        work("adversarial", "", "f", "a"),
        work("adversarial", "", "f"),
    ]
    prices = [price(10), price(5), price(7), price(7), price(4)]
    # two devices:   fidelity 0-10 | trial 10-14, autoencoder 10-15 | trials 15-22 and 15-22
    table = timetable(works, prices, Conditions(slots=2))
    assert (table.seconds, table.first_trial_at, table.last_began_at) == (22, 10, 15)
    assert table.busy_seconds == 33
    # one device: everything, one after the other
    assert timetable(works, prices, Conditions(slots=1)).seconds == 33


def test_finished_artifacts_take_no_time() -> None:
    works = [work("fidelity", "f", there=True), work("adversarial", "", "f")]
    table = timetable(works, [price(0), price(7)], Conditions(slots=1, start_seconds=1))
    assert (table.seconds, table.first_trial_at) == (8, 0)


def test_no_job_overtakes_one_that_waits_for_devices() -> None:
    works = [work("fidelity", "f"), work("fidelity", "g"), work("adversarial", "", "f", "g")]
    prices = [price(8), price(8), price(3)]
    wide = Conditions(slots=3, workers={"fidelity": 2}, start_seconds=1)
    # each of two takes 1 + 8/2 on two devices, and the second does not fit beside the first; the trial's is warm
    table = timetable(works, prices, wide)
    assert table.seconds == 5 + 5 + 3
    assert table.busy_seconds == 2 * 5 + 2 * 5 + 3
    with pytest.raises(ValueError, match="a job needs 4 devices, but the study has 3"):
        timetable(works, prices, Conditions(slots=3, workers={"fidelity": 4}))


def test_a_device_starts_once() -> None:
    works, prices = [work("adversarial")] * 4, [price(5)] * 4
    table = timetable(works, prices, Conditions(slots=2, start_seconds=1))
    assert (table.seconds, table.busy_seconds) == (11, 22)


def test_distributed_jobs_evaluate_on_one_device_and_lose_efficiency() -> None:
    distributed = Conditions(slots=4, workers={"adversarial": 4}, efficiency=0.5)
    assert timetable([work("adversarial")], [price(8, evaluation=3)], distributed).seconds == 8 / (4 * 0.5) + 3


def test_a_death_costs_half_a_checkpoint_and_a_start() -> None:
    config = replace(aesop("tiny"), {"eval_schedule.checkpoint_every": 40})
    trial = Work("adversarial", config, 3600)
    priced = Price(3600.0, 0.0, 1, Cost(1.0))
    table = timetable([trial], [priced], Conditions(slots=1, start_seconds=0.0, deaths_an_hour=0.5))
    assert table.seconds == pytest.approx(3600 + 0.5 * 40 / 2)


def test_modelled_costs_are_operations_at_the_rate(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    val = ImageSet.loaded("noise", ("a",), (noise,))
    works = works_of([aesop("tiny")], val, ArtifactFolder(tmp_path))
    operations: dict[Stage, int] = {"fidelity": 100, "autoencoder": 300, "adversarial": 700}

    def count_step(config: RunConfig, stage: Stage) -> Operations:
        return counted(operations[stage], calls=5)

    def count_image(config: RunConfig, height: int, width: int) -> Operations:
        return counted(height * width)

    costs = modelled_costs(works, Machine(1e3, 0.1, metric_seconds=50), val, count_step, count_image)
    by_stage = {work.stage: costs[work.kind] for work in works}
    assert by_stage["autoencoder"].seconds == pytest.approx(0.8)
    assert by_stage["adversarial"].seconds == pytest.approx(1.2)
    assert by_stage["adversarial"].image_seconds == pytest.approx(20 + 50 * 0.02)
    assert by_stage["fidelity"].image_seconds == 0
