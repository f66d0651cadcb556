"""The configuration that a study stores beside weights (`config.json`), also in folders of other people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from study.config import ConfigError, GeneratorConfig, RunConfig, from_dict
from study.files import DamagedError, read_checked_json
from study.record.validation import DAMAGED, describe_problem, shortened


@dataclass(frozen=True)
class _Scaled:
    """What of a part's `data` names the network; other fields are not read."""

    scale: Literal[1, 2, 3, 4] = 1


def read_run(path: Path) -> RunConfig:
    """Return the run that is stored with a trial or a registered model; DamagedError, which names file and field."""
    try:
        return from_dict(read_fields(path, "config"))
    except ConfigError as error:
        raise DamagedError(f"{path}: config: {error}") from None


def read_generator(path: Path) -> tuple[GeneratorConfig, int]:
    """Return generator and scale of a trial, a registered model or a fidelity artifact; DamagedError as `read_run`."""
    stored = read_checked_json(path, required=False)
    if "config" in stored:
        config = read_run(path)
        return config.generator, config.data.scale
    key = stored.get("key")
    if not isinstance(key, str) or not key.startswith("fidelity-"):
        what = key if isinstance(key, str) else shortened(key)
        raise DamagedError(f"{path}: is {what}, not a generator; name a fidelity artifact or a point")
    part = read_fields(path, "part")
    scale = parse_part(path, _Scaled, part.get("data")).scale
    generator: GeneratorConfig = parse_part(path, GeneratorConfig, part.get("generator"))
    return generator, scale


def read_fields(path: Path, name: str) -> Mapping[str, Any]:
    """Return an object of a stored configuration; DamagedError where there is none."""
    fields = read_checked_json(path, required=False).get(name)
    if not isinstance(fields, Mapping):
        raise DamagedError(f"{path}: {name}: must be an object, but got {shortened(fields)}; {DAMAGED}")
    return fields


def parse_part(path: Path, kind: Any, values: Any) -> Any:
    """Return a part of a stored configuration as its type; DamagedError, which names file and field."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise DamagedError(f"{path}: part: {describe_problem(error)}") from None
