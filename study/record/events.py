"""The events of a study's journal: one frozen dataclass an event, validated when written and when read.

A line of `journal.jsonl` is such an event with its number, time, version and checksum (`entries.py`).
`metrics` are means over the validation images by metric name (units and directions: `study/metrics/info.py`), `images`
the same per image; a value that is not finite is stored as NaN or Infinity. Paths are relative to the run directory.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from study.record.points import (
    NO_OTHER_FIELDS,
    ConfigValues,
    Distribution,
    ImageMetrics,
    InterpolatedPoint,
    Limits,
    Metrics,
    Params,
    Parent,
    PointId,
    Spent,
    Stage,
    TrialPoint,
)
from study.record.values import Amount, Count, Key, TrialNumber, Whole

VERSION: Literal[3] = 3
"""Of this schema; journals of version 1 were untyped, the lines of version 2 had no checksum."""

TrialState = Literal["COMPLETE", "PRUNED", "FAILED"]
StudyState = Literal["RUNNING", "COMPLETE", "INTERRUPTED"]


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class StudyStateChanged:
    """A study started or was resumed (RUNNING), ended (COMPLETE), or was stopped (INTERRUPTED)."""

    type: Literal["study_state"] = "study_state"
    state: StudyState


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class StudyDescribed:
    """What the study is, at its start and when that changed; `metadata` is the content of `study.json`."""

    type: Literal["study_described"] = "study_described"
    metadata: Mapping[str, Any]


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class JournalRepaired:
    """Damaged or missing lines of this journal were left out; what they recorded was done again where it is needed.

    Attributes:
        faults: a clause for each damage, by the line numbers before the repair.
        kept: name of the file that has the journal as it was; None where there was none.
    """

    type: Literal["journal_repaired"] = "journal_repaired"
    faults: tuple[str, ...]
    kept: str | None = None


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class TrialStarted:
    """A trial was sampled.

    Attributes:
        trial: its number, from 0.
        config: its run; empty where the sampled values make no valid run.
        params, distributions: of the sampled values, by config path; empty for a single run.
        upstream: keys of the artifacts that it starts from, by stage.
    """

    type: Literal["trial_started"] = "trial_started"
    trial: TrialNumber
    config: ConfigValues
    params: Params
    distributions: Mapping[str, Distribution] = Field(default_factory=dict)
    upstream: Mapping[Stage, Key]


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class PointEvaluated:
    """A trial's EMA weights were evaluated at an iteration.

    Attributes:
        terms: mean of each loss term, unweighted, since the last point.
        spent: by the trial's last stage up to this point.
        samples: folder of its sample crops.
    """

    type: Literal["point_evaluated"] = "point_evaluated"
    point: TrialPoint
    metrics: Metrics
    images: ImageMetrics
    terms: Metrics
    spent: Spent
    samples: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class TrialEnded:
    """A trial ended.

    Attributes:
        cause: why it is not COMPLETE.
        traceback: of the exception that failed it.
        retry: it FAILED for a cause outside it, such as the death of its process: a resumed study tries it again.
        overhead_seconds: from ready to run until the training function is entered.
        seconds: in the training function.
        warm: its worker had run a job before.
        waited: for an artifact.
    """

    type: Literal["trial_ended"] = "trial_ended"
    trial: TrialNumber
    state: TrialState
    cause: str | None = None
    traceback: str | None = None
    retry: bool = False
    overhead_seconds: Amount | None = None
    seconds: Amount | None = None
    warm: bool = False
    waited: bool = False


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class RungDecided:
    """Early stopping compared a trial at a rung (`search/asha.py`).

    Attributes:
        rung: in iterations.
        iteration: of the trial's point, at the rung or later.
        go_on: False stops the trial.
        position, among: its rank, from 1, and the number of trials at the rung, itself included.
        reason: in words.
    """

    type: Literal["rung_decided"] = "rung_decided"
    trial: TrialNumber
    rung: Count
    iteration: Count
    go_on: bool
    position: Count
    among: Count
    reason: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class InterpolationEvaluated:
    """An interpolation of two generators was evaluated; `spent` is the cost of that."""

    type: Literal["interpolation_evaluated"] = "interpolation_evaluated"
    point: InterpolatedPoint
    metrics: Metrics
    images: ImageMetrics
    spent: Spent
    samples: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class PairEnded:
    """All interpolations of a pair were evaluated (COMPLETE), or cannot be (FAILED); `retry` as of `TrialEnded`."""

    type: Literal["pair_ended"] = "pair_ended"
    first: Parent
    second: Parent
    state: Literal["COMPLETE", "FAILED"]
    cause: str | None = None
    retry: bool = False


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class ArtifactEnded:
    """An upstream stage has its result (COMPLETE), or cannot have it (FAILED).

    Attributes:
        key: `<stage>-<hash of all that determines it>`.
        config: the run that describes it.
        metrics: empty of a FAILED one.
        spent: on its training, in this study or an earlier one.
        reused: an earlier study trained it.
    """

    type: Literal["artifact_ended"] = "artifact_ended"
    key: Key
    stage: Stage
    config: ConfigValues
    state: Literal["COMPLETE", "FAILED"]
    cause: str | None = None
    traceback: str | None = None
    metrics: Metrics = Field(default_factory=dict)
    spent: Spent = Field(default_factory=Spent)
    reused: bool = False


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class ReferenceEvaluated:
    """A baseline (`bicubic`, `input`) or, by its key, a fidelity generator was evaluated."""

    type: Literal["reference_evaluated"] = "reference_evaluated"
    name: Key
    kind: Literal["bicubic", "input", "fidelity"]
    metrics: Metrics
    images: ImageMetrics
    samples: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class FrontMoved:
    """The front after a trial ended, or (`final`) at the study's end.

    Attributes:
        hypervolume: in the product of the objectives' units, above the study's reference point.
        members: best in the first objective first.
    """

    type: Literal["front_moved"] = "front_moved"
    trials_ended: Count
    hypervolume: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    members: tuple[PointId, ...]
    final: bool = False


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class SearchEnded:
    """No more trials are sampled, by the study's limits."""

    type: Literal["search_ended"] = "search_ended"
    limits: Limits
    cause: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class WorkerDied:
    """The process of a job died; the job may be restarted.

    Attributes:
        job: an artifact's key, `trial-0003`, a pair's name, or the baseline's.
        trial: of a trial's job.
        iteration: the last that it reached.
    """

    type: Literal["worker_died"] = "worker_died"
    job: str
    trial: TrialNumber | None
    iteration: Count
    cause: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class TrialRetried:
    """A trial that ended with `retry` runs again: its end before this event does not count."""

    type: Literal["trial_retried"] = "trial_retried"
    trial: TrialNumber


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class TrialExtended:
    """A single run is trained further: `config` is its run, and its end before this event does not count."""

    type: Literal["trial_extended"] = "trial_extended"
    trial: Count
    config: ConfigValues


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class JobWarned:
    """A job met a problem and went on, such as a damaged file that it replaced.

    Attributes:
        job: as of `WorkerDied`.
        trial: of a trial's job.
        text: what was wrong, and what was done about it.
    """

    type: Literal["job_warned"] = "job_warned"
    job: str
    trial: TrialNumber | None
    text: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class FilesPublished:
    """Files are ready to be stored as MLflow artifacts of a trial, or of the study.

    Attributes:
        trial: None for the study.
        folder: of the MLflow artifacts.
        content: hash of the files' contents.
    """

    type: Literal["files_published"] = "files_published"
    trial: TrialNumber | None
    folder: str
    paths: tuple[str, ...]
    content: str


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class ModelPublished:
    """Weights on the front become a version of the study's registered model, with `tags`; else as `FilesPublished`."""

    type: Literal["model_published"] = "model_published"
    point: PointId
    trial: TrialNumber | None
    folder: str
    paths: tuple[str, ...]
    tags: Mapping[str, str | Whole | None]


@dataclass(frozen=True, config=NO_OTHER_FIELDS, kw_only=True)
class AliasesPublished:
    """Aliases such as `balanced` of registered weights, and the present front."""

    type: Literal["aliases_published"] = "aliases_published"
    aliases: Mapping[str, PointId]
    members: tuple[PointId, ...]


Event = Annotated[
    StudyStateChanged
    | StudyDescribed
    | JournalRepaired
    | TrialStarted
    | PointEvaluated
    | TrialEnded
    | RungDecided
    | InterpolationEvaluated
    | PairEnded
    | ArtifactEnded
    | ReferenceEvaluated
    | FrontMoved
    | SearchEnded
    | WorkerDied
    | TrialRetried
    | TrialExtended
    | JobWarned
    | FilesPublished
    | ModelPublished
    | AliasesPublished,
    Field(discriminator="type"),
]
EVENT_TYPES: tuple[str, ...] = tuple(each.type for each in get_args(get_args(Event)[0]))
