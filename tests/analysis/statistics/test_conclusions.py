"""Sentences about pairs of groups: they say what the numbers say, and no more."""

import math

import numpy as np

from analysis.statistics.conclusions import conclusions, what_varies
from analysis.statistics.dominance import Comparison
from analysis.statistics.groups import GroupComparison
from analysis.statistics.resampling import Interval
from tests.analysis.statistics.made_comparisons import World
from tests.analysis.statistics.test_dominance import HARD, comparison, group


def pair(estimate: float, low: float, high: float, positive: float, **changes: object) -> Comparison:
    fields: dict = {
        "one": "aesop",
        "other": "pixel",
        "budget": 90.0,
        "runs": (12, 12),
        "volumes": (2 + estimate, 2.0),
        "difference": Interval(estimate, low, high, positive),
        "dominates": 0.25,
        "dominated": 0.0,
    }
    return Comparison(**fields | changes)


def sentences_of(*pairs: Comparison) -> list[str]:
    return list(conclusions("loss.guidance", pairs))


def test_a_sure_difference_is_said_to_be_one() -> None:
    (sentence,) = sentences_of(pair(1.5, 0.5, 2.5, 0.9996))
    assert "1 min 30 s of device time" in sentence
    assert "with guidance aesop is 1.5 larger than with pixel (95% interval 0.5 to 2.5)" in sentence
    assert "larger with a probability of more than 99.9%; its front dominates in 25% of the draws" in sentence


def test_the_better_one_is_named_first_whichever_it_is() -> None:
    (sentence,) = sentences_of(pair(-1.5, -2.5, -0.5, 0.01, dominated=0.5))
    assert "with guidance pixel is 1.5 larger than with aesop (95% interval 0.5 to 2.5)" in sentence
    assert "probability of 99.0%; its front dominates in 50%" in sentence


def test_what_may_be_chance_is_called_so() -> None:
    (sentence,) = sentences_of(pair(0.5, -1.0, 2.0, 0.8))
    assert sentence.endswith("This may be chance: the probability that it is larger at all is 80%.")


def test_a_group_without_a_point_is_not_compared() -> None:
    nothing = Interval(math.nan, math.nan, math.nan, math.nan)
    (sentence,) = sentences_of(pair(0.0, 0, 0, 0, volumes=(2.0, math.nan), difference=nothing, runs=(3, 0)))
    assert sentence == (
        "At equal cost (1 min 30 s of device time, upstream stages included) guidance aesop and pixel cannot be "
        "compared: pixel had no point by then."
    )


def test_nothing_is_certain_between_groups_of_one_run() -> None:
    found = pair(1.5, 0.5, 2.5, 0.9996, runs=(1, 5))
    (sentence,) = sentences_of(found)
    assert "probability" not in sentence
    assert sentence.endswith("of aesop there is one run, and the interval leaves out how much runs differ.")
    assert all(map(math.isnan, found.likelihoods))
    rows = [pair(1.5, 0.5, 2.5, 0.9996, runs=(1, 5), other=f"method {number}") for number in range(8)]
    assert sentences_of(*rows)[-1] == "In all, 0 of 8 pairs by guidance differ with certainty."


def test_of_many_pairs_the_surest_are_told_and_the_rest_counted() -> None:
    pairs = [pair(1.0, -1.0, 3.0, 0.5 + 0.07 * number, other=f"method {number}") for number in range(8)]
    sentences = sentences_of(*pairs)
    assert len(sentences) == 6
    assert "method 7" in sentences[0]
    assert sentences[-1] == "In all, 1 of 8 pairs by guidance differ with certainty."


def test_nothing_is_said_where_nothing_varies() -> None:
    assert sentences_of(pair(1.0, math.nan, math.nan, math.nan)) == []
    assert list(what_varies({})) == []


def test_what_the_intervals_leave_out_is_said() -> None:
    one_seed = World(images=6).comparison(np.random.default_rng(0))
    sentences = list(what_varies({"x": one_seed}))
    assert "6 validation images alone: every setting was trained with one seed" in sentences[0]
    assert "8 (one) and 8 (other) trials" in sentences[1]
    seeds = World(images=6, seeds=2).comparison(np.random.default_rng(0))
    assert "over seeds: 16 of 16 settings" in next(iter(what_varies({"x": seeds})))
    single: GroupComparison = comparison(group("a", [(29, 0.5)], HARD[:1]), group("b", [(27, 0.5)], HARD[:1]))
    assert list(what_varies({"x": single})) == ["One validation image gives no interval: name a --val with more."]
