"""Configurations from plain dicts and FIELD=VALUE assignments, and back."""

import copy
import difflib
import json
from collections.abc import Collection, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from study.config.generators import GENERATORS
from study.config.run import RunConfig
from study.config.training import Frozen

RENAMED_FIELDS = {
    "loss.own": "loss.custom",
    "loss.artifact": "loss.ldl",
    "cadence": "eval_schedule",
    "data.test": "data.val",
}
"""Former names of fields and of parts, each with the name that it has now."""

RENAMED_VALUES = {("loss.guidance", "own"): "custom", ("generator.head", "own"): "native"}
"""Former values by field, each with the value that it has now."""

READ_WITH = {
    "loss.downsampling": {"loss.guidance": "consistency"},
    "loss.critics_range": {"loss.guidance": "mdf"},
    "loss.kl": {"loss.guidance": "probabilistic"},
    "loss.kl_form": {"loss.guidance": "probabilistic"},
    "generator.init_scale": {"generator.name": "msrresnet", "autoencoder.decoder": "msrresnet"},
}
"""Fields that every run has, but that only runs read in which one of these fields has this value."""


class ConfigError(ValueError):
    """An invalid configuration: names the field, the rule, the value and the remedy."""


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
        # From JSON, pydantic is strict about types and still accepts a list for a tuple.
        return RunConfig.model_validate_json(json.dumps(dict(values)), strict=True)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def replace(config: RunConfig, changes: Mapping[str, Any], varied: Collection[str] = ()) -> RunConfig:
    """Make a variant: `replace(config, {"loss.adversarial": 1e-2, "budget": {"patch": 64}})`.

    Dotted paths name fields; a dict given for a part changes the named fields of that part. Another `generator.name`
    keeps the fields that both kinds of generator have, and drops the others. Everything is validated once, at the end.
    `varied` are the fields that a search will vary further: what a run reads may still depend on them.

    Raises:
        ConfigError: as `from_dict`; or a changed field that no such run would read.
    """
    values = to_dict(config)
    for path, value in changes.items():
        _put(values, path, value)
    given = flatten(changes)
    kind = GENERATORS.get(str(given.get("generator.name")))
    if kind is not None:
        for name in values["generator"].keys() - kind.model_fields.keys():
            if f"generator.{name}" not in given:
                del values["generator"][name]
    variant = from_dict(values)
    for path in READ_WITH:
        if path in given and get(variant, path) != get(config, path) and not READ_WITH[path].keys() & set(varied):
            _require_reader(variant, path)
    return variant


def get(config: Frozen, path: str) -> Any:
    """Read the field at a dotted path; ConfigError if the configuration does not have it."""
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Frozen) or name not in type(value).model_fields:
            raise ConfigError(_unknown(path, value.name if type(value) in GENERATORS.values() else None))
        value = getattr(value, name)
    return value


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Parse `--set a.b=c` arguments; a value that is no JSON is a string.

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
    """Turn nested dicts into one level with dotted names, below `prefix` if there is one."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        flat |= flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return flat


def refuse_old_names(fields: Mapping[str, Any]) -> None:
    """Refuse former names of fields and values, in a stored configuration or in a list of fields.

    Args:
        fields: values by dotted path, as `flatten` returns; None for a field without its value.

    Raises:
        ConfigError: one is there; names what it is called now.
    """
    problems = [_unknown(path) for path in fields if _current_name(path) is not None]
    problems += [text for path, value in fields.items() if (text := _renamed_value(path, value))]
    if problems:
        raise ConfigError("; ".join(problems))


def known_paths(model: type[Frozen] = RunConfig, prefix: str = "") -> list[str]:
    """List the dotted paths of all fields, in their order; of the generator, those of every kind."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        parts = [part for part in (field.annotation, *get_args(field.annotation)) if _is_part(part)]
        below = [path for part in parts for path in known_paths(part, f"{prefix}{name}.")]
        paths += dict.fromkeys(below) if parts else [prefix + name]
    return paths


def _is_part(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Frozen)


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    node: Any = values
    for parent in parents:
        if parent == "decoder_fidelity" and isinstance(node, dict) and node.get(parent, 0) is None:
            node[parent] = copy.deepcopy(values["fidelity"])  # its value where it is unset
        if not isinstance(node, dict) or not isinstance(node.get(parent), dict):
            raise ConfigError(_unknown(path))
        node = node[parent]
    if isinstance(value, Mapping) and isinstance(node.get(name), dict):
        for key, inner in value.items():
            _put(node[name], key, inner)
    else:
        node[name] = value  # an unknown name is refused by the validation that follows


def _require_reader(config: RunConfig, path: str) -> None:
    readers = READ_WITH[path]
    if not any(get(config, field) == value for field, value in readers.items()):
        only = " or ".join(f"{field} {value}" for field, value in readers.items())
        found = " and ".join(f"{field} is {get(config, field)}" for field in readers)
        raise ConfigError(f"{path} is read with {only} only, but {found}; leave it out, or change that")


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        loc = list(problem["loc"])
        kind = loc.pop(1) if loc[:1] == ["generator"] and len(loc) > 1 else None  # pydantic's tag of the union
        path = ".".join(str(part) for part in loc)
        match problem["type"]:
            case "extra_forbidden":
                lines.append(_unknown(path, kind))
            case "value_error":
                lines.append(f"{path}: {problem['ctx']['error']}" if path else str(problem["ctx"]["error"]))
            case "union_tag_invalid" | "union_tag_not_found":
                *others, last = (repr(name) for name in GENERATORS)
                name = problem["input"].get("name")
                lines.append(f"{path}.name: Input should be {', '.join(others)} or {last}, but got {name!r}")
            case _:
                renamed = _renamed_value(path, problem["input"])
                lines.append(renamed or f"{path}: {problem['msg']}, but got {problem['input']!r}")
    return "; ".join(lines)


def _unknown(path: str, kind: object = None) -> str:
    """Describe an unknown field: its present name, the kinds of generator that have it, or similar names."""
    current = _current_name(path)
    if current is not None:
        return f"unknown field {path!r}; it is called {current} now"
    having = [name for name, model in GENERATORS.items() if path.removeprefix("generator.") in model.model_fields]
    if kind is not None and having:
        return f"unknown field {path!r} of generator {kind}; only {' and '.join(having)} have it"
    known = known_paths()
    close = difflib.get_close_matches(path, known, n=3)
    parent = path.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known here: {', '.join(siblings or known)}"
    return f"unknown field {path!r}; {hint}"


def _current_name(path: str) -> str | None:
    """Return the name that a field with a former name has now; None for any other field."""
    for old, new in RENAMED_FIELDS.items():
        if path == old or path.startswith(f"{old}."):
            return new + path.removeprefix(old)
    return None


def _renamed_value(path: str, value: Any) -> str | None:
    new = RENAMED_VALUES.get((path, value)) if isinstance(value, str) else None
    return None if new is None else f"{path}: unknown value {value!r}; it is called {new} now"
