"""Numbers, times and names as text."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import pandas as pd

from study.formatting import duration, printable
from study.record.goals import Objective

NOTHING = "\N{EN DASH}"


def number_text(value: Any, digits: int = 4) -> str:
    """Return a number with at most so many significant digits ("0.01", "1,234,567"), a dash where there is none."""
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float) or math.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.{digits}g}"


def metric_text(value: float) -> str:
    """Return a measured value with four significant digits, zeros kept so that columns line up: "29.90"."""
    return f"{value:#.4g}".rstrip(".") if math.isfinite(value) and abs(value) < 1e4 else number_text(float(value))


def with_unit(value: float, objective: Objective) -> str:
    """Return a metric's value with its unit: "29.99 dB"."""
    return f"{metric_text(value)} {objective.unit}".rstrip()


def metric_name(objective: Objective) -> str:
    """Return a metric's short name, for tables and text: "SWD" of "SWD (sliced Wasserstein distance)"."""
    return short_text(objective.label.partition(" (")[0] or objective.metric)


def metric_head(objectives: Sequence[Objective], metric: str) -> str:
    """Return a metric's column head: an objective's name with its unit, another's own name."""
    for objective in objectives:
        if objective.metric == metric:
            return f"{metric_name(objective)} [{objective.unit}]" if objective.unit else metric_name(objective)
    return short_text(metric)


def duration_text(seconds: float) -> str:
    """Return a time span in the two units that matter: "2 h 05 min", "3 min 20 s", "1.25 s"; a dash for NaN."""
    return duration(seconds, 3) if math.isfinite(seconds) else NOTHING


BudgetUnit = Literal["device_seconds", "own_seconds", "pixels_seen", "trials"]
"""What costs are counted in: device-seconds, with or without upstream stages; pixels that the trials saw; trials."""

COST_TEXT: dict[BudgetUnit, str] = {
    "device_seconds": "device-seconds, upstream stages included",
    "own_seconds": "device-seconds, upstream stages excluded",
    "pixels_seen": "pixels seen by the trials",
    "trials": "trials",
}


def cost_text(budget_unit: BudgetUnit, amount: float) -> str:
    """Return an amount of it: "3 min 20 s of device time, upstream stages included", "9 trials"."""
    what = COST_TEXT[budget_unit].replace("device-seconds", "device time")
    if budget_unit in ("device_seconds", "own_seconds"):
        return f"{duration_text(amount)} of {what}"
    return f"{number_text(float(amount), 4)} {what}"


def count_text(number: int, noun: str) -> str:
    """Return a count with its noun: "1 point", "4 points"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def list_text(parts: Iterable[str]) -> str:
    """Return an enumeration: "a, b and c"."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def path_label(path: str) -> str:
    """Return a config path's short name: "bottleneck channels" of "autoencoder.bottleneck_channels".

    A path that ends in `name` is named by its parent: "generator" of "generator.name".
    """
    parent, _, last = path.rpartition(".")
    label = parent.rpartition(".")[2] if last == "name" and parent else last
    return short_text(label.replace("_", " "))


def path_heads(paths: Sequence[str]) -> tuple[str, ...]:
    """Return short heads for config paths; the whole path where two would read the same."""
    labels = [path_label(path) for path in paths]
    return tuple(label if labels.count(label) == 1 else path for label, path in zip(labels, paths, strict=True))


def point_name(point: pd.Series) -> str:
    """Return how text names a row of the points table: "trial 3 at iteration 200", "fidelity generator"."""
    trial = "" if pd.isna(point["trial"]) else f"trial {point['trial']} at iteration {point['iteration']:,}"
    if point["kind"] == "interpolation" and trial:
        rest = short_text(point["interpolation.with"])
        return f"{point['interpolation.share']:.0%} {trial}, rest {rest}, in {point['interpolation.space']}"
    return trial or ("fidelity generator" if point["kind"] == "fidelity" else short_text(str(point["name"])))


def interpolation_text(point: pd.Series) -> str:
    """Return what an interpolation is of: "50% in weights, rest fidelity"; a dash for other points."""
    if point["kind"] != "interpolation":
        return NOTHING
    rest = short_text(point["interpolation.with"])
    return f"{point['interpolation.share']:.0%} in {point['interpolation.space']}, rest {rest}"


def short_text(text: str, limit: int = 60) -> str:
    """Return a name on one line, cut where it would burst a figure or a table."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}\N{HORIZONTAL ELLIPSIS}"
