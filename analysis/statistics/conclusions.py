"""Conclusions from the comparison of groups, in sentences."""

import math
from collections.abc import Iterator, Mapping, Sequence

from analysis.formatting import BudgetUnit, cost_text, count_text, list_text, path_label, short_text
from analysis.statistics.dominance import Comparison
from analysis.statistics.groups import GroupComparison

CERTAIN = 0.975
"""From this probability on, that of a two-sided 95% interval, one group counts as better."""
MOST_PAIRS = 5
"""Text names this many pairs; the tables have all."""


def conclusions(
    path: str, comparisons: Sequence[Comparison], budget_unit: BudgetUnit = "device_seconds"
) -> Iterator[str]:
    """Say for each pair which front is better at equal budget, or that this is uncertain; of many, the surest ones.

    Pairs that cannot be compared come last.
    """
    measured = [each for each in comparisons if math.isfinite(each.difference.positive)]
    surest = sorted(measured, key=lambda each: -abs(each.difference.positive - 0.5))
    for each in surest[:MOST_PAIRS]:
        yield _conclusion(path, each, budget_unit)
    if len(surest) > MOST_PAIRS:
        certain = sum(_is_certain(each) for each in surest)
        yield f"In all, {certain} of {count_text(len(surest), 'pair')} by {path_label(path)} differ with certainty."
    yield from _incomparable(path, comparisons, budget_unit)


def _incomparable(path: str, comparisons: Sequence[Comparison], budget_unit: BudgetUnit) -> Iterator[str]:
    """Name the pairs in which a group has no point at the compared cost."""
    pairs = [each for each in comparisons if not all(map(math.isfinite, each.volumes))]
    for each in pairs[:MOST_PAIRS]:
        without = [
            short_text(value)
            for value, volume in zip((each.one, each.other), each.volumes, strict=True)
            if not math.isfinite(volume)
        ]
        yield (
            f"At equal cost ({cost_text(budget_unit, each.budget)}) {path_label(path)} {short_text(each.one)} and "
            f"{short_text(each.other)} cannot be compared: {list_text(without)} had no point by then."
        )
    if len(pairs) > MOST_PAIRS:
        yield f"In all, {count_text(len(pairs), 'pair')} cannot be compared for that reason."


def _conclusion(path: str, each: Comparison, budget_unit: BudgetUnit) -> str:
    first_better = each.difference.positive >= 0.5
    better, worse = (each.one, each.other) if first_better else (each.other, each.one)
    sign = 1 if first_better else -1
    low, high = sorted((sign * each.difference.low, sign * each.difference.high))
    probability = max(each.difference.positive, 1 - each.difference.positive)
    what = (
        f"At equal cost ({cost_text(budget_unit, each.budget)}) the hypervolume with "
        f"{path_label(path)} {short_text(better)} is {sign * each.difference.estimate:.3g} larger than with "
        f"{short_text(worse)} (95% interval {low:.3g} to {high:.3g})."
    )
    if min(each.runs) < 2:
        return (
            f"{what} This may be chance: of {list_text(_single_runs(each))} there is one run, and the interval leaves "
            "out how much runs differ."
        )
    if not _is_certain(each):
        return f"{what} This may be chance: the probability that it is larger at all is {probability:.0%}."
    share = each.dominates if first_better else each.dominated
    return (
        f"{what} It is larger with a probability of {_at_most(probability)}; its front dominates in {share:.0%} of "
        "the draws."
    )


def _single_runs(each: Comparison) -> list[str]:
    return [short_text(value) for value, runs in zip((each.one, each.other), each.runs, strict=True) if runs < 2]


def _is_certain(each: Comparison) -> bool:
    return min(each.runs) > 1 and max(each.difference.positive, 1 - each.difference.positive) >= CERTAIN


def _at_most(probability: float) -> str:
    return "more than 99.9%" if probability > 0.999 else f"{probability:.1%}"


def what_varies(groups: Mapping[str, GroupComparison]) -> Iterator[str]:
    """Say what the intervals include, and what they leave out."""
    comparison = next((each for each in groups.values() if len(each.groups) > 1), None)
    if comparison is None:
        return
    if comparison.images < 2:
        yield "One validation image gives no interval: name a --val with more."
        return
    repeated = sum(each.repeated[0] for each in comparison.groups)
    settings = sum(each.repeated[1] for each in comparison.groups)
    if repeated:
        yield (
            f"Intervals are over the {comparison.images} validation images and over seeds: {repeated} of "
            f"{count_text(settings, 'setting')} were trained with more than one seed; the others vary by more than the "
            "intervals show."
        )
    else:
        yield (
            f"Intervals are over the {comparison.images} validation images alone: every setting was trained with one "
            "seed, and they leave out the variation between seeds."
        )
    names = list_text(f"{len(set(each.trials.tolist()))} ({short_text(each.value)})" for each in comparison.groups)
    yield (
        "A group's front depends on its best trials, and a search draws more trials in promising regions; the groups "
        f"have {names} trials."
    )
