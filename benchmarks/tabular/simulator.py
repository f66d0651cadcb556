"""Simulation of a search on a tabular benchmark: what a sampler, rungs, sharing and interpolation cost and find.

Trials, points and costs are the table's. The simulation decides which trials are drawn, in which order, how far each is
trained, and what is charged. A sampler's draw becomes the nearest trial of the table that was not drawn before, so each
trial is drawn at most once.
"""

import heapq
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from benchmarks.tabular.table import Curve, TabularBenchmark, distance
from study.search.asha import MultiObjectiveASHA, TieBreak
from study.search.front import Direction, as_losses, hypervolume, non_dominated
from study.search.samplers import make_sampler


class Stopper(Protocol):
    """A rule of early stopping."""

    def continues(self, trial: int, iteration: int, losses: np.ndarray) -> bool:
        """Decide by a trial's point; `losses` are its objectives, less is better."""
        ...


MakeStopper = Callable[[TabularBenchmark, int], Stopper]


@dataclass(frozen=True)
class Strategy:
    """A search method.

    Attributes:
        sampler: one of `samplers.SAMPLERS`.
        sharing: train each upstream artifact once; otherwise each trial is charged for all that it starts from.
        stopper: makes the rule of early stopping from the benchmark and a seed; None: no early stopping.
        interpolation: after a trial, interpolate the last of its points on the front with its fidelity generator.
        recipe_first: draw the table's first trial first, which has the recipe's values.
        only_last: count only the last point of a finished trial, as tools that keep one result a trial.
        workers: number of parallel trials.
    """

    sampler: str = "tpe"
    sharing: bool = True
    stopper: MakeStopper | None = None
    interpolation: bool = True
    recipe_first: bool = True
    only_last: bool = False
    workers: int = 2


@dataclass(frozen=True)
class Trace:
    """The front over the cost of a simulated search.

    Attributes:
        seconds: device-seconds spent when each value was reached, ascending, shape (n,).
        hypervolumes: at that cost, non-decreasing, shape (n,).
        drawn, stopped: numbers of trials.
        upstream_seconds, interpolation_seconds: device-seconds of upstream stages, of interpolations.
        fronts: objectives of the front at that cost, each of shape (points, objectives).
    """

    seconds: np.ndarray
    hypervolumes: np.ndarray
    drawn: int
    stopped: int
    upstream_seconds: float
    interpolation_seconds: float
    fronts: tuple[np.ndarray, ...]

    @property
    def front(self) -> np.ndarray:
        """Objectives of the final front, shape (points, objectives)."""
        return self.fronts[-1]

    def front_at(self, seconds: float) -> np.ndarray:
        """Return the objectives of the front found within a cost; empty before the first point."""
        found = int(np.searchsorted(self.seconds, seconds, side="right"))
        return self.fronts[found - 1] if found else self.fronts[0][:0]

    def cost_of(self, target: float) -> float:
        """Return the device-seconds until a hypervolume is reached; infinite if it never is."""
        reached = np.flatnonzero(self.hypervolumes >= target)
        return float(self.seconds[reached[0]]) if len(reached) else float("inf")

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """Return the hypervolume at given costs; 0 before the first point."""
        index = np.searchsorted(self.seconds, seconds, side="right")
        return np.concatenate([[0.0], self.hypervolumes])[index]


def study_rule(rungs: tuple[int, ...], reduction_factor: float, tie_break: TieBreak = "hypervolume") -> MakeStopper:
    """Return the early stopping of `study/sweep.py` (`study/search/asha.py`)."""

    def make(benchmark: TabularBenchmark, seed: int) -> Stopper:
        directions: list[Direction] = ["minimize"] * len(benchmark.directions)
        corner = as_losses(np.array([benchmark.reference]), benchmark.directions)[0]
        return _StudyRule(MultiObjectiveASHA(rungs, reduction_factor, directions, tuple(corner), tie_break, seed))

    return make


@dataclass
class _StudyRule:
    asha: MultiObjectiveASHA

    def continues(self, trial: int, iteration: int, losses: np.ndarray) -> bool:
        decision = self.asha.on_result(trial, iteration, tuple(losses))
        return decision is None or decision.go_on


def simulate(benchmark: TabularBenchmark, strategy: Strategy, seed: int, *, until: float = math.inf) -> Trace:
    """Simulate one search.

    Args:
        benchmark: the table.
        strategy: the search method.
        seed: of the sampler and of early stopping.
        until: a hypervolume at which the simulation ends.
    """
    return _Simulation(benchmark, strategy, seed, until).run()


