"""What an earlier study has found out, for a new one to begin with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as parquet
from optuna.trial import FrozenTrial, TrialState

from study.config import RunConfig
from study.search.spaces import SearchSpace, SpaceError

COMPARABLE = ("config", "training images", "held-out images", "objectives")
"""What two studies must have in common for the values of one to mean something in the other."""


class WarmStartError(ValueError):
    """An earlier study that cannot be used: names it, what is wrong and what to do."""


@dataclass(frozen=True)
class WarmStart:
    """What to take over.

    Attributes:
        origin: the earlier study's directory.
        front: the parameters of the trials on its front, by Optuna's names, best in the first objective first.
        finished: its finished trials, to be learned from; empty unless asked for.
    """

    origin: Path
    front: tuple[dict[str, Any], ...]
    finished: tuple[FrozenTrial, ...] = ()


def load_warm_start(run_dir: Path, space: SearchSpace, base: RunConfig, *, learn: bool) -> WarmStart:
    """Read an earlier study.

    Args:
        run_dir: its directory, with `optuna.db` and the report's tables.
        space, base: of the new study.
        learn: take its finished trials as well; `check_comparable` says whether that can be done.

    Raises:
        WarmStartError: it is no finished study, has no trial on its front, or a trial of it does not fit the space.
    """
    if space.in_turn:
        raise WarmStartError(
            f"--warm-start {run_dir}: space {space.name} takes {', '.join(space.in_turn)} in turn, so that each has as "
            "many trials; others on top would spoil that. Leave --warm-start out"
        )
    trials = trials_of(run_dir, "--warm-start")
    numbers = _front_numbers(run_dir)
    if not numbers:
        raise WarmStartError(f"--warm-start {run_dir}: no trial of it is on its front; leave --warm-start out")
    front = [trials[number].params for number in numbers]
    for number, params in zip(numbers, front, strict=True):
        drawn_again(f"--warm-start {run_dir}", number, params, space, base)
    finished = [trial for trial in trials if learn and trial.state is TrialState.COMPLETE]
    return WarmStart(run_dir, tuple(front), tuple(finished))


def check_comparable(run_dir: Path, identity: Mapping[str, Any]) -> None:
    """Refuse to learn from values that were measured otherwise.

    Args:
        run_dir: the earlier study's.
        identity: of the new study, as study.json has it.

    Raises:
        WarmStartError: naming what differs.
    """
    there = json.loads((run_dir / "study.json").read_text())["identity"]
    different = [
        f"{name} (there {there.get(name)}, here {identity[name]})"
        for name in COMPARABLE
        if there.get(name) != identity[name]
    ]
    if different:
        raise WarmStartError(
            f"--learn-from-trials: the values in {run_dir} cannot be compared with this study's; it differs in "
            f"{'; '.join(different)}. Leave --learn-from-trials out: the front's parameters are tried all the same"
        )


def trials_of(run_dir: Path, option: str) -> list[FrozenTrial]:
    """An earlier study's own trials, by number.

    Args:
        run_dir: its directory.
        option: that names it, for the message.

    Raises:
        WarmStartError: it holds no study.
    """
    database = run_dir / "optuna.db"
    if not (run_dir / "study.json").is_file() or not database.is_file():
        raise WarmStartError(
            f"{option} {run_dir} holds no study (study.json and optuna.db); name a directory that study/sweep.py "
            "wrote with --output"
        )
    storage = f"sqlite:///{database.resolve()}"
    (name,) = optuna.study.get_all_study_names(storage)
    own = optuna.load_study(study_name=name, storage=storage).trials
    return [trial for trial in own if "warm_start" not in trial.user_attrs]


def points_of(run_dir: Path, option: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of an earlier study's table of points.

    Args:
        run_dir, option: as for `trials_of`.
        columns: which to read.

    Raises:
        WarmStartError: no table, or one that lacks a column.
    """
    path = run_dir / "points.parquet"
    if not path.is_file() or not set(columns) <= set(parquet.read_schema(path).names):
        what = "has no points.parquet" if not path.is_file() else "has a points.parquet of an older version"
        raise WarmStartError(f"{option} {run_dir} {what}; make it with: python analysis/report.py {run_dir}")
    rows: list[dict[str, Any]] = parquet.read_table(path, columns=list(columns)).to_pylist()
    return rows


def _front_numbers(run_dir: Path) -> list[int]:
    rows = points_of(run_dir, "--warm-start", ["trial", "front"])
    return list(dict.fromkeys(row["trial"] for row in rows if row["front"] and row["trial"] is not None))


def drawn_again(origin: str, number: int, params: Mapping[str, Any], space: SearchSpace, base: RunConfig) -> RunConfig:
    """Draw what was drawn there: the space must ask for the same parameters, and offer these values.

    Args:
        origin: the option that names the earlier study, and its directory, for the message.
        number, params: of its trial.
        space, base: of the new study.

    Raises:
        WarmStartError: the space asks for others.
    """
    fixed = optuna.trial.FixedTrial(dict(params), number=number)
    try:
        config = space.sample(fixed, base)  # type: ignore[arg-type]
        unused = sorted(set(params) - set(fixed.distributions))
        if unused:
            raise SpaceError(f"the space does not ask for {', '.join(unused)}")
        _check_offered(params, fixed)
    except SpaceError as error:
        raise WarmStartError(
            f"{origin}: its trial {number} does not fit space {space.name} ({error}); name a study of "
            f"the same space, or leave {origin.split()[0]} out"
        ) from error
    return config


def _check_offered(params: Mapping[str, Any], fixed: optuna.trial.FixedTrial) -> None:
    """Optuna only warns of a value outside a range."""
    outside = [
        f"{name} = {params[name]} ({distribution})"
        for name, distribution in fixed.distributions.items()
        if not _offers(distribution, params[name])
    ]
    if outside:
        raise SpaceError(f"outside of what the space offers: {'; '.join(outside)}")


def _offers(distribution: optuna.distributions.BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False
