"""What the comparison of groups says, in plain sentences."""

import math
from collections.abc import Iterator, Mapping, Sequence

from analysis.formatting import Currency, cost_text, count_text, list_text, path_label, short_text
from analysis.statistics.dominance import Comparison
from analysis.statistics.groups import GroupComparison

SURE = 0.975
"""From this probability on, that of a two-sided 95% interval, one group is said to be better."""
MOST_PAIRS = 5
"""As many pairs are spoken of; the tables have all."""


def conclusions(
    path: str, comparisons: Sequence[Comparison], budget_unit: Currency = "device_seconds"
) -> Iterator[str]:
    """Say of each pair which front is better at equal budget, or that nobody can tell; of many, the surest ones."""
    measured = [each for each in comparisons if math.isfinite(each.difference.positive)]
    surest = sorted(measured, key=lambda each: -abs(each.difference.positive - 0.5))
    for each in surest[:MOST_PAIRS]:
        yield _verdict(path, each, budget_unit)
    if len(surest) > MOST_PAIRS:
        told = sum(_is_sure(each) for each in surest)
        yield f"In all, {told} of {count_text(len(surest), 'pair')} by {path_label(path)} can be told apart."


def _verdict(path: str, each: Comparison, budget_unit: Currency) -> str:
    first_better = each.difference.positive >= 0.5
    better, worse = (each.one, each.other) if first_better else (each.other, each.one)
    sign = 1 if first_better else -1
    low, high = sorted((sign * each.difference.low, sign * each.difference.high))
    sure = max(each.difference.positive, 1 - each.difference.positive)
    what = (
        f"At equal cost ({cost_text(budget_unit, each.budget)}) the hypervolume with "
        f"{path_label(path)} {short_text(better)} is {sign * each.difference.estimate:.3g} larger than with "
        f"{short_text(worse)} (95% interval {low:.3g} to {high:.3g})."
    )
    if not _is_sure(each):
        return f"{what} That may be chance: the probability that it is larger at all is {sure:.0%}."
    share = each.dominates if first_better else each.dominated
    return (
        f"{what} It is larger with a probability of {_at_most(sure)}; its front dominates in {share:.0%} of the draws."
    )


def _is_sure(each: Comparison) -> bool:
    return max(each.difference.positive, 1 - each.difference.positive) >= SURE


def _at_most(probability: float) -> str:
    return "more than 99.9%" if probability > 0.999 else f"{probability:.1%}"


def what_varies(contests: Mapping[str, GroupComparison]) -> Iterator[str]:
    """Say what the intervals stand for, and what they leave out."""
    contest = next((each for each in contests.values() if len(each.groups) > 1), None)
    if contest is None:
        return
    if contest.images < 2:
        yield "One held-out image gives no interval: name a --val with more."
        return
    repeated = [each.repeated[0] for each in contest.groups]
    settings = sum(each.repeated[1] for each in contest.groups)
    if any(repeated):
        yield (
            f"Intervals are over the {contest.images} held-out images and over seeds: {sum(repeated)} of "
            f"{count_text(settings, 'setting')} were trained with more than one seed; the others vary by more than is "
            "shown."
        )
    else:
        yield (
            f"Intervals are over the {contest.images} held-out images alone: every setting was trained with one seed, "
            "and how much another seed would change is not in them."
        )
    names = list_text([f"{len(set(each.trials.tolist()))} ({short_text(each.value)})" for each in contest.groups])
    yield (
        "A group is as good as its luckiest trial, and a search draws more trials where it went well; the groups have "
        f"{names} trials."
    )
