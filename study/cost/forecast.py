"""Forecast of a study's cost: jobs counted from sampled configurations, steps measured."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna

from study.config import RunConfig, Stage, to_dict
from study.cost.measurement import Cost
from study.data import ImageSet
from study.search.spaces import SearchSpace, stratify
from study.training.artifact_store import ArtifactFolder
from study.training.evaluation import evaluation_spacing
from study.training.stages.graph import STAGES, artifact_key, needs_of

_NO_COST = ("seed", "iterations", "optimiser", "eval_schedule", "init")
"""Fields that do not change the cost of a step."""


@dataclass(frozen=True)
class Work:
    """A job of the study: an artifact or a trial.

    Attributes:
        stage, config: to train.
        iterations: training steps; 0 where weights are given.
        finished: its result is stored already.
        key: of an artifact; empty for a trial.
        after: keys of the artifacts that it starts from.
    """

    stage: Stage
    config: RunConfig
    iterations: int
    finished: bool = False
    key: str = ""
    after: tuple[str, ...] = ()

    @property
    def left(self) -> int:
        """Steps that are left."""
        return 0 if self.finished else self.iterations

    @property
    def kind(self) -> str:
        """Name shared by all jobs whose steps cost the same."""
        return f"{self.stage} {_costly(to_dict(self.config), self.stage)}"


@dataclass(frozen=True)
class Price:
    """Cost of what is left of a job.

    Attributes:
        training_seconds: of its steps; NaN where nothing of its stage was measured.
        evaluation_seconds: of its points.
        points: number of evaluated points.
        cost: of a step and of storage: measured, or typical of the stage.
    """

    training_seconds: float
    evaluation_seconds: float
    points: int
    cost: Cost

    @property
    def seconds(self) -> float:
        """Training and evaluation."""
        return self.training_seconds + self.evaluation_seconds


@dataclass(frozen=True)
class StageForecast:
    """All jobs of a stage.

    Attributes:
        works: number of jobs; `finished` of them are stored already.
        iterations: steps that are left.
        device_seconds: of these steps and their evaluation; NaN where nothing was measured.
        evaluation_seconds: share of it that evaluation takes.
        stored_bytes: of weights that will be kept.
        checkpoint_bytes: of the largest checkpoint; each running job keeps two.
        peak_bytes: of GPU memory, the largest that was measured.
    """

    stage: Stage
    works: int
    finished: int
    iterations: int
    device_seconds: float
    evaluation_seconds: float
    stored_bytes: int
    checkpoint_bytes: int
    peak_bytes: int


def draw_configs(space: SearchSpace, base: RunConfig, trials: int, seed: int) -> list[RunConfig]:
    """Sample as many configurations as a study has trials, the recipe's own values first and the rest at random.

    The sampler of a study learns from results, so the number of artifacts that its trials share may differ.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.enqueue_trial(space.own_values(base))
    configs = []
    for number in range(trials):
        study.sampler = stratify(optuna.samplers.RandomSampler(seed=seed * 1_000_003 + number), space, number)
        configs.append(space.sample(study.ask(), base))
    return configs


def works_of(configs: Iterable[RunConfig], images: ImageSet, store: ArtifactFolder) -> list[Work]:
    """Return the jobs of a study: each artifact once, then each trial."""
    works: dict[str, Work] = {}
    trials = []
    for config in configs:
        needs = list(needs_of(config, "adversarial", lambda run, stage: artifact_key(run, stage, images)))
        after = tuple(need.key for need in needs)
        trials.append(Work("adversarial", config, config.budget.iterations, after=after))
        for need in needs:
            if need.key not in works:
                spec = STAGES[need.stage]
                steps = 0 if spec.initial_weights(need.config) else spec.iterations(need.config)
                works[need.key] = Work(need.stage, need.config, steps, store.has(need.key), need.key, need.after)
    return [*works.values(), *trials]


