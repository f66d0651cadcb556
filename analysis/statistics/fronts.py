"""Which points count, which of them make the front, and how the fronts of groups compare."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.journal import StudyFacts
from study.search.front import hypervolume, non_dominated


@dataclass(frozen=True, kw_only=True)
class GroupFront:
    """The trials that share one value of a config path, and the front of their points alone."""

    value: str
    trials: int
    points: int
    front: pd.DataFrame
    hypervolume: float
    iterations: int
    device_seconds: float
    """Of the trials' last stage, summed over the group; upstream stages are shared and not included."""

    @property
    def seconds_per_iteration(self) -> float:
        """Mean device-seconds of an iteration, NaN where nothing was recorded."""
        return self.device_seconds / self.iterations if self.iterations else float("nan")


def objective_values(points: pd.DataFrame, facts: StudyFacts) -> np.ndarray:
    """The objectives of each point, shape (points, objectives), in the units of study.json."""
    columns = [objective.metric for objective in facts.objectives]
    return np.asarray(points[columns], dtype=np.float64)


def is_candidate(points: pd.DataFrame) -> np.ndarray:
    """Mark what may stand on the front: points of trials that did not fail, their interpolations, and fidelity generators.

    Bicubic interpolation is there to compare with; nobody would search for it.
    """
    trained = is_of_trial(points) | is_interpolation(points)
    of_trial = trained & np.asarray(points["state"] != "FAILED", dtype=bool)
    candidate: np.ndarray = of_trial | np.asarray(points["kind"] == "fidelity", dtype=bool)
    return candidate


def is_interpolation(points: pd.DataFrame) -> np.ndarray:
    """Mark the interpolations of two generators."""
    return np.asarray(points["kind"] == "interpolation", dtype=bool)


def is_allowed(points: pd.DataFrame, facts: StudyFacts) -> np.ndarray:
    """Mark the points that miss none of the study's constraints."""
    allowed = np.ones(len(points), dtype=bool)
    for constraint in facts.constraints:
        values = points.get(constraint.metric, pd.Series(np.nan, index=points.index))
        violations = [constraint.violation({constraint.metric: value}) for value in values]
        allowed &= np.array(violations, dtype=float) <= 0
    return allowed


def is_of_trial(points: pd.DataFrame) -> np.ndarray:
    """Mark the points of trials; the others are references."""
    return np.asarray(points["kind"] == "trial", dtype=bool)


def last_points(points: pd.DataFrame) -> pd.DataFrame:
    """The last point of each trial that did not fail, by number."""
    trained = points[is_of_trial(points) & is_candidate(points)]
    return trained.sort_values(["trial", "iteration"]).drop_duplicates("trial", keep="last")


def is_measured(points: pd.DataFrame, facts: StudyFacts) -> np.ndarray:
    """Mark the points whose objectives are all finite numbers."""
    finite: np.ndarray = np.isfinite(objective_values(points, facts)).all(axis=1)
    return finite


def front_mask(points: pd.DataFrame, facts: StudyFacts) -> np.ndarray:
    """Mark the non-dominated among the points that count; of equal points the first is kept."""
    mask: np.ndarray = is_candidate(points) & is_measured(points, facts) & is_allowed(points, facts)
    mask[mask] = non_dominated(objective_values(points[mask], facts), facts.directions)
    return mask


def beats_reference(points: pd.DataFrame, facts: StudyFacts) -> np.ndarray:
    """Mark the points better than the reference point in every objective; others add no hypervolume."""
    signs = np.array([1.0 if direction == "maximize" else -1.0 for direction in facts.directions])
    better: np.ndarray = ((objective_values(points, facts) - np.array(facts.corner)) * signs > 0).all(axis=1)
    return better


def front_of(points: pd.DataFrame, facts: StudyFacts) -> pd.DataFrame:
    """The non-dominated points, ordered by the second objective, worst first."""
    front = points[front_mask(points, facts)]
    second = facts.objectives[1]
    return front.sort_values(second.metric, ascending=second.direction == "maximize", kind="stable")


def front_hypervolume(front: pd.DataFrame, facts: StudyFacts) -> float:
    """The region that a front dominates, bounded by the study's reference point."""
    return hypervolume(objective_values(front, facts), facts.corner, facts.directions)


def group_values(points: pd.DataFrame, path: str) -> pd.Series:
    """The value of a config path for each point, as text; "none" where it has no say in the point.

    A config always holds an auto-encoder's settings, but a trial guided by pixels never meets one: what lies
    under a stage's name counts only for points that were made with an artifact of that stage.
    """
    column, artifact = f"config.{path}", f"artifact.{path.partition('.')[0]}"
    if column not in points:
        return pd.Series("none", index=points.index, dtype="string")
    values = points[column].map(_as_text, na_action="ignore").astype("string")
    return (values.where(points[artifact].notna()) if artifact in points else values).fillna("none")


def group_names(points: pd.DataFrame, path: str) -> list[str]:
    """The values of a config path among the trials' points, in order."""
    return sorted(set(group_values(points[is_candidate(points) & is_of_trial(points)], path)), key=natural_order)


def group_fronts(points: pd.DataFrame, facts: StudyFacts, path: str) -> list[GroupFront]:
    """Split the trials' points by a config path and take each group's front, without fidelity generators."""
    points = points[is_candidate(points) & is_of_trial(points)]
    values = np.asarray(group_values(points, path), dtype=object)
    return [_group_front(value, points[values == value], facts) for value in group_names(points, path)]


def group_front_names(points: pd.DataFrame, facts: StudyFacts) -> pd.Series:
    """For each trial's point on the front of its group, by the first of the study's groups, the group; else null.

    A study without groups is one group, called "all".
    """
    names = pd.Series(pd.NA, index=points.index, dtype="string")
    if facts.groups:
        groups = group_fronts(points, facts, facts.groups[0])
    else:
        groups = [_group_front("all", points[is_candidate(points) & is_of_trial(points)], facts)]
    for group in groups:
        names[group.front.index] = group.value
    return names


def _group_front(value: str, points: pd.DataFrame, facts: StudyFacts) -> GroupFront:
    front = front_of(points, facts)
    last = points.sort_values("iteration").groupby("trial").tail(1)
    timed = last[last["device_seconds"].notna() & last["iterations"].notna()]
    return GroupFront(
        value=value,
        trials=len(last),
        points=len(points),
        front=front,
        hypervolume=front_hypervolume(front, facts),
        iterations=int(timed["iterations"].sum()),
        device_seconds=float(timed["device_seconds"].sum()),
    )


def _as_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def natural_order(value: str) -> tuple[bool, float, str]:
    """Sorts values of a config path: numbers by size, then words by letter."""
    try:
        return (False, float(value), value)
    except ValueError:
        return (True, 0.0, value)
