"""What a study will train, and what that will cost: counted from draws, measured on a few steps."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from study.config import Budget, RunConfig, Stage, to_dict
from study.data import ImageSet
from study.search.spaces import SearchSpace, in_turn
from study.training.artifact_store import ArtifactFolder
from study.training.evaluation import evaluation_spacing
from study.training.measurement import Cost
from study.training.stages import artifact_key, initial_weights, needs_of

_NO_COST = ("seed", "iterations", "optimiser", "cadence", "init")  # fields that do not change what a step costs
_STAGES: tuple[Stage, ...] = ("fidelity", "autoencoder", "critics", "adversarial")


@dataclass(frozen=True)
class Work:
    """A job of the study: an artifact or a trial.

    Attributes:
        stage, config: what to train.
        iterations: steps; 0 where weights are given.
        there: it is finished already.
    """

    stage: Stage
    config: RunConfig
    iterations: int
    there: bool = False

    @property
    def left(self) -> int:
        """Steps still to do."""
        return 0 if self.there else self.iterations

    @property
    def kind(self) -> str:
        """Names all works whose steps cost the same."""
        return f"{self.stage} {_costly(to_dict(self.config), self.stage)}"


@dataclass(frozen=True)
class StageForecast:
    """All works of a stage.

    Attributes:
        works: how many; `there` of them are finished already.
        iterations: steps that are left, in all.
        device_seconds: that they will take, evaluation included; NaN where nothing was measured.
        evaluation_seconds: the share of it that goes into judging points.
        stored_bytes: of weights that will be kept.
        checkpoint_bytes: of the largest checkpoint, of which each running job keeps one.
        peak_bytes: of GPU memory, the most that was measured.
    """

    stage: Stage
    works: int
    there: int
    iterations: int
    device_seconds: float
    evaluation_seconds: float
    stored_bytes: int
    checkpoint_bytes: int
    peak_bytes: int


def draw_configs(space: SearchSpace, base: RunConfig, trials: int, seed: int) -> list[RunConfig]:
    """Draw as many configurations as a study has trials, the recipe's own values first and the rest at random.

    A study's sampler learns as it goes; how many artifacts its trials share is alike, and never the same.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    study.enqueue_trial(space.own_values(base))
    configs = []
    for number in range(trials):
        study.sampler = in_turn(optuna.samplers.RandomSampler(seed=seed * 1_000_003 + number), space, number)
        configs.append(space.sample(study.ask(), base))
    return configs


def works_of(configs: Iterable[RunConfig], images: ImageSet, store: ArtifactFolder) -> list[Work]:
    """The jobs of a study: each artifact once, each trial."""
    works: dict[str, Work] = {}
    trials = []
    for config in configs:
        trials.append(Work("adversarial", config, config.budget.iterations))
        for need in needs_of(config, "adversarial", lambda run, stage: artifact_key(run, stage, images)):
            if need.key not in works:
                given = initial_weights(need.config, need.stage) is not None
                steps = 0 if given else _iterations(need.config, need.stage)
                works[need.key] = Work(need.stage, need.config, steps, store.has(need.key))
    return [*works.values(), *trials]


def measure_kinds(
    works: Sequence[Work], measure: Callable[[RunConfig, Stage], Cost], seconds: float
) -> dict[str, Cost]:
    """Measure one work of each kind, most steps left first, for as long as there is time, and at least one a stage."""
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


def forecast(works: Sequence[Work], costs: Mapping[str, Cost], test: ImageSet) -> list[StageForecast]:
    """Add up the works of each stage; a kind that was not measured costs as much a pixel as the stage's others."""
    return [_of_stage(stage, own, costs, test) for stage in _STAGES if (own := [w for w in works if w.stage == stage])]


def _of_stage(stage: Stage, works: Sequence[Work], costs: Mapping[str, Cost], test: ImageSet) -> StageForecast:
    examples = {work.kind: work for work in works}
    known = {kind: cost for kind, cost in costs.items() if kind in examples}
    rates = [cost.seconds / _pixels(examples[kind]) for kind, cost in known.items()]
    rate = sum(rates) / len(rates) if rates else float("nan")
    typical = max(known.values(), key=lambda cost: cost.weights_bytes, default=Cost(float("nan")))
    seconds = evaluation = 0.0
    stored = 0
    for work in works:
        if not work.left:
            continue
        cost = known.get(work.kind)
        seconds += work.left * (rate * _pixels(work) if cost is None else cost.seconds)
        points = _points(work, test)
        evaluation += points * len(test) * (typical if cost is None else cost).image_seconds
        stored += max(1, points) * (typical if cost is None else cost).weights_bytes
    return StageForecast(
        stage=stage,
        works=len(works),
        there=sum(work.there for work in works),
        iterations=sum(work.left for work in works),
        device_seconds=seconds + evaluation,
        evaluation_seconds=evaluation,
        stored_bytes=stored,
        checkpoint_bytes=max((cost.checkpoint_bytes for cost in known.values()), default=0),
        peak_bytes=max((cost.peak_bytes for cost in known.values()), default=0),
    )


def _points(work: Work, test: ImageSet) -> int:
    """How many points a trial will have."""
    return -(-work.iterations // evaluation_spacing(work.config, test)) if work.stage == "adversarial" else 0


def _iterations(config: RunConfig, stage: Stage) -> int:
    if stage == "critics":
        return config.critics.iterations * config.critics.levels
    return _budget(config, stage).iterations


def _budget(config: RunConfig, stage: Stage) -> Budget:
    match stage:
        case "fidelity":
            return config.fidelity.budget
        case "autoencoder":
            return config.autoencoder.budget
    return config.budget


def _pixels(work: Work) -> int:
    """HR pixels of a step; critics see one image, whatever the budget."""
    return 1 if work.stage == "critics" else _budget(work.config, work.stage).pixels_per_step


def _costly(values: Any, stage: Stage) -> Any:
    """A configuration reduced to what makes a step's cost: of weights only whether a term is on, and no seeds."""
    parts = {
        "fidelity": ("data", "generator", "fidelity"),
        "autoencoder": ("data", "autoencoder"),
        "critics": ("data", "critics"),
    }
    if stage in parts:
        values = {name: values[name] for name in parts[stage]}
    else:
        values = {name: value for name, value in values.items() if name != "fidelity"}
    return _shape(values)


def _shape(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _shape(part) for name, part in value.items() if name not in _NO_COST}
    if isinstance(value, list | tuple):
        return [_shape(part) for part in value]
    return value > 0 if isinstance(value, float) else value