def measure_kinds(
    works: Sequence[Work], measure: Callable[[RunConfig, Stage], Cost], seconds: float
) -> dict[str, Cost]:
    """Measure one job of each kind, most steps left first, within a time limit, and at least one of each stage."""
    steps: dict[str, int] = {}
    examples = {work.kind: work for work in works if work.left}
    for work in works:
        steps[work.kind] = steps.get(work.kind, 0) + work.left
    costs: dict[str, Cost] = {}
    measured: set[Stage] = set()
    limit = time.monotonic() + seconds
    for kind, work in sorted(examples.items(), key=lambda item: -steps[item[0]]):
        if time.monotonic() < limit or work.stage not in measured:
            costs[kind] = measure(work.config, work.stage)
            measured.add(work.stage)
    return costs


def forecast(works: Sequence[Work], costs: Mapping[str, Cost], val: ImageSet) -> list[StageForecast]:
    """Sum the costs by stage; a kind that was not measured costs the stage's mean per pixel."""
    priced = list(zip(works, prices(works, costs, val), strict=True))
    by_stage = {stage: [pair for pair in priced if pair[0].stage == stage] for stage in STAGES}
    return [_of_stage(stage, pairs) for stage, pairs in by_stage.items() if pairs]


def prices(works: Sequence[Work], costs: Mapping[str, Cost], val: ImageSet) -> list[Price]:
    """Return the cost of each job; see `forecast`."""
    typical = {stage: _typical([work for work in works if work.stage == stage], costs) for stage in STAGES}
    return [_price(work, costs.get(work.kind), *typical[work.stage], val) for work in works]


def _typical(works: Sequence[Work], costs: Mapping[str, Cost]) -> tuple[float, Cost]:
    """Return a stage's mean seconds per pixel, and the cost of its measured kind with the largest weights."""
    known = {work.kind: (costs[work.kind], _pixels(work)) for work in works if work.kind in costs}
    rates = [cost.seconds / pixels for cost, pixels in known.values()]
    largest = max((cost for cost, _ in known.values()), key=lambda cost: cost.weights_bytes, default=Cost(float("nan")))
    return sum(rates) / len(rates) if rates else float("nan"), largest


def _price(work: Work, known: Cost | None, rate: float, typical: Cost, val: ImageSet) -> Price:
    cost = replace(typical, seconds=rate * _pixels(work)) if known is None else known
    if not work.left:
        return Price(0.0, 0.0, 0, cost)
    points = _points(work, val)
    return Price(work.left * cost.seconds, points * len(val) * cost.image_seconds, points, cost)


def _of_stage(stage: Stage, priced: Sequence[tuple[Work, Price]]) -> StageForecast:
    return StageForecast(
        stage=stage,
        works=len(priced),
        finished=sum(work.finished for work, _ in priced),
        iterations=sum(work.left for work, _ in priced),
        device_seconds=sum(price.seconds for _, price in priced),
        evaluation_seconds=sum(price.evaluation_seconds for _, price in priced),
        stored_bytes=sum(max(1, price.points) * price.cost.weights_bytes for work, price in priced if work.left),
        checkpoint_bytes=max(price.cost.checkpoint_bytes for _, price in priced),
        peak_bytes=max(price.cost.peak_bytes for _, price in priced),
    )


def _points(work: Work, val: ImageSet) -> int:
    """Return the number of points of a job."""
    if not STAGES[work.stage].yields_points:
        return 0
    return -(-work.iterations // evaluation_spacing(work.config, val))


def _pixels(work: Work) -> int:
    """Return the HR pixels of a step; 1 for a stage without batches."""
    budget = STAGES[work.stage].budget(work.config)
    return 1 if budget is None else budget.pixels_per_step


def _costly(values: Any, stage: Stage) -> Any:
    """Reduce a configuration to what determines the cost of a step: of loss weights, whether they are positive."""
    sections = STAGES[stage].sections
    return _shape(
        {
            name: value
            for name, value in values.items()
            if (name != "fidelity" if sections is None else name in sections)
        }
    )


def _shape(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _shape(part) for name, part in value.items() if name not in _NO_COST}
    if isinstance(value, list | tuple):
        return [_shape(part) for part in value]
    return value > 0 if isinstance(value, float) else value
