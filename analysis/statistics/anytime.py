"""How a study's hypervolume grew with what was spent, over all and for each group at its own cost."""

from collections.abc import Iterator
from dataclasses import dataclass

import moocore
import numpy as np

from analysis.journal import Event
from analysis.statistics.fronts import is_allowed, is_candidate, is_measured, objective_values
from analysis.statistics.groups import Group, GroupComparison
from analysis.statistics.image_values import events_of
from analysis.statistics.tables import Results
from study.search.front import as_losses

STEPS = 120
"""At how many costs a hypervolume is computed at most."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """Hypervolume against cost.

    Attributes:
        seconds: device-seconds, ascending, shape (n,).
        hypervolumes: what had been reached by then, shape (n,).
    """

    seconds: np.ndarray
    hypervolumes: np.ndarray


def study_course(results: Results) -> Course:
    """Of a whole study, in the order in which things happened: artifacts trained here, trials, evaluation of interpolations."""
    counts = _counting(results)
    spent, found = 0.0, []
    known: dict[object, float] = {}
    losses = as_losses(objective_values(results.points, results.facts), results.facts.directions)
    for _, what, seconds, row in sorted(_costs(results), key=lambda item: item[0]):
        spent += max(0.0, seconds - known.get(what, 0.0))
        known[what] = max(seconds, known.get(what, 0.0))
        if row is not None and counts[row]:
            found.append((spent, row))
    order = [row for _, row in found]
    corner = as_losses(np.array([results.facts.corner]), results.facts.directions)[0]
    return _course(np.array([cost for cost, _ in found]), losses[order], corner)


def group_course(contest: GroupComparison, group: Group) -> Course:
    """Of one group alone, as if nothing else had been trained; of several seeds the first's."""
    costs = group.costs[:, 0]
    there = np.isfinite(costs)
    order = np.argsort(costs[there], kind="stable")
    return _course(costs[there][order], group.losses.mean(axis=1)[there][order], contest.corner)


def _counting(results: Results) -> np.ndarray:
    points, facts = results.points, results.facts
    counts: np.ndarray = is_candidate(points) & is_measured(points, facts) & is_allowed(points, facts)
    return counts


def _costs(results: Results) -> Iterator[tuple[float, object, float, int | None]]:
    """Time, what was paid for, its device-seconds up to then, and the row of the point that came of it."""
    for event in results.journal.artifacts:
        if not event.get("reused"):
            yield _time(event), event["key"], _seconds(event), None
    for row, event in enumerate(events_of(results.points, results.journal)):
        kind = results.points["kind"].iloc[row]
        what = event.get("trial") if kind == "trial" else event.get("name") if kind != "interpolation" else row
        # An artifact's cost was taken above.
        yield _time(event), (kind, what), _seconds(event) if kind in ("trial", "interpolation") else 0.0, row


def _course(seconds: np.ndarray, losses: np.ndarray, corner: np.ndarray) -> Course:
    """The hypervolume after each point, or at evenly spaced ones of many."""
    if not len(seconds):
        return Course(seconds=np.zeros(0), hypervolumes=np.zeros(0))
    ends = np.unique(np.linspace(1, len(seconds), min(STEPS, len(seconds))).round().astype(int))
    front = np.zeros((0, losses.shape[1]))
    volumes, start = [], 0
    for end in ends:
        front = np.concatenate([front, losses[start:end]])
        front = front[moocore.is_nondominated(front, keep_weakly=False)]
        volumes.append(float(moocore.hypervolume(front, ref=corner)))
        start = end
    return Course(seconds=seconds[ends - 1], hypervolumes=np.array(volumes))


def _time(event: Event) -> float:
    return float(event.get("time", 0.0))


def _seconds(event: Event) -> float:
    budget = event.get("budget") or {}
    return float(budget.get("device_seconds") or 0.0)
