"""A recorded study searched again, in seconds: which sampler, which rungs, what sharing and interpolation are worth.

The trials, their points and what they cost are those of the recording; what is simulated is which of them are drawn, in
which order, how far each is trained, and what is paid for. A sampler's draw becomes the nearest recorded trial that was
not taken yet, so that at most the recorded trials can be drawn, each once.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from benchmarks.tabular.recording import Curve, Recording, distance
from study.search.asha import MultiObjectiveASHA, TieBreak
from study.search.front import Direction, as_losses, hypervolume, non_dominated
from study.search.samplers import make_sampler


class Stopper(Protocol):
    """A rule of early stopping."""

    def goes_on(self, trial: int, iteration: int, losses: np.ndarray) -> bool:
        """Take a trial's point and decide; objectives are turned so that less is better."""
        ...


MakeStopper = Callable[[Recording, int], Stopper]


@dataclass(frozen=True)
class Strategy:
    """A way to search.

    Attributes:
        sampler: one of `samplers.SAMPLERS`.
        sharing: upstream artifacts are trained once; without it each trial pays for its own.
        stopper: makes the rule of early stopping from the recording and a seed; None to stop nothing.
        interpolation: once a trial has ended, the last of its points on the front is interpolated with its fidelity generator.
        own_first: the recording's first trial, which has the recipe's own values, is drawn first.
        only_last: only the last point of a finished trial counts, as where a tool keeps one result of each trial.
        workers: trials at the same time.
    """

    sampler: str = "tpe"
    sharing: bool = True
    stopper: MakeStopper | None = None
    interpolation: bool = True
    own_first: bool = True
    only_last: bool = False
    workers: int = 2


@dataclass(frozen=True)
class Trace:
    """What a replay found at what cost.

    Attributes:
        seconds: device-seconds spent when each value was reached, ascending, shape (n,).
        hypervolumes: then, non-decreasing, shape (n,).
        drawn, stopped: trials.
        upstream_seconds, interpolation_seconds: parts of the whole.
        fronts: objectives of the front then, each of shape (points, objectives).
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
        """Objectives of the front that was found at a cost; empty before anything was."""
        found = int(np.searchsorted(self.seconds, seconds, side="right"))
        return self.fronts[found - 1] if found else self.fronts[0][:0]

    def cost_of(self, target: float) -> float:
        """Device-seconds until a hypervolume is reached; infinite if it never is."""
        reached = np.flatnonzero(self.hypervolumes >= target)
        return float(self.seconds[reached[0]]) if len(reached) else float("inf")

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """The hypervolume at given costs; 0 before anything was found."""
        index = np.searchsorted(self.seconds, seconds, side="right")
        return np.concatenate([[0.0], self.hypervolumes])[index]


def pareto_halving(rungs: tuple[int, ...], reduction_factor: float, tie_break: TieBreak = "hypervolume") -> MakeStopper:
    """The study's own rule (`early_stopping.MultiObjectiveASHA`)."""

    def make(recording: Recording, seed: int) -> Stopper:
        directions: list[Direction] = ["minimize"] * len(recording.directions)
        corner = as_losses(np.array([recording.reference]), recording.directions)[0]
        return _Pareto(MultiObjectiveASHA(rungs, reduction_factor, directions, tuple(corner), tie_break, seed))

    return make


@dataclass
class _Pareto:
    halving: MultiObjectiveASHA

    def goes_on(self, trial: int, iteration: int, losses: np.ndarray) -> bool:
        decision = self.halving.on_result(trial, iteration, tuple(losses))
        return decision is None or decision.go_on


def replay(recording: Recording, strategy: Strategy, seed: int, *, until: float = math.inf) -> Trace:
    """Search a recording once.

    Args:
        recording: what there is.
        strategy: how to search.
        seed: of the sampler, and of all that is decided by lot.
        until: a hypervolume at which to end.
    """
    return _Replay(recording, strategy, seed, until).run()


