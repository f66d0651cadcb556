"""Findings of a study in sentences, each computed from the tables."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.formatting import (
    count_text,
    duration_text,
    list_text,
    metric_name,
    metric_text,
    number_text,
    path_label,
    point_name,
    short_text,
    with_unit,
)
from analysis.statistics.compute import Statistics
from analysis.statistics.conclusions import conclusions
from analysis.statistics.fronts import (
    GroupFront,
    front_hypervolume,
    front_of,
    group_fronts,
    is_candidate,
    is_interpolation,
    is_measured,
    is_of_trial,
)
from analysis.statistics.tables import Results, image_metrics
from study.record.goals import Objective

BASELINE_TEXT = {"bicubic": "bicubic interpolation", "input": "the degraded input"}


def findings(results: Results, statistics: Statistics) -> tuple[str, ...]:
    """Return the findings: progress, front, best perceptual point, which group is better, and costs."""
    return (
        *_progress(results),
        *_front(results),
        *_best_perceptual(results),
        *_conclusions(results, statistics),
        *_groups(results),
        *_costs(results),
    )


def main_groups(results: Results) -> list[GroupFront]:
    """Return the groups of the study's main question; none where it has no groups."""
    return group_fronts(results.points, results.goals, results.groups[0]) if results.groups else []


def _progress(results: Results) -> Iterator[str]:
    trials, requested = results.trials, results.metadata.search.trials
    if not len(trials):
        yield f"No trial has started yet (0 of {requested}), so there are no results."
        return
    states = trials["state"].value_counts()
    parts = list_text(f"{states[state]} {state}" for state in sorted(states.index))
    points = int(trials["points"].sum())
    evaluated = f"They were evaluated at {count_text(points, 'point')}."
    yield f"{len(trials)} of {requested} trials were started: {parts}. {evaluated}"
    if (trials["state"] == "FAILED").all():
        yield "Every trial FAILED, so none of their points counts; the table of trials lists the causes."


def _front(results: Results) -> Iterator[str]:
    goals, front = results.goals, front_of(results.points, results.goals)
    if not len(front):
        yield "There is no front: no point counts yet."
        yield from _unmet(results)
        return
    box = list_text(
        f"{metric_name(axis)} {_within(axis)} {_step(end, axis)}"
        for axis, end in zip(goals.objectives, goals.corner, strict=True)
    )
    volume, size = metric_text(front_hypervolume(front, goals)), count_text(len(front), "point")
    yield f"The front has {size}{_origins(results, front)}. Its hypervolume is {volume}, counted where {box}."
    if len(front) == 1:
        yield "One point is best in all objectives, or the only one: this study shows no trade-off."
    yield from _interpolation(results, front)
    yield from _fidelity_against_baseline(results)


def _unmet(results: Results) -> Iterator[str]:
    """Name the constraints that no measured point meets, with the nearest value."""
    points = results.points[is_candidate(results.points) & is_measured(results.points, results.goals)]
    for constraint in results.goals.constraints:
        values = [float(value) for value in points.get(constraint.metric, ()) if np.isfinite(value)]
        if values and min(constraint.violation({constraint.metric: value}) for value in values) > 0:
            nearest = max(values) if constraint.sense == ">=" else min(values)
            yield (
                f"No point meets the constraint {constraint}: the nearest has {metric_text(nearest)}; "
                "start another study with a bound that points reach."
            )


def _origins(results: Results, front: pd.DataFrame) -> str:
    """Return how many points of the front have which origin, where the study has interpolations."""
    if not is_interpolation(results.points).any():
        return ""
    last = results.points[is_of_trial(results.points)].groupby("trial")["iteration"].max()
    ended = (front["iteration"] == front["trial"].map(last)).fillna(False)
    at_end = is_of_trial(front) & np.asarray(ended, dtype=bool)
    spaces = front["interpolation.space"].fillna("")
    origins = {
        "last point of a trial": int(at_end.sum()),
        "earlier checkpoint": int((is_of_trial(front) & ~at_end).sum()),
        "fidelity generator": int((front["kind"] == "fidelity").sum()),
        "weight interpolation": int((spaces == "weights").sum()),
        "image interpolation": int((spaces == "images").sum()),
    }
    plurals = {"last point of a trial": "last points of trials"}
    parts = (
        f"{count} {plurals[name]}" if count > 1 and name in plurals else count_text(count, name)
        for name, count in origins.items()
        if count
    )
    return f": {list_text(parts)}"


def _interpolation(results: Results, front: pd.DataFrame) -> Iterator[str]:
    """Say what interpolation cost, and what it added to the hypervolume."""
    interpolated = is_interpolation(results.points)
    if not interpolated.any():
        return
    images = results.points["interpolation.space"].fillna("images") == "images"
    parts = (results.points[~interpolated], results.points[np.asarray(images, dtype=bool)])
    without, with_images = (front_hypervolume(front_of(part, results.goals), results.goals) for part in parts)
    gain = _fine_share(front_hypervolume(front, results.goals) - without, without)
    cost = duration_text(results.points[interpolated]["device_seconds"].sum())
    yield (
        f"Interpolation took {cost} of device time and made the hypervolume {gain} larger; image interpolation alone "
        f"would have made it {_fine_share(with_images - without, without)} larger."
    )


def _step(value: float, axis: Objective) -> str:
    """Return a difference or a limit, which needs fewer digits than a value: "0.69 dB"."""
    return f"{number_text(float(value), 3)} {axis.unit}".rstrip()


def _within(axis: Objective) -> str:
    return "is above" if axis.direction == "maximize" else "is below"


