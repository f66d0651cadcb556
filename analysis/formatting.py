"""Numbers, times and names as a reader wants them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from analysis.journal import Objective

NOTHING = "\N{EN DASH}"


def number_text(value: Any, digits: int = 4) -> str:
    """A number with at most so many significant digits ("0.01", "1,234,567"), a dash where there is none."""
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float) or math.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.{digits}g}"


def metric_text(value: float) -> str:
    """A measured value with four significant digits, zeros kept so that columns line up: "29.90"."""
    return f"{value:#.4g}".rstrip(".") if math.isfinite(value) and abs(value) < 1e4 else number_text(float(value))


def with_unit(value: float, objective: Objective) -> str:
    """A metric's value with its unit: "29.99 dB"."""
    return f"{metric_text(value)} {objective.unit}".rstrip()


def metric_name(objective: Objective) -> str:
    """A metric's short name, for tables and text: "SWD" of "SWD (sliced Wasserstein distance)"."""
    return short_text(objective.label.partition(" (")[0] or objective.metric)


def duration_text(seconds: float) -> str:
    """A time span in the two units that matter: "2 h 5 min", "3 min 20 s", "1.25 s"."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{number_text(float(seconds), 3)} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


Currency = Literal["device_seconds", "own_seconds", "pixels_seen", "trials"]
"""What costs are counted in: device-seconds, with or without upstream stages; pixels that the trials saw; trials."""

COST_TEXT: dict[Currency, str] = {
    "device_seconds": "device-seconds, upstream stages included",
    "own_seconds": "device-seconds, upstream stages left out",
    "pixels_seen": "pixels seen by the trials",
    "trials": "trials",
}


def cost_text(budget_unit: Currency, amount: float) -> str:
    """An amount of it: "3 min 20 s of device time, upstream stages included", "9 trials"."""
    what = COST_TEXT[budget_unit].replace("device-seconds", "device time")
    if budget_unit in ("device_seconds", "own_seconds"):
        return f"{duration_text(amount)} of {what}"
    return f"{number_text(float(amount), 4)} {what}"


def count_text(number: int, noun: str) -> str:
    """A count with its noun: "1 point", "4 points"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def list_text(parts: Iterable[str]) -> str:
    """An enumeration: "a, b and c"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def path_label(path: str) -> str:
    """What a config path is about: "bottleneck channels" of "autoencoder.bottleneck_channels".

    What is but a name is about what it names: "generator" of "generator.name".
    """
    parent, _, last = path.rpartition(".")
    own = parent.rpartition(".")[2] if last == "name" and parent else last
    return short_text(own.replace("_", " "))


def path_heads(paths: Sequence[str]) -> tuple[str, ...]:
    """Short heads for config paths; the whole path where two would read the same."""
    labels = [path_label(path) for path in paths]
    return tuple(label if labels.count(label) == 1 else path for label, path in zip(labels, paths, strict=True))


def short_text(text: str, limit: int = 60) -> str:
    """A name on one line, cut where it would burst a figure or a table."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"
