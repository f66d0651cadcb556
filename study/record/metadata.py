"""The metadata of a study or a single run (`study.json`), written before its first event."""

import json
import shlex
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from study.config import EXTENSION_FIELDS, ConfigError, check_extension, flatten, from_dict, refuse_old_names
from study.files import write_json
from study.record.goals import Goals, Objective
from study.record.paths import RunDirectory
from study.record.points import NO_OTHER_FIELDS, ConfigValues
from study.record.validation import describe_problem, shortened
from study.record.values import MOST_TRIALS, Groups, Whole, distinct

VERSION: Literal[2] = 2
_THEN = ", then "
_LONGER_RUN = (
    ". Of a run that was started, budget.iterations alone may grow: it began from the finished upstream stages"
)
_LONGER_STUDY = (
    ", with --warm-start {run_dir} to try the settings on its front first, or --repeat {run_dir} to train its best. "
    "Trials are drawn, stopped and compared at one budget, so a study cannot change it"
)
_Distinct = Annotated[tuple[str, ...], AfterValidator(distinct)]


class RunDirectoryError(ValueError):
    """A run directory that cannot be read; the message names file, field and rule."""


class OccupiedError(ValueError):
    """The output directory is not empty, holds another study, or is in use."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class ImageSetInfo:
    """A set of images: name, SHA-256 of the pixels, names of the images."""

    name: str
    fingerprint: str
    images: _Distinct


SINGLE_RUN = "single run"
"""The search space of a run outside a study."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class SearchInfo:
    """How trials are sampled.

    Attributes:
        space: name of the search space, or SINGLE_RUN.
        trials: their intended number.
        seed: of the sampler.
        groups: config paths; trials are grouped by their values, by the first in the first place.
    """

    space: str
    trials: Annotated[int, Field(ge=0, le=MOST_TRIALS)]
    seed: Whole
    groups: Groups = ()


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class StudyMetadata:
    """Metadata of a study.

    Attributes:
        name: the study's.
        search: how its trials are sampled.
        goals: objectives, reference point, constraints.
        images: of training and validation.
        config: the run that trials vary.
        notes: caveats for readers of the results.
        code_version: of the code that started it, and of others that resumed it.
        identity: the settings that a resumed study cannot change, by name.
        id: unique, 32 hex digits.
        version: of this schema.
    """

    name: str
    search: SearchInfo
    goals: Goals
    images: Annotated[Mapping[Literal["train", "val"], ImageSetInfo], Field(min_length=2)]
    config: ConfigValues
    notes: tuple[str, ...]
    code_version: str
    identity: Mapping[str, Any]
    id: str
    version: Literal[2] = VERSION

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives: fidelity, then perceptual distance."""
        return self.goals.objectives

    @property
    def recipe(self) -> str:
        """Name of the method that trials vary."""
        return str(self.config.get("recipe", ""))

    @property
    def size(self) -> str:
        """`full`, `small` or `tiny`."""
        return str(self.config.get("size", ""))

    @property
    def task(self) -> str:
        """The image restoration task, in words."""
        data = self.config.get("data", {})
        if data.get("task") == "denoise":
            return f"denoising, noise {data.get('sigma') or 0:g} of 255"
        if data.get("task") == "jpeg":
            return f"JPEG artefact removal, quality {data.get('quality')}"
        return f"super-resolution x{data.get('scale', '?')}"

    @property
    def val_images(self) -> tuple[str, ...]:
        """Names of the validation images."""
        return self.images["val"].images


_ADAPTER: TypeAdapter[StudyMetadata] = TypeAdapter(StudyMetadata)


def read_metadata(run_dir: Path) -> StudyMetadata:
    """Read and check `study.json`.

    Raises:
        RunDirectoryError: the file is missing, is not JSON, or has a field that is missing, unknown or out of range.
    """
    path = RunDirectory(run_dir).study
    if not path.is_file():
        raise RunDirectoryError(f"{path} does not exist: give a directory that study/sweep.py wrote with --output")
    return parse_metadata(path.read_bytes(), str(path))


def parse_metadata(content: bytes, origin: str) -> StudyMetadata:
    """Parse the content of a `study.json`; RunDirectoryError, which names `origin`, as `read_metadata`."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{origin} is not valid JSON ({error}): was it edited or cut short?") from error
    if isinstance(values, dict) and values.get("version") != VERSION:
        found = f"its version is {shortened(values['version'])}" if "version" in values else "it has no version"
        raise RunDirectoryError(
            f"{origin}: {found}, but this code reads {VERSION}; read it with the code that wrote it"
        )
    try:
        metadata = _ADAPTER.validate_json(content, strict=True)
        refuse_old_names(dict.fromkeys(metadata.search.groups) | flatten(metadata.config))
    except ConfigError as error:
        raise RunDirectoryError(f"{origin}: {error}") from None
    except ValidationError as error:
        raise RunDirectoryError(f"{origin}: {describe_problem(error)}") from None
    return metadata


