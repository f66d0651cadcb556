"""Whether a longer run continues a shorter one: it does if it would have trained the iterations of both alike."""

import json
import math
import shlex
from collections.abc import Mapping
from typing import Any

from study.config.overrides import ConfigError, get, replace
from study.config.run import RunConfig
from study.config.training import learning_rate_at

_RATE_FIELDS = tuple(
    f"optimiser.{name}"
    for name in ("learning_rate", "schedule", "restarts", "minimum", "milestones", "gamma", "warmup")
)
EXTENSION_FIELDS = ("budget.iterations", *_RATE_FIELDS, "fusion_share")
"""What may differ: the budget, and the fields whose values are shares of it or determine the learning rate."""

_RELATIVE = {
    "steps": ", since optimiser.milestones are shares of the budget",
    "cosine": ", since the periods of optimiser.schedule cosine are parts of the budget",
}


def check_extension(before: RunConfig, now: RunConfig) -> None:
    """Check that a run continues another one, which differs from it in `EXTENSION_FIELDS` alone.

    Raises:
        ConfigError: it is shorter, or would have trained an iteration of the other one differently; the message names
            the fields, and those with which it would continue it.
    """
    done, wanted = before.budget.iterations, now.budget.iterations
    if wanted < done:
        raise ConfigError(
            f"budget.iterations {wanted} is below the {done} with which it was started, and a run cannot become "
            f"shorter; set it to {done} or more, or name another --output"
        )
    problem = _difference(before, now)
    if problem is not None:
        fields = _continuing_fields(before, wanted)
        remedy = f"give {_assignments(fields, now)}, or name" if _continues(before, now, fields) else "name"
        raise ConfigError(
            f"{wanted} iterations (budget.iterations) do not continue {done}: {problem}; {remedy} another --output"
        )


def reduced(now: RunConfig, before: RunConfig) -> RunConfig:
    """Return a run with the `EXTENSION_FIELDS` of the one that it extends."""
    return replace(now, {path: get(before, path) for path in EXTENSION_FIELDS})


def _difference(before: RunConfig, now: RunConfig) -> str | None:
    """Return the first iteration of `before` that `now` would train differently, and why; None if there is none."""
    for iteration in range(before.budget.iterations):
        old, new = (learning_rate_at(run.optimiser, iteration, run.budget.iterations) for run in (before, now))
        if old != new:
            same_kind = before.optimiser.schedule == now.optimiser.schedule
            why = _RELATIVE.get(now.optimiser.schedule, "") if same_kind else ""
            return f"iteration {iteration + 1} had the learning rate {old!r}, and would have {new!r}{why}"
    old_end, new_end = _fusion_end(before), _fusion_end(now)
    if old_end != new_end:
        return f"fusion_share, of the budget, ended before iteration {old_end}, and would end before {new_end}"
    return None


def _fusion_end(config: RunConfig) -> int:
    """Return the first iteration, from 1, that does not train SPSR's fusion layers alone."""
    return max(1, math.ceil(config.fusion_share * config.budget.iterations))


def _continuing_fields(before: RunConfig, iterations: int) -> dict[str, Any]:
    """Return the `EXTENSION_FIELDS` of a run of at least so many iterations that continues another one."""
    done, optimiser = before.budget.iterations, before.optimiser
    fields = {path: get(before, path) for path in EXTENSION_FIELDS}
    if optimiser.schedule == "cosine":  # whole periods
        times = math.ceil(iterations / done)
        iterations = times * done
        fields["optimiser.restarts"] = times * optimiser.restarts
    fields["budget.iterations"] = iterations
    fields["optimiser.milestones"] = [share * done / iterations for share in optimiser.milestones]
    if before.fusion_share:
        fields["fusion_share"] = (_fusion_end(before) - 0.5) / iterations
    return fields


def _continues(before: RunConfig, now: RunConfig, fields: Mapping[str, Any]) -> bool:
    try:
        return _difference(before, replace(now, fields)) is None
    except ConfigError:
        return False


def _assignments(fields: Mapping[str, Any], now: RunConfig) -> str:
    """Return the fields that differ from a run's, as arguments of the command line."""
    values = {path: json.loads(json.dumps(value)) for path, value in fields.items()}
    there = {path: json.loads(json.dumps(get(now, path))) for path in values}
    texts = {path: value if isinstance(value, str) else json.dumps(value) for path, value in values.items()}
    changed = [path for path in values if values[path] != there[path]]
    return " ".join(f"--set {shlex.quote(f'{path}={texts[path]}')}" for path in changed)
