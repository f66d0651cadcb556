"""Which points count, which of them make the front, and how the fronts of groups compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from study.record.goals import Goals
from study.search.front import hypervolume, non_dominated

NO_VALUE = "none"
"""The value of a config path that has no effect on a point."""


@dataclass(frozen=True, kw_only=True)
class GroupFront:
    """The trials that share one value of a config path, and the front of their points alone.

    Attributes:
        iterations, device_seconds: of the trials' last stage, summed over the group; upstream stages are shared and
            not included.
    """

    value: str
    trials: int
    points: int
    front: pd.DataFrame
    hypervolume: float
    iterations: int
    device_seconds: float

    @property
    def seconds_per_iteration(self) -> float:
        """Mean device-seconds of an iteration, NaN where nothing was recorded."""
        return self.device_seconds / self.iterations if self.iterations else float("nan")


def objective_values(points: pd.DataFrame, goals: Goals) -> np.ndarray:
    """Return the objectives of each point, shape (points, objectives), in their own units."""
    return np.asarray(points[list(goals.metrics)], dtype=np.float64)


def is_candidate(points: pd.DataFrame) -> np.ndarray:
    """Mark the points that may be on the front: of trials that did not fail, their interpolations, fidelity generators.

    Bicubic interpolation and the input are only compared with.
    """
    trained = is_of_trial(points) | is_interpolation(points)
    of_trial = trained & np.asarray(points["state"] != "FAILED", dtype=bool)
    candidate: np.ndarray = of_trial | np.asarray(points["kind"] == "fidelity", dtype=bool)
    return candidate


def is_interpolation(points: pd.DataFrame) -> np.ndarray:
    """Mark the interpolations of two generators."""
    return np.asarray(points["kind"] == "interpolation", dtype=bool)


def is_of_trial(points: pd.DataFrame) -> np.ndarray:
    """Mark the points of trials; the others are references and interpolations."""
    return np.asarray(points["kind"] == "trial", dtype=bool)


def is_reference(points: pd.DataFrame) -> np.ndarray:
    """Mark fidelity generators, bicubic interpolation and the input."""
    return ~is_of_trial(points) & ~is_interpolation(points)


def is_allowed(points: pd.DataFrame, goals: Goals) -> np.ndarray:
    """Mark the points that violate none of the study's constraints."""
    allowed = np.ones(len(points), dtype=bool)
    for constraint in goals.constraints:
        values = points.get(constraint.metric, pd.Series(np.nan, index=points.index))
        violations = [constraint.violation({constraint.metric: value}) for value in values]
        allowed &= np.array(violations, dtype=float) <= 0
    return allowed


def is_measured(points: pd.DataFrame, goals: Goals) -> np.ndarray:
    """Mark the points whose objectives are all finite numbers."""
    finite: np.ndarray = np.isfinite(objective_values(points, goals)).all(axis=1)
    return finite


def is_eligible(points: pd.DataFrame, goals: Goals) -> np.ndarray:
    """Mark the points that the front is taken of: candidates, measured and allowed."""
    mask: np.ndarray = is_candidate(points) & is_measured(points, goals) & is_allowed(points, goals)
    return mask


def last_points(points: pd.DataFrame) -> pd.DataFrame:
    """Return the last point of each trial that did not fail, by number."""
    trained = points[is_of_trial(points) & is_candidate(points)]
    return trained.sort_values(["trial", "iteration"]).drop_duplicates("trial", keep="last")


def front_mask(points: pd.DataFrame, goals: Goals) -> np.ndarray:
    """Mark the non-dominated among the points that count; of equal points the first is kept."""
    mask = is_eligible(points, goals)
    mask[mask] = non_dominated(objective_values(points[mask], goals), goals.directions)
    return mask


def beats_reference(points: pd.DataFrame, goals: Goals) -> np.ndarray:
    """Mark the points better than the reference point in every objective; others add no hypervolume."""
    signs = np.array([1.0 if direction == "maximize" else -1.0 for direction in goals.directions])
    better: np.ndarray = ((objective_values(points, goals) - np.array(goals.corner)) * signs > 0).all(axis=1)
    return better


def front_of(points: pd.DataFrame, goals: Goals) -> pd.DataFrame:
    """Return the non-dominated points, ordered by the second objective, worst first."""
    front = points[front_mask(points, goals)]
    second = goals.objectives[1]
    return front.sort_values(second.metric, ascending=second.direction == "maximize", kind="stable")


def front_hypervolume(front: pd.DataFrame, goals: Goals) -> float:
    """Return the hypervolume of a front, bounded by the study's reference point."""
    return hypervolume(objective_values(front, goals), goals.corner, goals.directions)


def group_values(points: pd.DataFrame, path: str) -> pd.Series:
    """Return the value of a config path for each point, as text; "none" where it has no effect on the point.

    A config always has the fields of an auto-encoder, but a trial with pixel guidance does not use one: a path under a
    stage's name counts only for points that start from an artifact of that stage.
    """
    column, artifact = f"config.{path}", f"artifact.{path.partition('.')[0]}"
    if column not in points:
        return pd.Series(NO_VALUE, index=points.index, dtype="string")
    values = points[column].map(_as_text, na_action="ignore").astype("string")
    return (values.where(points[artifact].notna()) if artifact in points else values).fillna(NO_VALUE)


def group_names(points: pd.DataFrame, path: str) -> list[str]:
    """Return the values of a config path among the trials' points, in order."""
    return sorted(set(group_values(points[is_candidate(points) & is_of_trial(points)], path)), key=natural_order)


def group_fronts(points: pd.DataFrame, goals: Goals, path: str) -> list[GroupFront]:
    """Split the trials' points by a config path and take each group's front, without fidelity generators."""
    points = points[is_candidate(points) & is_of_trial(points)]
    values = np.asarray(group_values(points, path), dtype=object)
    return [_group_front(value, points[values == value], goals) for value in group_names(points, path)]


def group_front_names(points: pd.DataFrame, goals: Goals, groups: Sequence[str]) -> pd.Series:
    """Return for each trial's point on the front of its group, by the first of `groups`, the group; else null.

    A study without groups is one group, called "all".
    """
    names = pd.Series(pd.NA, index=points.index, dtype="string")
    if groups:
        fronts = group_fronts(points, goals, groups[0])
    else:
        fronts = [_group_front("all", points[is_candidate(points) & is_of_trial(points)], goals)]
    for group in fronts:
        names[group.front.index] = group.value
    return names


def _group_front(value: str, points: pd.DataFrame, goals: Goals) -> GroupFront:
    front = front_of(points, goals)
    last = points.sort_values("iteration").groupby("trial").tail(1)
    timed = last[last["device_seconds"].notna() & last["iterations"].notna()]
    return GroupFront(
        value=value,
        trials=len(last),
        points=len(points),
        front=front,
        hypervolume=front_hypervolume(front, goals),
        iterations=int(timed["iterations"].sum()),
        device_seconds=float(timed["device_seconds"].sum()),
    )


def _as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def natural_order(value: str) -> tuple[bool, float, str]:
    """Sort key for values of a config path: numbers by size, then words by letter."""
    try:
        return (False, float(value), value)
    except ValueError:
        return (True, 0.0, value)
