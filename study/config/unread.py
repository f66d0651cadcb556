"""Refuse fields that a person set although no run reads them; recipes and spaces may hold such fields."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from study.config.cache_keys import stage_part
from study.config.losses import AUTOENCODED
from study.config.overrides import READ_WITH, ConfigError, flatten, from_dict, get, to_dict
from study.config.run import RunConfig
from study.config.training import Stage

_NO_WEIGHTS = ("data.", "eval_schedule.", "precision")
"""What a run reads, or its own rules refuse, though it does not determine a stage's weights."""

_WITH_CRITERION = ("pixel", "lr", "consistency", "aesop", "bottleneck")
_BY_SCHEDULE = {"restarts": "cosine", "minimum": "cosine", "milestones": "steps", "gamma": "steps"}

_READERS = {
    "autoencoder.scale_weight": "loss.guidance probabilistic",
    "autoencoder": f"loss.guidance {', '.join(AUTOENCODED[:-1])} or {AUTOENCODED[-1]}, and loss.fidelity above 0",
    "critics": "loss.guidance mdf, and loss.fidelity above 0",
    "discriminator": "loss.adversarial or loss.gradient_adversarial above 0",
    "fidelity": "start fidelity and no generator.init",
    "loss.gan": "loss.adversarial or loss.gradient_adversarial above 0",
    "loss.criterion": f"loss.guidance {', '.join(_WITH_CRITERION[:-1])} or {_WITH_CRITERION[-1]}",
    "loss.perceptual_layers": "loss.perceptual_network vgg19, and loss.perceptual above 0",
    "loss.perceptual_network": "loss.perceptual above 0",
    "loss.perceptual_target": "loss.perceptual above 0",
    "recipe": "RECIPE on the command line, or the base of a space; it is a name here",
    "size": "--size; it is a name here",
}
"""What a part, or a field, is read with."""

_KEYED_THOUGH_UNREAD: dict[str, Callable[[RunConfig], bool]] = {
    "loss.gan": lambda run: run.loss.uses_discriminator,
    "loss.criterion": lambda run: run.loss.guidance in _WITH_CRITERION and run.loss.fidelity > 0,
    "loss.perceptual_layers": lambda run: run.loss.perceptual > 0 and run.loss.perceptual_network == "vgg19",
    "loss.perceptual_network": lambda run: run.loss.perceptual > 0,
    "loss.perceptual_target": lambda run: run.loss.perceptual > 0,
}
"""Whether a run reads fields that are a part of its key in any case."""


def check_set_fields(
    changes: Mapping[str, Any], before: RunConfig, runs: Sequence[RunConfig], until: Stage = "adversarial"
) -> None:
    """Check that each field that a person changed is read by a run.

    A run reads a field if another value of it would change what determines the weights of one of its stages.

    Args:
        changes: values by path, as of `parse_assignments`.
        before: the run without them.
        runs: the run with them, and the other runs that are made of it, such as a search's.
        until: a further stage that is trained, though the run may not need it.

    Raises:
        ConfigError: names the first field that none of the runs reads, and what would read it.
    """
    was, now = to_dict(before), to_dict(runs[0])
    for path in flatten(changes):
        name, former = _nearest(was, path)
        if former != _nearest(now, name)[1] and not any(_reads(run, path, name, former, until) for run in runs):
            what = "this run" if len(runs) == 1 else "any trial of this search"
            raise ConfigError(f"--set {path} would change nothing in {what}; leave it out: {_reader(runs[0], path)}")


def _reads(run: RunConfig, path: str, name: str, former: Any, until: Stage) -> bool:
    """Return whether a run reads a field, of which, or of the part `name` of which, the value was `former`."""
    if path.startswith(_NO_WEIGHTS):
        return True
    if not _may_read(run, path):
        return False
    *parents, last = name.split(".")
    values = to_dict(run)
    part = values
    for parent in parents:
        part = part[parent]
    part[last] = former
    stages = {*run.stages, until}
    try:
        other = from_dict(values)
        return any(stage_part(run, stage) != stage_part(other, stage) for stage in stages)
    except ConfigError:  # a rule of the run, or a file that is read, depends on the field
        return True


def _may_read(run: RunConfig, path: str) -> bool:
    if path in READ_WITH:
        return any(get(run, field) == value for field, value in READ_WITH[path].items())
    optimiser, _, field = path.rpartition(".")
    if optimiser.endswith("optimiser") and field in _BY_SCHEDULE:
        return bool(get(run, f"{optimiser}.schedule") == _BY_SCHEDULE[field])
    rules = (reads for start, reads in _KEYED_THOUGH_UNREAD.items() if path.startswith(start))
    return all(reads(run) for reads in rules)


def _reader(run: RunConfig, path: str) -> str:
    """Return what a field is read with, as a clause."""
    if path in READ_WITH:
        return "it is read with " + " or ".join(f"{field} {value}" for field, value in READ_WITH[path].items())
    optimiser, _, field = path.rpartition(".")
    if field in _BY_SCHEDULE and get(run, f"{optimiser}.schedule") != _BY_SCHEDULE[field]:
        return f"it is read with {optimiser}.schedule {_BY_SCHEDULE[field]}"
    part = path.partition(".")[0]
    if path in _READERS:
        return f"it is read with {_READERS[path]}"
    if {"autoencoder": run.loss.uses_autoencoder, "critics": run.loss.uses_critics}.get(part):
        weights = get(run, f"{part}.init")
        return f"{part}.init has {weights} in place of that training" if weights else f"other fields of {part} decide"
    reader = next((text for start, text in _READERS.items() if path.startswith(start)), "another configuration")
    return f"it is read with {reader}"


def _nearest(values: Mapping[str, Any], path: str) -> tuple[str, Any]:
    """Return the value of a field, or of the nearest part above it that exists, with its path."""
    value: Any = values
    names: list[str] = []
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            break
        value = value[name]
        names.append(name)
    return ".".join(names), value
