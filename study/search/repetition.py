"""The best settings of an earlier study, trained again with seeds that it never had.

A search tells what looked best on the images that it searched by, with the luck that its runs had. Trained again, with
other seeds and evaluated on other images, the same settings show what they are worth.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.config import RunConfig, flatten, replace, to_dict
from study.search.front import Direction, hypervolume
from study.search.spaces import SearchSpace
from study.search.warm_start import WarmStartError, drawn_again, points_of, trials_of

OPTION = "--repeat"
MAY_DIFFER = ("seed", "data.train", "data.val", "eval_schedule.")
"""Fields in which a repeated run is another one on purpose."""


@dataclass(frozen=True)
class Repetition:
    """What to repeat, and how often.

    Attributes:
        origin: the earlier study's directory.
        members: how many settings of each of its groups, at most.
        seeds: how many runs of each.
    """

    origin: Path
    members: int = 3
    seeds: int = 3


@dataclass(frozen=True)
class RepeatedRun:
    """One run: a trial of the earlier study with another seed."""

    trial: int
    params: Mapping[str, Any]
    seed: int
    config: RunConfig


def load_repetition(repetition: Repetition, space: SearchSpace, base: RunConfig) -> tuple[RepeatedRun, ...]:
    """Choose the settings, and give each its seeds.

    Of each group, by the first of the earlier study's groups, the trials on its front are taken that together have the
    largest hypervolume, chosen one after the other; of trials with equal settings, one. The best of every group come
    first, so that a study that is stopped has tried all groups alike.

    Raises:
        WarmStartError: it is no finished study, has no trial on a front, or a trial of it does not fit the space.
    """
    origin = repetition.origin
    trials = trials_of(origin, OPTION)
    groups = _best_of_groups(origin, repetition.members, [trial.params for trial in trials])
    if not groups:
        raise WarmStartError(f"{OPTION} {origin}: no trial of it is on a front; there is nothing to repeat")
    known = [json.loads(trial.user_attrs["config"])["seed"] for trial in trials if "config" in trial.user_attrs]
    seeds = range(max(known) + 1, max(known) + 1 + repetition.seeds)
    configs = {
        number: drawn_again(f"{OPTION} {origin}", number, trials[number].params, space, base)
        for members in groups
        for number in members
    }
    return tuple(
        RepeatedRun(number, trials[number].params, seed, replace(configs[number], {"seed": seed}))
        for rank in range(repetition.members)
        for seed in seeds
        for number in (members[rank] for members in groups if rank < len(members))
    )


def other_than_before(origin: Path, runs: Sequence[RepeatedRun], fingerprint: str) -> list[str]:
    """In what repeated runs differ from the trials that they repeat: fields but `MAY_DIFFER`, and training images.

    Args:
        origin: the earlier study's directory.
        runs: the repeated ones.
        fingerprint: of the images that they train on.
    """
    trials = trials_of(origin, OPTION)
    different: set[str] = set()
    for run in runs:
        before = flatten(json.loads(trials[run.trial].user_attrs["config"]))
        now = flatten(to_dict(run.config))
        different |= {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
    before = json.loads((origin / "study.json").read_text())["data"]["train"]["fingerprint"]
    images = ["set of training images"] if before != fingerprint else []
    return [*sorted(path for path in different if not path.startswith(MAY_DIFFER)), *images]


def _best_of_groups(origin: Path, members: int, settings: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """For each group, its best trials by number, the first chosen first; groups in the order of their first trial."""
    facts = json.loads((origin / "study.json").read_text())
    directions: list[Direction] = [objective["direction"] for objective in facts["objectives"]]
    metrics = [objective["metric"] for objective in facts["objectives"]]
    corner = [facts["reference"][metric] for metric in metrics]
    rows = points_of(origin, OPTION, ["trial", "group_front", *metrics])
    groups: dict[str, dict[int, list[list[float]]]] = {}
    for row in sorted((row for row in rows if row["group_front"] is not None), key=lambda row: row["trial"]):
        points = groups.setdefault(row["group_front"], {}).setdefault(row["trial"], [])
        points.append([row[metric] for metric in metrics])
    return [_spread(points, corner, directions, members, settings) for points in groups.values()]


def _spread(
    points: Mapping[int, list[list[float]]],
    corner: Sequence[float],
    directions: Sequence[Direction],
    members: int,
    settings: Sequence[Mapping[str, Any]],
) -> list[int]:
    """Trials of different settings chosen one after the other, each the one that adds the most hypervolume."""

    def volume(trials: Sequence[int]) -> float:
        return hypervolume(np.concatenate([points[trial] for trial in trials]), corner, directions)

    chosen: list[int] = []
    while len(chosen) < members:
        known = [settings[trial] for trial in chosen]
        rest = [trial for trial in points if settings[trial] not in known]
        if not rest:
            break
        chosen.append(max(rest, key=lambda trial: volume([*chosen, trial])))
    return chosen