def _fidelity_against_baseline(results: Results) -> Iterator[str]:
    first = results.objectives[0]
    points = results.points[np.isfinite(results.points[first.metric].to_numpy())]
    baseline = points[points["kind"].isin(BASELINE_TEXT)]
    fidelity = _best_row(points[points["kind"] == "fidelity"], first)
    if fidelity is None or not len(baseline):
        return
    there, here = baseline[first.metric].iloc[0], fidelity[first.metric]
    word = "above" if here >= there else "below"
    yield (
        f"The fidelity generator reaches {with_unit(here, first)} {metric_name(first)}, "
        f"{_step(abs(here - there), first)} {word} {BASELINE_TEXT[baseline['kind'].iloc[0]]}."
    )


def _best_perceptual(results: Results) -> Iterator[str]:
    """Compare the best perceptual point of a trial with the fidelity generator that it started from."""
    first, second = results.objectives[:2]
    points = results.points[is_candidate(results.points) & is_measured(results.points, results.goals)]
    best = _best_row(points[is_of_trial(points)], second)
    if best is None:
        return
    fidelity = _fidelity_of(points[~is_of_trial(points)], best, first)
    value = with_unit(best[second.metric], second)
    what = f"The best {metric_name(second)} of a trial is {value} ({point_name(best)})"
    if fidelity is None:
        yield f"{what}; no fidelity generator was evaluated to compare it with."
        return
    gained = _gain(second, best[second.metric], fidelity[second.metric])
    lost = _gain(first, best[first.metric], fidelity[first.metric])
    conclusion = f"{_share(gained, fidelity[second.metric])} {'better' if gained > 0 else 'worse'}"
    price = f"{_step(abs(lost), first)} {'better' if lost > 0 else 'worse'} in {metric_name(first)}"
    yield (
        f"{what}: {conclusion} than the fidelity generator's {with_unit(fidelity[second.metric], second)}, "
        f"and {price}.{_image_votes(results, best, fidelity, second)}"
    )


def _gain(objective: Objective, here: float, there: float) -> float:
    return here - there if objective.direction == "maximize" else there - here


def _share(gained: float, base: float) -> str:
    return f"{abs(gained / base):.0%}" if base else metric_text(abs(gained))


def _fine_share(gained: float, base: float) -> str:
    """As `_share` with two digits: with a distant reference point, the end of a front is a small part."""
    return f"{100 * abs(gained / base):.2g}%" if base else metric_text(abs(gained))


def _image_votes(results: Results, best: pd.Series, fidelity: pd.Series, objective: Objective) -> str:
    """Say on how many validation images the conclusion about the mean holds."""
    there, here = image_metrics(results, fidelity), image_metrics(results, best)
    metric = objective.metric
    pairs = [(here[name].get(metric, np.nan), there[name].get(metric, np.nan)) for name in here if name in there]
    gains = [gain for pair in pairs if np.isfinite(gain := _gain(objective, *pair))]
    if not gains:
        return ""
    wins, images = sum(gain > 0 for gain in gains), count_text(len(gains), "validation image")
    return f" It has the better {metric_name(objective)} on {wins} of {images}."


def _fidelity_of(generators: pd.DataFrame, point: pd.Series, objective: Objective) -> pd.Series | None:
    own = generators[(generators["name"] == point.get("artifact.fidelity")).fillna(False).to_numpy(dtype=bool)]
    return _best_row(own if len(own) else generators, objective)


def _best_row(points: pd.DataFrame, objective: Objective) -> pd.Series | None:
    if not len(points):
        return None
    values = points[objective.metric]
    return points.loc[values.idxmax() if objective.direction == "maximize" else values.idxmin()]


def _conclusions(results: Results, statistics: Statistics) -> Iterator[str]:
    """Conclude on the main question; the tables have the others."""
    for path in results.groups[:1]:
        yield from conclusions(path, statistics.comparisons[path], statistics.budget_unit)
        if left_out := statistics.groups[path].left_out:
            names = list_text(map(short_text, left_out))
            yield f"With {path_label(path)} {names} no point counts yet, so nothing can be said about it."


def _groups(results: Results) -> Iterator[str]:
    """Compare the main groups' fronts, and the cost of an iteration in each."""
    groups = main_groups(results)
    if len(groups) < 2:
        return
    path = path_label(results.groups[0])
    ranked = sorted(groups, key=lambda group: group.hypervolume, reverse=True)
    volumes = list_text(f"{metric_text(group.hypervolume)} with {short_text(group.value)}" for group in ranked)
    yield f"Grouped by {path}, the fronts of the trials alone have a hypervolume of {volumes}."
    timed = sorted(
        (group for group in groups if group.seconds_per_iteration > 0),
        key=lambda group: group.seconds_per_iteration,
    )
    if len(timed) < 2:
        return
    costs = list_text(f"{duration_text(group.seconds_per_iteration)} with {short_text(group.value)}" for group in timed)
    ratio = timed[-1].seconds_per_iteration / timed[0].seconds_per_iteration
    yield (
        f"A training iteration took on average {costs} of device time: "
        f"{number_text(ratio, 3)} times as long in the slowest as in the fastest."
    )


def _costs(results: Results) -> Iterator[str]:
    trials, artifacts = results.trials["device_seconds"].sum(), results.artifacts["device_seconds"].sum()
    if trials + artifacts > 0:
        yield (
            f"In all, the trials' own stages took {duration_text(trials)} of device time, and the artifacts that they "
            f"share {duration_text(artifacts)}."
        )
