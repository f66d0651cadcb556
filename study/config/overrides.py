"""The one door between plain dicts and configurations."""

import copy
import difflib
import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from study.config.run import RunConfig
from study.config.schema import Frozen


class ConfigError(ValueError):
    """A configuration that cannot be: names the field, the rule, the value and the remedy."""


def to_dict(config: Frozen) -> dict[str, Any]:
    """Turn a configuration into plain JSON types."""
    return config.model_dump(mode="json")


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Build a run from plain types, strictly.

    Raises:
        ConfigError: an unknown or missing key, a value out of range, or fields that do not fit each other, with the
            path of the field and, for an unknown key, the known ones.
    """
    try:
        # As JSON, where pydantic is strict about types and yet takes a list for a tuple.
        return RunConfig.model_validate_json(json.dumps(dict(values)), strict=True)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def replace(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Make a variant: `replace(config, {"loss.adversarial": 1e-2, "budget": {"patch": 64}})`.

    Dotted paths name fields; a dict given for a part changes the named fields of that part. Everything is validated
    again, once, at the end.

    Raises:
        ConfigError: as `from_dict`.
    """
    values = to_dict(config)
    for path, value in changes.items():
        _put(values, path, value)
    return from_dict(values)


def get(config: Frozen, path: str) -> Any:
    """Read the field at a dotted path; ConfigError if there is none."""
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Frozen) or name not in type(value).model_fields:
            raise ConfigError(_unknown(path))
        value = getattr(value, name)
    return value


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Read `--set a.b=c` arguments; a value is JSON where it can be read as such, else a string.

    Raises:
        ConfigError: an argument without `=` or without a name.
    """
    changes: dict[str, Any] = {}
    for text in assignments:
        path, sign, raw = text.partition("=")
        if not sign or not path.strip():
            raise ConfigError(f"--set takes FIELD=VALUE, such as loss.adversarial=1e-2, but got {text!r}")
        try:
            changes[path.strip()] = json.loads(raw)
        except json.JSONDecodeError:
            changes[path.strip()] = raw
    return changes


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one level with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    node: Any = values
    for parent in parents:
        if parent == "decoder_fidelity" and isinstance(node, dict) and node.get(parent, 0) is None:
            node[parent] = copy.deepcopy(values["fidelity"])  # what it means to be unset
        if not isinstance(node, dict) or not isinstance(node.get(parent), dict):
            raise ConfigError(_unknown(path))
        node = node[parent]
    if isinstance(value, Mapping) and isinstance(node.get(name), dict):
        for key, inner in value.items():
            _put(node[name], key, inner)
    else:
        node[name] = value  # an unknown name is refused by the validation that follows


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(_unknown(path))
        elif problem["type"] == "value_error":
            lines.append(f"{path}: {problem['ctx']['error']}" if path else str(problem["ctx"]["error"]))
        else:
            lines.append(f"{path}: {problem['msg']}, but got {problem['input']!r}")
    return "; ".join(lines)


def _unknown(path: str) -> str:
    known = known_paths()
    close = difflib.get_close_matches(path, known, n=3)
    parent = path.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known here: {', '.join(siblings or known)}"
    return f"unknown field {path!r}; {hint}"


def known_paths(model: type[Frozen] = RunConfig, prefix: str = "") -> list[str]:
    """List the dotted paths of all fields, in their order."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        parts = [part for part in (field.annotation, *get_args(field.annotation)) if _is_part(part)]
        if parts:
            paths += known_paths(parts[0], f"{prefix}{name}.")
        else:
            paths.append(prefix + name)
    return paths


def _is_part(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Frozen)
