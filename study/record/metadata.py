"""The metadata of a study or a single run (`study.json`), written before its first event."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from study.config import ConfigError, Precision, flatten, refuse_old_names
from study.files import write_json
from study.record.goals import Goals, Objective
from study.record.paths import RunDirectory
from study.record.points import NO_OTHER_FIELDS, ConfigValues, Count
from study.record.validation import describe_problem, shortened

VERSION: Literal[2] = 2
_THEN = ", then "


class RunDirectoryError(ValueError):
    """A run directory that cannot be read; the message names file, field and rule."""


class OccupiedError(ValueError):
    """The output directory is not empty, holds another study, or is in use."""


@dataclass(frozen=True, config=NO_OTHER_FIELDS)
class ImageSetInfo:
    """A set of images: name, SHA-256 of the pixels, names of the images."""

    name: str
    fingerprint: str
    images: tuple[str, ...]


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
    trials: Count
    seed: int
    groups: tuple[str, ...] = ()


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
            return f"denoising, noise {data['sigma']:g} of 255"
        if data.get("task") == "jpeg":
            return f"JPEG artefact removal, quality {data['quality']}"
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
    content = path.read_bytes()
    try:
        values = json.loads(content)
    except ValueError as error:
        raise RunDirectoryError(f"{path} is not valid JSON ({error}): was it edited or cut short?") from error
    if isinstance(values, dict) and values.get("version") != VERSION:
        found = f"its version is {shortened(values['version'])}" if "version" in values else "it has no version"
        raise RunDirectoryError(f"{path}: {found}, but this code reads {VERSION}; read it with the code that wrote it")
    try:
        metadata = _ADAPTER.validate_json(content, strict=True)
        refuse_old_names(dict.fromkeys(metadata.search.groups) | flatten(metadata.config))
    except ConfigError as error:
        raise RunDirectoryError(f"{path}: {error}") from None
    except ValidationError as error:
        raise RunDirectoryError(f"{path}: {describe_problem(error)}") from None
    return metadata


def write_metadata(run_dir: Path, metadata: StudyMetadata) -> StudyMetadata:
    """Write `study.json`; a study that exists keeps its id and its code versions.

    Returns:
        The metadata as written.

    Raises:
        OccupiedError: the directory holds another study; the message names the differences.
    """
    path = RunDirectory(run_dir).study
    if path.exists():
        before = read_metadata(run_dir)
        _check_same_study(run_dir, before.identity, json.loads(json.dumps(dict(metadata.identity))))
        versions = dict.fromkeys([*before.code_version.split(_THEN), metadata.code_version])
        metadata = replace(metadata, id=before.id, code_version=_THEN.join(versions))
    write_json(path, _ADAPTER.dump_python(metadata, mode="json"))
    return metadata


def new_id() -> str:
    """Return the id of a new study."""
    return uuid.uuid4().hex


def precision_of(run_dir: Path) -> Precision | None:
    """Return the precision of the study in a directory; None without a study."""
    if not RunDirectory(run_dir).study.exists():
        return None
    precision: Precision = read_metadata(run_dir).config["precision"]
    return precision


def _check_same_study(run_dir: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    before, now = (
        {name.removeprefix("config."): value for name, value in flatten(given).items()} for given in (before, now)
    )
    names = dict.fromkeys([*now, *before])
    different = [
        f"{name} (there {before.get(name)}, here {now.get(name)})"
        for name in names
        if before.get(name) != now.get(name)
    ]
    if different:
        raise OccupiedError(
            f"{run_dir} holds another study; it differs in {'; '.join(different)}. "
            "Go back to its original settings, or name another --output"
        )
