"""What a study found, in plain sentences, each computed from the tables; and what it cannot tell."""

from collections.abc import Iterator, Mapping
from typing import Any

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
    short_text,
    with_unit,
)
from analysis.journal import Objective
from analysis.statistics.compute import Statistics
from analysis.statistics.conclusions import conclusions, what_varies
from analysis.statistics.fronts import (
    GroupFront,
    beats_reference,
    front_hypervolume,
    front_of,
    group_fronts,
    is_allowed,
    is_candidate,
    is_interpolation,
    is_measured,
    is_of_trial,
)
from analysis.statistics.tables import Results

BASELINE_TEXT = {"bicubic": "bicubic interpolation", "input": "the images that were to be restored"}


def findings(results: Results, statistics: Statistics) -> tuple[str, ...]:
    """Say what came out: progress, front, best perceptual point, which group is better, and costs."""
    return (
        *_progress(results),
        *_front(results),
        *_best_perceptual(results),
        *_verdicts(results, statistics),
        *_groups(results),
        *_costs(results),
    )


def limits(results: Results, statistics: Statistics) -> tuple[str, ...]:
    """Say what was left out and what this study cannot tell."""
    return (
        *_left_out(results),
        *what_varies(statistics.contests),
        *_scope(results),
        *_unequal_budgets(results),
        *_unequal_looks(results),
    )


def _progress(results: Results) -> Iterator[str]:
    trials, facts = results.trials, results.facts
    if not len(trials):
        yield f"No trial has started yet (0 of {facts.trials} asked for), so there is nothing to compare."
        return
    states = trials["state"].value_counts()
    counts = list_text(f"{states[state]} {state}" for state in sorted(states.index))
    points = int(trials["points"].sum())
    evaluated = f"They were evaluated at {count_text(points, 'point')}."
    yield f"{len(trials)} of {facts.trials} trials were started: {counts}. {evaluated}"
    if (trials["state"] == "FAILED").all():
        yield "Every trial FAILED, so none of their points counts; the causes stand in the table of trials."


def _front(results: Results) -> Iterator[str]:
    facts, front = results.facts, front_of(results.points, results.facts)
    if not len(front):
        yield "There is no front, for no point counts yet."
        return
    box = list_text(
        f"{metric_name(axis)} {_within(axis)} {_step(end, axis)}"
        for axis, end in zip(facts.objectives, facts.corner, strict=True)
    )
    volume = metric_text(front_hypervolume(front, facts))
    size = count_text(len(front), "point")
    yield f"The front has {size} and a hypervolume of {volume}, counted where {box}."
    if len(front) == 1:
        yield "One point was best in everything, or the only one: this study shows no trade-off."
    yield from _origins(results, front)
    yield from _fidelity_against_baseline(results)


def _origins(results: Results, front: pd.DataFrame) -> Iterator[str]:
    """Which part of the front came from where, and what interpolation was worth."""
    if not is_interpolation(results.points).any():
        return
    last = results.points[is_of_trial(results.points)].groupby("trial")["iteration"].max()
    ended = (front["iteration"] == front["trial"].map(last)).fillna(False)
    at_end = is_of_trial(front) & np.asarray(ended, dtype=bool)
    spaces = front["interpolation.space"].fillna("")
    origins = {
        "trials' last points": int(at_end.sum()),
        "their earlier checkpoints": int((is_of_trial(front) & ~at_end).sum()),
        "fidelity generators": int((front["kind"] == "fidelity").sum()),
        "interpolations of weights": int((spaces == "weights").sum()),
        "interpolations of images": int((spaces == "images").sum()),
    }
    parts = list_text(f"{count} from {name}" for name, count in origins.items() if count)
    rest = results.points[~is_interpolation(results.points)]
    images = results.points[np.asarray(results.points["interpolation.space"].fillna("images") == "images", dtype=bool)]
    whole = front_hypervolume(front, results.facts)
    without, in_pixels = (front_hypervolume(front_of(part, results.facts), results.facts) for part in (rest, images))
    cost = results.points[is_interpolation(results.points)]["device_seconds"].sum()
    yield (
        f"Of the front's points, {parts} came. Interpolation took {duration_text(cost)} of device time and made the "
        f"hypervolume {_fine_share(whole - without, without)} larger; interpolating images alone would have made it "
        f"{_fine_share(in_pixels - without, without)} larger."
    )


