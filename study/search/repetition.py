"""The best settings of an earlier study, trained again with new seeds.

A search selects by results on its validation images, with the luck of its runs. Trained again with other seeds and
evaluated on other images, the same settings have results that did not select them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.config import RunConfig, flatten, replace, to_dict
from study.record.events import PointEvaluated, TrialStarted
from study.record.goals import Goals, bounded_values
from study.record.state import StudyRecord
from study.search.front import hypervolume, non_dominated
from study.search.spaces import SearchSpace
from study.search.warm_start import EarlierStudy, WarmStartError, draw_again, read_earlier

OPTION = "--repeat"
MAY_DIFFER = ("seed", "data.train", "data.val", "eval_schedule.")
"""Fields in which a repeated run differs by intent."""


@dataclass(frozen=True)
class Repetition:
    """What to repeat, and how often.

    Attributes:
        origin: the earlier study's directory.
        members: settings of each of its groups, at most.
        seeds: runs of each setting.
    """

    origin: Path
    members: int = 3
    seeds: int = 3


@dataclass(frozen=True)
class RepeatedRun:
    """A trial of the earlier study with another seed."""

    trial: int
    params: Mapping[str, Any]
    seed: int
    config: RunConfig


def load_repetition(repetition: Repetition, space: SearchSpace, base: RunConfig) -> tuple[RepeatedRun, ...]:
    """Choose the settings to repeat and their seeds.

    In each group, by the first of the earlier study's groups, trials on the group's front are chosen greedily, each the
    one that adds the most hypervolume; of trials with equal settings, one. The best of every group come first, so that
    an interrupted study has tried all groups alike.

    Raises:
        WarmStartError: it is no study, has no trial on a front, or a trial of it does not fit the space.
    """
    earlier = read_earlier(repetition.origin, OPTION)
    groups = _best_of_groups(earlier, repetition.members)
    if not groups:
        raise WarmStartError(f"{earlier.origin}: no trial of it is on a front; there is nothing to repeat")
    last = max(trial.config["seed"] for trial in earlier.record.trials.values() if trial.config)
    seeds = range(last + 1, last + 1 + repetition.seeds)
    configs = {number: draw_again(earlier, number, space, base) for members in groups for number in members}
    return tuple(
        RepeatedRun(number, earlier.trials[number].params, seed, replace(configs[number], {"seed": seed}))
        for rank in range(repetition.members)
        for seed in seeds
        for number in (members[rank] for members in groups if rank < len(members))
    )


def other_than_before(origin: Path, runs: Sequence[RepeatedRun], fingerprint: str) -> list[str]:
    """Return in what repeated runs differ from their originals: fields other than `MAY_DIFFER`, and training images.

    Args:
        origin: the earlier study's directory.
        runs: the repeated ones.
        fingerprint: of the images that they train on.
    """
    earlier = read_earlier(origin, OPTION)
    different: set[str] = set()
    for run in runs:
        before, now = flatten(earlier.record.trials[run.trial].config), flatten(to_dict(run.config))
        different |= {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
    same_images = earlier.metadata.images["train"].fingerprint == fingerprint
    fields = sorted(path for path in different if not path.startswith(MAY_DIFFER))
    return [*fields, *([] if same_images else ["set of training images"])]


def _best_of_groups(earlier: EarlierStudy, members: int) -> list[list[int]]:
    """Return each group's best trials by number, the first chosen first; groups in the order of their first trial."""
    record, goals = earlier.record, earlier.metadata.goals
    candidates: dict[str, list[PointEvaluated]] = {}
    for point in sorted(record.live_points(), key=lambda point: (point.trial, point.iteration)):
        event = record.points[point]
        allowed = goals.violation(bounded_values(event.metrics, event.spent)) <= 0
        if allowed and np.isfinite(goals.values(event.metrics)).all():
            group = _group_of(record.trials[point.trial], earlier.metadata.search.groups, record)
            candidates.setdefault(group, []).append(event)
    fronts = [_front_by_trial(events, goals) for events in candidates.values()]
    settings = [trial.params for trial in earlier.trials]
    return [_choose(front, goals, members, settings) for front in sorted(fronts, key=min)]


def _group_of(trial: TrialStarted, groups: Sequence[str], record: StudyRecord) -> str:
    """Return a trial's value of the first of the groups; "none" of a stage that the trial does not start from."""
    if not groups:
        return "all"
    stage = groups[0].partition(".")[0]
    if stage not in trial.upstream and any(stage in other.upstream for other in record.trials.values()):
        return "none"
    value = flatten(trial.config).get(groups[0])
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _front_by_trial(events: Sequence[PointEvaluated], goals: Goals) -> dict[int, list[tuple[float, ...]]]:
    values = [goals.values(event.metrics) for event in events]
    points: dict[int, list[tuple[float, ...]]] = {}
    for event, value, on_front in zip(events, values, non_dominated(np.array(values), goals.directions), strict=True):
        if on_front:
            points.setdefault(event.point.trial, []).append(value)
    return points


def _choose(
    points: Mapping[int, list[tuple[float, ...]]], goals: Goals, members: int, settings: Sequence[Mapping[str, Any]]
) -> list[int]:
    """Choose trials of different settings greedily, each the one that adds the most hypervolume."""

    def volume(trials: Sequence[int]) -> float:
        return hypervolume(np.concatenate([points[trial] for trial in trials]), goals.corner, goals.directions)

    chosen: list[int] = []
    while len(chosen) < members:
        known = [settings[trial] for trial in chosen]
        rest = [trial for trial in points if settings[trial] not in known]
        if not rest:
            break
        chosen.append(max(rest, key=lambda trial: volume([*chosen, trial])))
    return chosen
