"""Messages between the driver and its workers: requests for jobs, and reports about them.

They are sent as JSON text: Tune flattens nested configurations and results for its loggers.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from study.record.events import Event
from study.record.points import NO_OTHER_FIELDS, ConfigValues, InterpolationSpace, Parent, Stage
from study.record.validation import to_json

JobKind = Literal["artifact", "trial", "interpolation", "baseline"]
EndState = Literal["COMPLETE", "FAILED", "HALTED", "STOPPED"]
"""HALTED: the cause is not specific to this job: halt the study. STOPPED: saved before its end, to be continued."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class ParentSpec:
    """Weights to interpolate, and the run that trained them."""

    point: Parent
    config: ConfigValues


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class PairSpec:
    """Interpolations of two generators: their spaces, and the shares of the second."""

    first: ParentSpec
    second: ParentSpec
    spaces: tuple[InterpolationSpace, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class JobSpec:
    """The part of a `Job` that a worker receives.

    Attributes:
        name: an artifact's key, `trial-0003`, a pair's name, or the baseline's.
        kind: artifact, trial, interpolation or baseline.
        stage: the stage to train; None for an interpolation or the baseline.
        config: the run.
        trial: number of the trial, for a trial.
        pair: the weights to interpolate, for an interpolation.
        key: of the stage's result by the driver's files; a worker with other files refuses the job.
    """

    name: str
    kind: JobKind
    stage: Stage | None
    config: ConfigValues
    trial: int | None = None
    pair: PairSpec | None = None
    key: str | None = None


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class JobRequest:
    """A job with the resources and inputs of its processes.

    Attributes:
        job: what to do.
        context_spec: `ContextSpec.to_dict()`.
        run_dir: absolute path of the study's directory.
        threads: CPU threads of each process.
        gpus: GPUs of each process, or a fraction of one.
        workers: number of processes that share the job.
    """

    job: JobSpec
    context_spec: Mapping[str, Any]
    run_dir: str
    threads: int
    gpus: float = 0.0
    workers: int = 1


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Entered:
    """A worker entered the training function.

    Attributes:
        at: seconds since the epoch.
        warm: whether its process has run a job before.
    """

    at: float
    warm: bool
    type: Literal["entered"] = "entered"


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Advanced:
    """A stage has reached an iteration; `name` is that of the job or of an artifact that it trains first."""

    name: str
    iteration: int
    iterations: int
    type: Literal["advanced"] = "advanced"


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class Happened:
    """An event for the journal."""

    event: Event
    type: Literal["happened"] = "happened"


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class JobEnded:
    """A job ended; its events were sent before.

    Attributes:
        state: how.
        cause: why it is not COMPLETE.
        traceback: of the exception that failed it; None where training diverged.
        retry: it FAILED for a cause outside it, so that a resumed study tries it again.
    """

    state: EndState
    cause: str | None = None
    traceback: str | None = None
    retry: bool = False
    type: Literal["job_ended"] = "job_ended"


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class WorkerDone:
    """The worker is free for the next job."""

    type: Literal["worker_done"] = "worker_done"


Message = Annotated[Entered | Advanced | Happened | JobEnded | WorkerDone, Field(discriminator="type")]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)
_REQUEST: TypeAdapter[JobRequest] = TypeAdapter(JobRequest)


def write_message(message: Message) -> str:
    """Return a message as text."""
    return to_json(_MESSAGE.dump_python(message))


def read_message(text: str) -> Message:
    """Read a message from text."""
    return _MESSAGE.validate_json(text)


def write_request(request: JobRequest) -> str:
    """Return a request as text."""
    return to_json(_REQUEST.dump_python(request))


def read_request(text: str) -> JobRequest:
    """Read a request from text."""
    return _REQUEST.validate_json(text)