def plain_metadata(metadata: StudyMetadata) -> dict[str, Any]:
    """Return the content of a `study.json` as plain JSON types."""
    values: dict[str, Any] = _ADAPTER.dump_python(metadata, mode="json")
    return values


def write_metadata(run_dir: Path, metadata: StudyMetadata, recorded: StudyMetadata | None = None) -> StudyMetadata:
    """Write `study.json`; a study that exists keeps its name, its id and its code versions.

    Args:
        run_dir: the study's directory, which may have been renamed since its start.
        metadata: of the study as it is started or continued now.
        recorded: of the study that its journal describes; None leaves that to the file.

    Returns:
        The metadata as written.

    Raises:
        OccupiedError: the directory holds another study; the message names the differences.
        RunDirectoryError: as `read_metadata`, where the journal does not describe the study.
    """
    path = RunDirectory(run_dir).study
    before = read_metadata(run_dir) if recorded is None and path.exists() else recorded
    if before is not None:
        _check_same_study(run_dir, before, metadata)
        versions = dict.fromkeys([*before.code_version.split(_THEN), metadata.code_version])
        metadata = replace(metadata, name=before.name, id=before.id, code_version=_THEN.join(versions))
    write_json(path, plain_metadata(metadata))
    return metadata


def new_id() -> str:
    """Return the id of a new study."""
    return uuid.uuid4().hex


def _check_same_study(run_dir: Path, before: StudyMetadata, now: StudyMetadata) -> None:
    """Check that a study is the one of a directory; a single run may have a longer budget."""
    there, here = _fields_of(before), _fields_of(now)
    names = [name for name in {**here, **there} if there.get(name) != here.get(name)]
    if not names:
        return
    is_run = now.search.space == SINGLE_RUN
    if is_run and "budget.iterations" in names and set(names) <= set(EXTENSION_FIELDS):
        _check_longer_run(RunDirectory(run_dir), before, now)
        return
    different = "; ".join(f"{name} (there {there.get(name)}, here {here.get(name)})" for name in names)
    raise OccupiedError(
        f"{run_dir} holds another study; it differs in {different}. "
        f"Go back to its original settings, or name another --output{_hint(run_dir, names, is_run)}"
    )


def _hint(run_dir: Path, names: Collection[str], is_run: bool) -> str:
    """Return what else to say about some differences."""
    if "space_fingerprint" in names:
        return f". The text of its space is in {RunDirectory(run_dir).space}"
    if not any(name.endswith("budget.iterations") for name in names):
        return ""
    return _LONGER_RUN if is_run else _LONGER_STUDY.format(run_dir=shlex.quote(str(run_dir)))


def _fields_of(metadata: StudyMetadata) -> dict[str, Any]:
    """Return the identity by field, as plain JSON types."""
    fields = flatten(json.loads(json.dumps(dict(metadata.identity))))
    return {name.removeprefix("config."): value for name, value in fields.items()}


def _check_longer_run(run_dir: RunDirectory, before: StudyMetadata, now: StudyMetadata) -> None:
    """Check that a single run can be trained further; OccupiedError says why not."""
    try:
        check_extension(from_dict(before.config), from_dict(now.config))
    except ConfigError as error:
        raise OccupiedError(f"{run_dir.root} holds a run of another length: {error}") from None
    trial = run_dir.trial(0)
    if trial.done.exists() and not any(trial.root.glob(f"{trial.checkpoint.stem}*")):
        raise OccupiedError(
            f"{run_dir.root} holds a finished run that cannot be trained further without its state, but "
            f"{trial.checkpoint} is missing; restore it, or name another --output"
        )