@dataclass
class _Simulation:
    benchmark: TabularBenchmark
    strategy: Strategy
    seed: int
    until: float
    seconds: float = 0.0
    upstream_seconds: float = 0.0
    interpolation_seconds: float = 0.0
    stopped: int = 0
    _fronts: list[np.ndarray] = field(default_factory=list)
    _trace: list[tuple[float, float]] = field(default_factory=list)
    _ready_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strategy = self.strategy
        self._proposals = Proposals(self.benchmark, strategy.sampler, self.seed, recipe_first=strategy.recipe_first)
        make = self.strategy.stopper
        self._stopper = None if make is None else make(self.benchmark, self.seed)

    def run(self) -> Trace:
        # Events by simulated time: (time, the worker's number, which breaks ties, the worker's generator).
        queue = [(0.0, number, self._work()) for number in range(self.strategy.workers)]
        heapq.heapify(queue)
        self._now = 0.0
        while queue and not (self._trace and self._trace[-1][1] >= self.until):
            self._now, number, work = heapq.heappop(queue)
            duration = next(work, None)
            if duration is not None:
                heapq.heappush(queue, (self._now + duration, number, work))
        seconds, volumes = (np.array(column) for column in zip(*self._trace, strict=True))
        drawn, fronts = self._proposals.drawn, tuple(self._fronts)
        return Trace(seconds, volumes, drawn, self.stopped, self.upstream_seconds, self.interpolation_seconds, fronts)

    def _work(self) -> Iterator[float]:
        """Run one worker: yield the duration of each piece of work; it is done when the generator is resumed."""
        while (curve := self._proposals.draw()) is not None:
            yield from self._upstream(curve)
            reached = yield from self._train(curve)
            yield from self._interpolation(curve, reached)

    def _upstream(self, curve: Curve) -> Iterator[float]:
        for key in curve.upstream:
            if self.strategy.sharing and key in self._ready_at:
                yield max(0.0, self._ready_at[key] - self._now)  # trained by another worker
                continue
            cost = self.benchmark.artifacts[key]
            self._ready_at[key] = self._now + cost
            yield cost
            self.upstream_seconds += cost
            self.seconds += cost
            if key in self.benchmark.generators:
                self._find(self.benchmark.generators[key][None])

    def _train(self, curve: Curve) -> Generator[float, None, int]:
        """Train a trial until early stopping or its end; return the number of its points."""
        before, last = 0.0, len(curve.values) - 1
        for index, until in enumerate(curve.seconds):
            yield until - before
            self.seconds, before = self.seconds + until - before, until
            if not self.strategy.only_last or index == last:
                self._find(curve.values[index][None])
            losses = as_losses(curve.values[index][None], self.benchmark.directions)[0]
            iteration = int(curve.iterations[index])
            if index < last and self._stopper and not self._stopper.continues(curve.number, iteration, losses):
                self.stopped += 1
                self._proposals.tell(curve.number, None)
                return index + 1
        self._proposals.tell(curve.number, curve.values[-1])
        return last + 1

    def _interpolation(self, curve: Curve, reached: int) -> Iterator[float]:
        if not self.strategy.interpolation:
            return
        on_front = [index for index in range(reached) if self._on_front(curve.values[index])]
        if on_front and len(curve.interpolations[on_front[-1]]):
            cost = float(curve.interpolation_seconds[on_front[-1]])
            yield cost
            self.interpolation_seconds += cost
            self.seconds += cost
            self._find(curve.interpolations[on_front[-1]])

    def _on_front(self, values: np.ndarray) -> bool:
        return bool((self._fronts[-1] == values).all(axis=1).any())

    def _find(self, values: np.ndarray) -> None:
        """Add evaluated points to the front."""
        found = np.concatenate([*self._fronts[-1:], values])
        found = found[non_dominated(found, self.benchmark.directions)]
        self._fronts.append(found)
        self._trace.append((self.seconds, hypervolume(found, self.benchmark.reference, self.benchmark.directions)))


class Proposals:
    """A sampler on a table: each draw becomes the nearest trial that was not drawn before.

    Attributes:
        drawn: number of trials drawn so far.
    """

    def __init__(self, benchmark: TabularBenchmark, sampler: str, seed: int, *, recipe_first: bool = True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._benchmark, self._sampler, self._seed = benchmark, sampler, seed
        self._study = optuna.create_study(directions=list(benchmark.directions))
        self._left = {curve.number: curve for curve in benchmark.curves}
        self._scaled = {curve.number: benchmark.scale(curve.params) for curve in benchmark.curves}
        self._asked: dict[int, optuna.Trial] = {}
        self._order = np.random.default_rng(seed).permutation([curve.number for curve in benchmark.curves]).tolist()
        self.drawn = 0
        self._first = min(self._left) if recipe_first else None

    def draw(self) -> Curve | None:
        """Return the next trial; None after the last one."""
        if not self._left:
            return None
        curve = self._left.pop(self._choose())
        if self._sampler == "random":
            self.drawn += 1
            return curve
        self._study.enqueue_trial(dict(curve.params))
        trial = self._study.ask()
        for name in curve.params:
            _suggest(trial, name, self._benchmark)
        self._asked[curve.number] = trial
        self.drawn += 1
        return curve

    def _choose(self) -> int:
        if self._first is not None and self.drawn == 0:
            return self._first
        if self._sampler == "random":
            return next(number for number in self._order if number in self._left)
        return self._nearest(self._propose())

    def tell(self, number: int, values: np.ndarray | None) -> None:
        """Report a trial's objectives to the sampler; None: it was stopped early."""
        if self._sampler == "random":
            return
        if values is None:
            self._study.tell(self._asked[number], state=TrialState.PRUNED)
        else:
            self._study.tell(self._asked[number], values=list(map(float, values)))

    def _propose(self) -> dict[str, Any]:
        benchmark = self._benchmark
        self._study.sampler = make_sampler(
            self._sampler, seed=self._seed, number=self.drawn, trials=len(benchmark.curves)
        )
        trial = self._study.ask()
        params = {name: _suggest(trial, name, benchmark) for name in benchmark.always}
        for name, choices in benchmark.conditions.items():
            if benchmark.choices(params) in choices:
                params[name] = _suggest(trial, name, benchmark)
        self._study.tell(trial, state=TrialState.FAIL)  # the nearest trial of the table is reported instead
        return params

    def _nearest(self, params: Mapping[str, Any]) -> int:
        scaled = self._benchmark.scale(params)
        return min(self._left, key=lambda number: distance(scaled, self._scaled[number]))


def _suggest(trial: optuna.Trial, name: str, benchmark: TabularBenchmark) -> Any:
    distribution = benchmark.distributions[name]
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low_high = (distribution.low, distribution.high)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, *low_high, step=distribution.step, log=distribution.log)
    return trial.suggest_float(name, *low_high, step=distribution.step, log=distribution.log)