def _step(value: float, axis: Objective) -> str:
    """A difference or a limit, which needs fewer digits than a value: "0.69 dB"."""
    return f"{number_text(float(value), 3)} {axis.unit}".rstrip()


def _within(axis: Objective) -> str:
    return "is above" if axis.direction == "maximize" else "is below"


def _fidelity_against_baseline(results: Results) -> Iterator[str]:
    first = results.facts.objectives[0]
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
    first, second = results.facts.objectives[:2]
    points = results.points[is_candidate(results.points) & is_measured(results.points, results.facts)]
    best = _best_row(points[is_of_trial(points)], second)
    if best is None:
        return
    fidelity = _own_fidelity(points[~is_of_trial(points)], best, first)
    value = with_unit(best[second.metric], second)
    what = f"The best {metric_name(second)} of a trial is {value} ({point_name(best)})"
    if fidelity is None:
        yield f"{what}; no fidelity generator was measured to compare it with."
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
    """As `_share` with two digits: with a reference point far away, the last bit of a front is a small part."""
    return f"{100 * abs(gained / base):.2g}%" if base else metric_text(abs(gained))


def _image_votes(results: Results, best: pd.Series, fidelity: pd.Series, objective: Objective) -> str:
    """On how many held-out images the mean's conclusion holds."""
    there, here = image_metrics(results, fidelity), image_metrics(results, best)
    pairs = [(here[name].get(objective.metric), there[name].get(objective.metric)) for name in here if name in there]
    gains = [_gain(objective, one, other) for one, other in pairs if one is not None and other is not None]
    if not gains:
        return ""
    wins, images = sum(gain > 0 for gain in gains), count_text(len(gains), "held-out image")
    return f" It has the better {metric_name(objective)} on {wins} of {images}."


def image_metrics(results: Results, point: pd.Series) -> Mapping[str, Mapping[str, Any]]:
    """The metrics of a point by held-out image, as far as the journal has them."""
    if point["kind"] == "trial":
        event = results.journal.points[int(point["trial"]), int(point["iteration"])]
    elif point["kind"] == "interpolation":
        pair, _, name = str(point["name"]).rpartition(" ")
        event = results.journal.interpolations[pair, name]
    else:
        event = results.journal.references[point["name"]]
    images = event.get("images")
    return images if isinstance(images, dict) else {}


def point_name(point: pd.Series) -> str:
    """How to speak of a point: "trial 3 at iteration 200", "fidelity generator"."""
    if point["kind"] == "trial":
        return f"trial {point['trial']} at iteration {point['iteration']:,}"
    if point["kind"] == "interpolation" and not pd.isna(point["trial"]):
        of = f"trial {point['trial']} at iteration {point['iteration']:,}"
        return f"{point['interpolation.share']:.0%} {of}, rest {short_text(point['interpolation.with'])}, in {point['interpolation.space']}"
    return "fidelity generator" if point["kind"] == "fidelity" else short_text(str(point["name"]))


def _own_fidelity(generators: pd.DataFrame, point: pd.Series, objective: Objective) -> pd.Series | None:
    own = generators[(generators["name"] == point.get("artifact.fidelity")).fillna(False).to_numpy(dtype=bool)]
    return _best_row(own if len(own) else generators, objective)


def _best_row(points: pd.DataFrame, objective: Objective) -> pd.Series | None:
    if not len(points):
        return None
    values = points[objective.metric]
    return points.loc[values.idxmax() if objective.direction == "maximize" else values.idxmin()]


def _verdicts(results: Results, statistics: Statistics) -> Iterator[str]:
    """Of the main question; the tables have the others."""
    for path in results.facts.groups[:1]:
        yield from conclusions(path, statistics.comparisons[path], statistics.budget_unit)


def _groups(results: Results) -> Iterator[str]:
    """Compare the main group's fronts, and what an iteration costs in each."""
    groups = _main_groups(results)
    if len(groups) < 2:
        return
    path = path_label(results.facts.groups[0])
    ranked = sorted(groups, key=lambda group: group.hypervolume, reverse=True)
    volumes = list_text(f"{metric_text(group.hypervolume)} with {short_text(group.value)}" for group in ranked)
    yield f"Split by {path}, the fronts of the trials alone have a hypervolume of {volumes}."
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


