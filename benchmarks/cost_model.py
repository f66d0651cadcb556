"""What a study will cost on a machine that is not at hand: operations are counted, the machine's speed is given.

The time of a step is taken to be `calls * call_seconds + operations / rate`. Both speeds are a machine's, in a
precision; they come from a fit to measured steps, or are assumed. `benchmarks/scaling.py` measures them, and how well
they predict.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.operations import Operations
from study.config import RunConfig, Stage
from study.cost.forecast import Price, Work
from study.cost.measurement import Cost
from study.data import ImageSet

CountStep = Callable[[RunConfig, Stage], Operations]
CountImage = Callable[[RunConfig, int, int], Operations]  # by the image's HR height and width


@dataclass(frozen=True)
class Machine:
    """How fast a device, or the part of one that a job has, trains.

    Attributes:
        rate: floating-point operations a second, beyond what the calls take.
        call_seconds: of an operator, however small its work.
        metric_seconds: of a held-out HR megapixel, for the metrics alone.
    """

    rate: float
    call_seconds: float = 0.0
    metric_seconds: float = 0.0

    def seconds(self, counted: Operations) -> float:
        """What was counted takes."""
        return counted.calls * self.call_seconds + counted.total / self.rate


@dataclass(frozen=True)
class Conditions:
    """How a study's jobs are run.

    Attributes:
        slots: how many devices there are.
        start_seconds: of a device's first job, of every one that several devices do together, and after a death; other
            jobs find a warm worker.
        workers: how many devices do a job of a stage together, where that is not one.
        efficiency: what of the devices' sum is left when several work together.
        deaths_an_hour: of a device's process, for whatever reason; what it did since its last checkpoint is lost.
    """

    slots: int
    start_seconds: float = 0.0
    workers: Mapping[Stage, int] | None = None
    efficiency: float = 1.0
    deaths_an_hour: float = 0.0

    def workers_of(self, stage: Stage) -> int:
        """How many devices do a job."""
        return (self.workers or {}).get(stage, 1)


@dataclass(frozen=True)
class Timetable:
    """When a study would be done.

    Attributes:
        seconds: from its start to its end.
        busy_seconds: of all devices that had a job, in all.
        first_trial_at: when the first trial began; until then few devices have anything to do.
        last_began_at: when the last job began; from then on devices get idle.
    """

    seconds: float
    busy_seconds: float
    first_trial_at: float
    last_began_at: float


def fit_machine(samples: Sequence[tuple[Operations, float]]) -> Machine:
    """Find the speeds that predict measured steps best, in relative errors, least squares.

    Args:
        samples: what was counted of a step, and its seconds; at least two different steps.

    Raises:
        ValueError: time does not grow with operations.
    """
    features = np.array([(counted.calls, counted.total) for counted, _ in samples], float)
    relative = features / np.array([[seconds] for _, seconds in samples])
    (call, inverse), *_ = np.linalg.lstsq(relative, np.ones(len(samples)), rcond=None)
    if call < 0:  # no call is free, let alone that it gives time back: the best fit without calls
        slopes = relative[:, 1]
        call, inverse = 0.0, slopes.sum() / (slopes**2).sum()
    if inverse <= 0:
        raise ValueError("the measured steps do not take longer the more operations they have; measure again, alone")
    return Machine(rate=float(1 / inverse), call_seconds=float(call))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a line through the logarithms: 2 where values grow with the square of sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def modelled_costs(
    works: Iterable[Work], machine: Machine, test: ImageSet, count_step: CountStep, count_image: CountImage
) -> dict[str, Cost]:
    """What `forecast.measure_kinds` would measure on a machine, for every kind of work that is left."""
    sizes = [height * width for height, width in test.images.shapes]
    mean = sum(sizes) / len(sizes)
    typical = test.images.shapes[min(range(len(sizes)), key=lambda number: abs(sizes[number] - mean))]
    costs: dict[str, Cost] = {}
    for work in works:
        if work.left and work.kind not in costs:
            evaluation = 0.0
            if work.stage == "adversarial":
                forward = machine.seconds(count_image(work.config, *typical))
                evaluation = forward * mean / (typical[0] * typical[1]) + machine.metric_seconds * mean / 1e6
            seconds = machine.seconds(count_step(work.config, work.stage))
            costs[work.kind] = Cost(seconds, image_seconds=evaluation)
    return costs


def timetable(works: Sequence[Work], prices: Sequence[Price], conditions: Conditions) -> Timetable:
    """Give jobs to devices as a study does: trials that can begin, then artifacts, in turn; none passes another.

    Raises:
        ValueError: a job that needs more devices than there are.
    """
    jobs = [_job(work, price, conditions) for work, price in zip(works, prices, strict=True)]
    waiting = [job for job in jobs if job.stage == "adversarial"] + [job for job in jobs if job.stage != "adversarial"]
    too_large = max(job.workers for job in jobs)
    if too_large > conditions.slots:
        raise ValueError(f"a job takes {too_large} devices, but there are {conditions.slots}; lower its workers")
    running: list[tuple[float, int, _Job]] = []
    finished: set[str] = set()
    now, free, warm, began = 0.0, conditions.slots, 0, list[tuple[float, _Job]]()
    busy = 0.0
    while waiting or running:
        turn = next((job for job in waiting if finished.issuperset(job.after)), None)
        if turn is not None and turn.workers <= free:
            waiting.remove(turn)
            began.append((now, turn))
            cold = turn.workers > 1 or not warm
            seconds = turn.seconds + (conditions.start_seconds if cold and turn.seconds else 0.0)
            busy += seconds * turn.workers
            free, warm = free - turn.workers, max(0, warm - turn.workers)
            heapq.heappush(running, (now + seconds, len(began), turn))
            continue
        now, _, done = heapq.heappop(running)
        finished.add(done.key)
        free, warm = free + done.workers, warm + (done.workers if done.seconds else 0)
    return Timetable(
        seconds=now,
        busy_seconds=busy,
        first_trial_at=min((at for at, job in began if job.stage == "adversarial"), default=now),
        last_began_at=began[-1][0] if began else 0.0,
    )


@dataclass(frozen=True)
class _Job:
    stage: Stage
    seconds: float
    workers: int
    key: str
    after: tuple[str, ...]


def _job(work: Work, price: Price, conditions: Conditions) -> _Job:
    if not work.left:
        return _Job(work.stage, 0.0, 1, work.key, work.after)
    workers = conditions.workers_of(work.stage)
    speed = 1.0 if workers == 1 else workers * conditions.efficiency
    # One process of a distributed evaluates, the others wait.
    seconds = price.training_seconds / speed + price.evaluation_seconds
    again = conditions.start_seconds + work.config.eval_schedule.checkpoint_every * price.cost.seconds / speed / 2
    deaths = conditions.deaths_an_hour * workers * seconds / 3600
    return _Job(work.stage, seconds + deaths * again, workers, work.key, work.after)
