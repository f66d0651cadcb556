"""What the driver and its workers tell each other: a request for a job, and what happens while it is done.

Both travel as JSON text: Tune flattens nested configurations and results for its loggers.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from study.record.events import Event
from study.record.points import STRICT, ConfigValues, InterpolationSpace, Parent, Stage

JobKind = Literal["artifact", "trial", "interpolation", "baseline"]
EndState = Literal["COMPLETE", "FAILED", "HALTED", "STOPPED"]
"""HALTED: the cause is not specific to this job, so the study stops. STOPPED: saved before its end, to be continued."""


@dataclass(frozen=True, config=STRICT)
class ParentSpec:
    """A set of weights to interpolate, and the run that they are of."""

    point: Parent
    config: ConfigValues


@dataclass(frozen=True, config=STRICT)
class PairSpec:
    """What to interpolate: between whom, in which spaces, at which shares of the second."""

    first: ParentSpec
    second: ParentSpec
    spaces: tuple[InterpolationSpace, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, config=STRICT)
class JobSpec:
    """Something for a worker to do.

    Attributes:
        name: an artifact's key, `trial-0003`, a pair's name, or the baseline's.
        stage: of an artifact, or `adversarial` of a trial; None where nothing is trained.
        config: the run.
        trial: its number, of a trial.
        pair: of an interpolation.
    """

    name: str
    kind: JobKind
    stage: Stage | None
    config: ConfigValues
    trial: int | None = None
    pair: PairSpec | None = None


@dataclass(frozen=True, config=STRICT)
class JobRequest:
    """A job, and what the processes that do it need to know.

    Attributes:
        context_spec: `ContextSpec.to_dict()`.
        run_dir: full path of the study's directory.
        threads, gpus: of each process.
        workers: how many processes do it together.
    """

    job: JobSpec
    context_spec: Mapping[str, Any]
    run_dir: str
    threads: int
    gpus: float = 0.0
    workers: int = 1


@dataclass(frozen=True, config=STRICT)
class Entered:
    """A worker begins with a job.

    Attributes:
        at: seconds since the epoch.
        warm: its process has done a job before.
    """

    at: float
    warm: bool
    type: Literal["entered"] = "entered"


@dataclass(frozen=True, config=STRICT)
class Advanced:
    """A stage has got so far; `name` is the job's, or of an artifact that it trains on the way."""

    name: str
    iteration: int
    iterations: int
    type: Literal["advanced"] = "advanced"


@dataclass(frozen=True, config=STRICT)
class Happened:
    """Something happened that belongs into the journal."""

    event: Event
    type: Literal["happened"] = "happened"


@dataclass(frozen=True, config=STRICT)
class JobEnded:
    """A job ended; what it made was sent before."""

    state: EndState
    cause: str | None = None
    traceback: str | None = None
    type: Literal["job_ended"] = "job_ended"


@dataclass(frozen=True, config=STRICT)
class WorkerDone:
    """The worker is free for the next job."""

    type: Literal["worker_done"] = "worker_done"


Message = Annotated[Entered | Advanced | Happened | JobEnded | WorkerDone, Field(discriminator="type")]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)
_REQUEST: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)


def write_message(message: Message) -> str:
    """Return a message as text."""
    return json.dumps(_MESSAGE.dump_python(message))


def read_message(text: str) -> Message:
    """Read a message from text."""
    return _MESSAGE.validate_json(text)


def write_request(request: JobRequest) -> str:
    """Return a request as text."""
    return json.dumps(_REQUEST.dump_python(request))


def read_request(text: str) -> JobRequest:
    """Read a request from text."""
    return _REQUEST.validate_json(text)