@dataclass
class _Replay:
    recording: Recording
    strategy: Strategy
    seed: int
    until: float
    seconds: float = 0.0
    upstream_seconds: float = 0.0
    interpolation_seconds: float = 0.0
    stopped: int = 0
    _fronts: list[np.ndarray] = field(default_factory=list)
    _trace: list[tuple[float, float]] = field(default_factory=list)
    _made: dict[str, float] = field(default_factory=dict)
    _blended: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        strategy = self.strategy
        self._proposals = Proposals(self.recording, strategy.sampler, self.seed, own_first=strategy.own_first)
        make = self.strategy.stopper
        self._stopper = None if make is None else make(self.recording, self.seed)

    def run(self) -> Trace:
        # Events in the order of simulated time: (when, a number that settles ties, the worker's own generator).
        queue = [(0.0, number, self._work()) for number in range(self.strategy.workers)]
        heapq.heapify(queue)
        self._now = 0.0
        while queue and not (self._trace and self._trace[-1][1] >= self.until):
            self._now, number, work = heapq.heappop(queue)
            lasts = next(work, None)
            if lasts is not None:
                heapq.heappush(queue, (self._now + lasts, number, work))
        seconds, volumes = (np.array(column) for column in zip(*self._trace, strict=True))
        drawn, fronts = self._proposals.drawn, tuple(self._fronts)
        return Trace(seconds, volumes, drawn, self.stopped, self.upstream_seconds, self.interpolation_seconds, fronts)

    def _work(self) -> Iterator[float]:
        """A worker: one trial after the other; yields how long each piece of work lasts, done when it goes on."""
        while (curve := self._proposals.draw()) is not None:
            yield from self._upstream(curve)
            reached = yield from self._train(curve)
            yield from self._interpolation(curve, reached)

    def _upstream(self, curve: Curve) -> Iterator[float]:
        for key in curve.upstream:
            if self.strategy.sharing and key in self._made:
                yield max(0.0, self._made[key] - self._now)  # another worker is at it
                continue
            cost = self.recording.artifacts[key]
            self._made[key] = self._now + cost
            yield cost
            self.upstream_seconds += cost
            self.seconds += cost
            if key in self.recording.generators:
                self._find(self.recording.generators[key][None])

    def _train(self, curve: Curve) -> Any:
        """Train a trial as far as it may; returns how many points it reached."""
        before, last = 0.0, len(curve.values) - 1
        for index, until in enumerate(curve.seconds):
            yield until - before
            self.seconds, before = self.seconds + until - before, until
            if not self.strategy.only_last or index == last:
                self._find(curve.values[index][None])
            losses = as_losses(curve.values[index][None], self.recording.directions)[0]
            iteration = int(curve.iterations[index])
            if index < last and self._stopper and not self._stopper.goes_on(curve.number, iteration, losses):
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
        """Something was evaluated; a front alone is kept, for the rest adds nothing."""
        found = np.concatenate([*self._fronts[-1:], values])
        found = found[non_dominated(found, self.recording.directions)]
        self._fronts.append(found)
        self._trace.append((self.seconds, hypervolume(found, self.recording.reference, self.recording.directions)))


class Proposals:
    """A sampler over a recording: what it draws becomes the nearest trial that was not taken yet.

    Attributes:
        drawn: how many trials so far.
    """

    def __init__(self, recording: Recording, sampler: str, seed: int, *, own_first: bool = True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._recording, self._sampler, self._seed = recording, sampler, seed
        self._study = optuna.create_study(directions=list(recording.directions))
        self._left = {curve.number: curve for curve in recording.curves}
        self._places = {curve.number: recording.place(curve.params) for curve in recording.curves}
        self._asked: dict[int, optuna.Trial] = {}
        self._order = np.random.default_rng(seed).permutation([curve.number for curve in recording.curves]).tolist()
        self.drawn = 0
        self._first = min(self._left) if own_first else None

    def draw(self) -> Curve | None:
        """The next trial; None once all were drawn."""
        if not self._left:
            return None
        curve = self._left.pop(self._choose())
        if self._sampler == "random":
            self.drawn += 1
            return curve
        self._study.enqueue_trial(dict(curve.params))
        trial = self._study.ask()
        for name in curve.params:
            _suggest(trial, name, self._recording)
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
        """How a trial ended: its objectives, or None if it was stopped early."""
        if self._sampler == "random":
            return
        if values is None:
            self._study.tell(self._asked[number], state=TrialState.PRUNED)
        else:
            self._study.tell(self._asked[number], values=list(map(float, values)))

    def _propose(self) -> dict[str, Any]:
        recording = self._recording
        self._study.sampler = make_sampler(
            self._sampler, seed=self._seed, number=self.drawn, trials=len(recording.curves)
        )
        trial = self._study.ask()
        params = {name: _suggest(trial, name, recording) for name in recording.always}
        for name, choices in recording.conditions.items():
            if recording.choices(params) in choices:
                params[name] = _suggest(trial, name, recording)
        self._study.tell(trial, state=TrialState.FAIL)  # what is trained is a recorded trial, told of in its place
        return params

    def _nearest(self, params: Mapping[str, Any]) -> int:
        place = self._recording.place(params)
        return min(self._left, key=lambda number: distance(place, self._places[number]))


def _suggest(trial: optuna.Trial, name: str, recording: Recording) -> Any:
    distribution = recording.distributions[name]
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
