"""Anytime curves: how a study's hypervolume grew with its cost, over all trials and for each group at its own cost."""

from collections.abc import Iterator
from dataclasses import dataclass

import moocore
import numpy as np

from analysis.statistics.fronts import is_eligible, objective_values
from analysis.statistics.groups import Group, GroupComparison
from analysis.statistics.tables import Results
from study.record.events import ArtifactEnded, InterpolationEvaluated, PointEvaluated, ReferenceEvaluated
from study.search.front import as_losses

STEPS = 120
"""At how many costs a hypervolume is computed at most."""


@dataclass(frozen=True, kw_only=True)
class AnytimeCurve:
    """Hypervolume against cost.

    Attributes:
        costs: in the curve's budget unit, ascending, shape (n,).
        hypervolumes: of all points up to each cost, shape (n,).
    """

    costs: np.ndarray
    hypervolumes: np.ndarray


def study_curve(results: Results) -> AnytimeCurve:
    """Compute the curve of a whole study, in device-seconds and in the order of its events.

    Artifacts trained here, trials and the evaluation of interpolations cost; what was reused does not.
    """
    on_front = is_eligible(results.points, results.goals)
    spent, found = 0.0, []
    known: dict[object, float] = {}
    for what, seconds, row in _costs(results):
        spent += max(0.0, seconds - known.get(what, 0.0))
        known[what] = max(seconds, known.get(what, 0.0))
        if row is not None and on_front[row]:
            found.append((spent, row))
    losses = as_losses(objective_values(results.points, results.goals), results.goals.directions)
    corner = as_losses(np.array([results.goals.corner]), results.goals.directions)[0]
    return _curve(np.array([cost for cost, _ in found]), losses[[row for _, row in found]], corner)


def group_curve(comparison: GroupComparison, group: Group) -> AnytimeCurve:
    """Compute the curve of one group as if nothing else had been trained; of several seeds the first's."""
    costs = group.costs[:, 0]
    there = np.isfinite(costs)
    order = np.argsort(costs[there], kind="stable")
    return _curve(costs[there][order], group.losses.mean(axis=1)[there][order], comparison.corner)


def _costs(results: Results) -> Iterator[tuple[object, float, int | None]]:
    """Yield what was paid for, its device-seconds up to then, and the row of the point that was evaluated."""
    points = results.points
    identities = zip(points["kind"], points["trial"], points["iteration"], points["name"], strict=True)
    rows = {
        (kind, int(trial), int(iteration)) if kind == "trial" else (kind, name): row
        for row, (kind, trial, iteration, name) in enumerate(identities)
    }
    for entry in results.entries:
        match entry.event:
            case ArtifactEnded(reused=False, key=key, spent=spent):
                yield key, spent.device_seconds, None
            case PointEvaluated(point=point, spent=spent):
                if (row := rows.pop(("trial", point.trial, point.iteration), None)) is not None:
                    yield point.trial, spent.device_seconds, row
            case InterpolationEvaluated(point=interpolated, spent=spent):
                if (row := rows.pop(("interpolation", interpolated.label), None)) is not None:
                    yield interpolated, spent.device_seconds, row
            case ReferenceEvaluated(kind=kind, name=name):
                if (row := rows.pop((kind, name), None)) is not None:
                    yield (kind, name), 0.0, row  # the artifact's cost was counted above


def _curve(costs: np.ndarray, losses: np.ndarray, corner: np.ndarray) -> AnytimeCurve:
    """Compute the hypervolume after each point, or after evenly spaced ones of many."""
    if not len(costs):
        return AnytimeCurve(costs=np.zeros(0), hypervolumes=np.zeros(0))
    ends = np.unique(np.linspace(1, len(costs), min(STEPS, len(costs))).round().astype(int))
    front = np.zeros((0, losses.shape[1]))
    volumes, start = [], 0
    for end in ends:
        front = np.concatenate([front, losses[start:end]])
        front = front[moocore.is_nondominated(front, keep_weakly=False)]
        volumes.append(float(moocore.hypervolume(front, ref=corner)))
        start = end
    return AnytimeCurve(costs=costs[ends - 1], hypervolumes=np.array(volumes))
