"""A study's cost on a machine that is not available: counted operations, and the machine's speed as a parameter.

The time of a step is modelled as `calls * call_seconds + operations / rate`. Both speeds belong to a machine in a
precision; they are fitted to measured steps, or assumed. `benchmarks/scaling.py` measures them and the model's error.
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
    """Training speed of a device, or of a job's part of one.

    Attributes:
        rate: floating-point operations a second, apart from calls.
        call_seconds: of an operator call, independent of its work.
        metric_seconds: metrics of an HR megapixel.
    """

    rate: float
    call_seconds: float = 0.0
    metric_seconds: float = 0.0

    def seconds(self, counted: Operations) -> float:
        """Return the time of counted operations."""
        return counted.calls * self.call_seconds + counted.total / self.rate


@dataclass(frozen=True)
class Conditions:
    """Devices of a study and how jobs run on them.

    Attributes:
        slots: number of devices.
        start_seconds: of a device's first job, of each job on several devices, and after a death; other jobs run on a
            warm worker.
        workers: devices of a job, by stage; the default is 1.
        efficiency: speed of several devices on one job, as a share of their sum.
        deaths_an_hour: of a device's process; the work since its last checkpoint is lost.
    """

    slots: int
    start_seconds: float = 0.0
    workers: Mapping[Stage, int] | None = None
    efficiency: float = 1.0
    deaths_an_hour: float = 0.0

    def workers_of(self, stage: Stage) -> int:
        """Return the devices of a job of a stage."""
        return (self.workers or {}).get(stage, 1)


@dataclass(frozen=True)
class Timetable:
    """The schedule of a study.

    Attributes:
        seconds: from its start to its end.
        busy_seconds: sum over devices of the time with a job.
        first_trial_at: start of the first trial; before it most devices are idle.
        last_began_at: start of the last job; after it devices become idle.
    """

    seconds: float
    busy_seconds: float
    first_trial_at: float
    last_began_at: float


def fit_machine(samples: Sequence[tuple[Operations, float]]) -> Machine:
    """Fit the speeds to measured steps by least squares of relative errors.

    Args:
        samples: counted operations and seconds of steps; at least two different ones.

    Raises:
        ValueError: time does not grow with operations.
    """
    features = np.array([(counted.calls, counted.total) for counted, _ in samples], float)
    relative = features / np.array([[seconds] for _, seconds in samples])
    (call, inverse), *_ = np.linalg.lstsq(relative, np.ones(len(samples)), rcond=None)
    if call < 0:  # calls cannot take negative time: fit without them
        slopes = relative[:, 1]
        call, inverse = 0.0, slopes.sum() / (slopes**2).sum()
    if inverse <= 0:
        raise ValueError("the measured steps do not take longer the more operations they have; measure again, alone")
    return Machine(rate=float(1 / inverse), call_seconds=float(call))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of a line through the logarithms: 2 if values grow with the square of sizes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def modelled_costs(
    works: Iterable[Work], machine: Machine, val: ImageSet, count_step: CountStep, count_image: CountImage
) -> dict[str, Cost]:
    """Return what `forecast.measure_kinds` would measure on a machine, for every kind of remaining work."""
    sizes = [height * width for height, width in val.images.shapes]
    mean = sum(sizes) / len(sizes)
    typical = val.images.shapes[min(range(len(sizes)), key=lambda number: abs(sizes[number] - mean))]
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
    """Schedule jobs as a study does: ready trials, then artifacts, in order; no job overtakes another.

    Raises:
        ValueError: a job needs more devices than the study has.
    """
    jobs = [_job(work, price, conditions) for work, price in zip(works, prices, strict=True)]
    waiting = [job for job in jobs if job.stage == "adversarial"] + [job for job in jobs if job.stage != "adversarial"]
    too_large = max(job.workers for job in jobs)
    if too_large > conditions.slots:
        raise ValueError(f"a job needs {too_large} devices, but the study has {conditions.slots}; lower its workers")
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
    # One process of several evaluates while the others wait.
    seconds = price.training_seconds / speed + price.evaluation_seconds
    again = conditions.start_seconds + work.config.eval_schedule.checkpoint_every * price.cost.seconds / speed / 2
    deaths = conditions.deaths_an_hour * workers * seconds / 3600
    return _Job(work.stage, seconds + deaths * again, workers, work.key, work.after)