def _main_groups(results: Results) -> list[GroupFront]:
    facts = results.facts
    return group_fronts(results.points, facts, facts.groups[0]) if facts.groups else []


def _costs(results: Results) -> Iterator[str]:
    trials, artifacts = results.trials["device_seconds"].sum(), results.artifacts["device_seconds"].sum()
    if trials + artifacts > 0:
        yield (
            f"In all, the trials' own stages took {duration_text(trials)} of device time and the "
            f"shared artifacts behind them {duration_text(artifacts)}."
        )


def _left_out(results: Results) -> Iterator[str]:
    points, facts = results.points, results.facts
    unmeasured = int((is_candidate(points) & ~is_measured(points, facts)).sum())
    if unmeasured:
        size = count_text(unmeasured, "point")
        yield f"Left out of the front: {size} with an objective that is not a finite number."
    forbidden = int((is_candidate(points) & is_measured(points, facts) & ~is_allowed(points, facts)).sum())
    if forbidden:
        bounds = list_text(map(str, facts.constraints))
        yield f"Left out of the front: {count_text(forbidden, 'point')} that miss {bounds}."
    failed = int((is_of_trial(points) & ~is_candidate(points)).sum())
    if failed:
        yield f"Left out of the front: {count_text(failed, 'point')} of FAILED trials."
    front = front_of(points, facts)
    outside = int((~beats_reference(front, facts)).sum())
    if outside:
        size = count_text(outside, "point")
        yield (
            f"Of the front, {size} beyond the reference point: no hypervolume is added. To count them, name a worse "
            "REFERENCE in the space."
        )
    if results.journal.unreadable:
        yield f"Unreadable in the journal, and left out: {count_text(results.journal.unreadable, 'line')}."


def _scope(results: Results) -> Iterator[str]:
    facts, images = results.facts, len(results.facts.test_images)
    if len(seeds := _seeds(results)) > 1:
        yield (
            f"Runs differ by seeds of their own ({list_text(map(str, seeds))}), at size {short_text(facts.size)!r}, "
            f"evaluated on {count_text(images, 'held-out image')}; what they start from was trained once. So this says "
            "nothing of how the result would vary with other fidelity generators, auto-encoders or training images."
        )
        return
    yield (
        f"This is one study with one seed ({facts.seed}), at size {short_text(facts.size)!r}, evaluated on "
        f"{count_text(images, 'held-out image')}: it says nothing of how the result would vary with other "
        "seeds or images, and small differences between points or groups may be chance."
    )


def _unequal_looks(results: Results) -> Iterator[str]:
    """A group whose trials were evaluated more often has more chances to be on a front: say so."""
    groups = [group for group in _main_groups(results) if group.trials]
    looks = [group.points / group.trials for group in groups]
    if len(looks) < 2 or max(looks) <= 1.2 * min(looks):
        return
    parts = list_text(
        f"{number_text(times, 2)} ({short_text(group.value)})" for times, group in zip(looks, groups, strict=True)
    )
    yield (
        f"Trials were evaluated unequally often, {parts} times on average, and each time is a chance to be on a front: "
        "analysis/report.py --last-points compares their ends alone."
    )


def _seeds(results: Results) -> list[int]:
    """With which seeds the trials' own stages were trained."""
    points = results.points[is_of_trial(results.points)]
    return sorted(points["config.seed"].dropna().astype(int).unique()) if "config.seed" in points else []


def _unequal_budgets(results: Results) -> Iterator[str]:
    """Fronts compare fairly only at equal budget: say so where the main groups' budgets differ by over 5%."""
    groups = _main_groups(results)
    seconds = [group.device_seconds for group in groups]
    if len(seconds) < 2 or max(seconds) <= 1.05 * min(seconds):
        return
    parts = list_text(f"{duration_text(group.device_seconds)} with {short_text(group.value)}" for group in groups)
    yield f"Budgets differ ({parts}), so a larger hypervolume may only mean more device time."
