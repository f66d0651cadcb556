"""The options of study/sweep.py, and the search plan that they describe."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from study.cli import add_common_options
from study.command_parser import CommandParser, add_renamed_options

if TYPE_CHECKING:  # imported late, so that --help answers at once
    from study.search.plan import SearchPlan
    from study.search.stopping import Plateau

_AT_LEAST_ONE = ("trials", "repeat_members", "repeat_seeds", "cpus_per_trial", "workers", "pretrain_workers")


def parse(arguments: list[str], description: str | None) -> argparse.Namespace:
    """Parse the command line; exit with an error message where options contradict each other."""
    parser = CommandParser(prog="study/sweep.py", description=description)
    _add_study_options(parser.add_argument_group("study"))
    _add_search_options(parser.add_argument_group("search"))
    _add_interpolation_options(parser.add_argument_group("interpolation"))
    _add_repeat_options(parser.add_argument_group("repetition"))
    _add_resource_options(parser.add_argument_group("resources"))
    add_common_options(parser)
    add_renamed_options(
        parser,
        {
            "--grace": "--grace-period",
            "--eta": "--reduction-factor",
            "--blends": "--interpolate",
            "--densify": "--interpolate-points",
        },
    )
    options = parser.parse_args(arguments)
    _check(parser, options)
    return options


def search_plan(options: argparse.Namespace, metrics: Sequence[str]) -> "SearchPlan":
    """Return the search plan of the options; a ValueError names the invalid option."""
    from study.search.asha import Rungs
    from study.search.constraints import parse_constraint
    from study.search.plan import SearchPlan
    from study.search.repetition import Repetition
    from study.search.samplers import SAMPLERS

    if options.sampler not in SAMPLERS:
        raise ValueError(f"--sampler must be one of {', '.join(SAMPLERS)}, but got {options.sampler}")
    if options.interpolate < 0:
        raise ValueError(f"--interpolate must not be negative, but got {options.interpolate}")
    if options.grace_period is None and (options.reduction_factor is not None or options.tie_break is not None):
        raise ValueError(
            "--reduction-factor and --tie-break configure early stopping, which needs --grace-period N; add it"
        )
    if options.learn_from_trials and options.warm_start is None:
        raise ValueError("--learn-from-trials uses the trials of --warm-start RUN_DIR; add it")
    rungs = repeat = None
    if options.grace_period is not None:
        rungs = Rungs(options.grace_period, options.reduction_factor or 3.0, options.tie_break or "hypervolume")
    if options.repeat is not None:
        repeat = Repetition(options.repeat, members=options.repeat_members or 3, seeds=options.repeat_seeds or 3)
    return SearchPlan(
        sampler=options.sampler,
        rungs=rungs,
        constraints=tuple(parse_constraint(text, metrics) for text in options.constraint),
        device_hours=options.device_hours,
        plateau=None if options.plateau is None else _plateau(options.plateau),
        interpolations=options.interpolate,
        interpolate_points=options.interpolate_points,
        warm_start=options.warm_start,
        learn=options.learn_from_trials,
        repeat=repeat,
    )


def _add_study_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--space", required=True, metavar="NAME", help="a file of search_spaces/, or a path to one")
    group.add_argument("--trials", type=int, metavar="N", help="trials to draw in all (default: the space's)")
    group.add_argument(
        "--resume", action="store_true", help="continue the study in --output, if there is one (default: refuse it)"
    )
    group.add_argument("--dry-run", action="store_true", help="print what would be trained and its cost; start nothing")


def _add_search_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampler (default: 0)")
    group.add_argument(
        "--sampler", default="tpe", metavar="NAME", help="tpe, nsga2, nsga3, gp, qmc or random (default: tpe)"
    )
    group.add_argument(
        "--grace-period",
        type=int,
        metavar="N",
        help="stop trials early: compare them after N iterations, N * factor, N * factor^2 ... (default: never)",
    )
    group.add_argument(
        "--reduction-factor", type=float, metavar="X", help="one of X trials goes on at each rung (default: 3)"
    )
    group.add_argument(
        "--tie-break",
        choices=["hypervolume", "crowding"],
        help="what orders trials of one front (default: hypervolume)",
    )
    group.add_argument(
        "--constraint",
        action="append",
        default=[],
        metavar="BOUND",
        help="bound that points on the front must meet, such as lr_psnr>=45; may be repeated (default: none)",
    )
    group.add_argument(
        "--device-hours", type=float, metavar="X", help="draw no more trials once these are spent (default: no limit)"
    )
    group.add_argument(
        "--plateau",
        metavar="N[:SHARE]",
        help="draw no more once the hypervolume grew by less than SHARE (0.005) over N trials (default: never)",
    )
    group.add_argument(
        "--warm-start", type=Path, metavar="RUN_DIR", help="try the front of an earlier study first (default: none)"
    )
    group.add_argument(
        "--learn-from-trials",
        action="store_true",
        help="show the sampler all trials of --warm-start (default: only its front)",
    )


def _add_interpolation_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--interpolate",
        type=int,
        default=3,
        metavar="N",
        help="interpolations of each point on the front with its neighbours (default: 3; 0 for none)",
    )
    group.add_argument(
        "--interpolate-points",
        choices=["front", "all"],
        default="front",
        help="all: every point with its fidelity generator, for a tabular benchmark (default: front)",
    )


def _add_repeat_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--repeat",
        type=Path,
        metavar="RUN_DIR",
        help="search nothing: train the best settings of each group of a study with new seeds (default: search)",
    )
    group.add_argument("--repeat-members", type=int, metavar="N", help="settings of each group (default: 3)")
    group.add_argument("--repeat-seeds", type=int, metavar="N", help="runs of each setting (default: 3)")


def _add_resource_options(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--address",
        default=os.environ.get("RAY_ADDRESS", "local"),
        metavar="ADDRESS",
        help="Ray cluster: auto, HOST:PORT, or local to start one (default: RAY_ADDRESS, else local)",
    )
    group.add_argument(
        "--cpus-per-trial", type=int, default=1, metavar="N", help="CPU cores and threads of a worker (default: 1)"
    )
    group.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="X",
        help="GPUs of a worker, or a fraction of one (default: 1 where there is a GPU)",
    )
    group.add_argument(
        "--pack",
        choices=["auto"],
        help="measure how many jobs fit on a GPU, and set --gpus-per-trial accordingly (default: do not)",
    )
    group.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that train a trial together (default: 1)"
    )
    group.add_argument(
        "--pretrain-workers",
        type=int,
        metavar="N",
        help="processes that train an upstream stage together (default: --workers)",
    )
    group.add_argument(
        "--retries",
        type=int,
        default=3,
        metavar="N",
        help="restarts of a job whose process died, without progress in between (default: 3)",
    )


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.pack and (options.gpus_per_trial is not None or options.workers > 1):
        parser.error("--pack sets the fraction of a GPU of single workers: leave out --gpus-per-trial and --workers")
    if options.retries < 0:
        parser.error(f"--retries must not be negative, but got {options.retries}")
    if options.repeat is None and (options.repeat_members is not None or options.repeat_seeds is not None):
        parser.error("--repeat-members and --repeat-seeds need --repeat RUN_DIR; add it")
    if options.repeat is not None:
        others = {
            "--trials": options.trials,
            "--warm-start": options.warm_start,
            "--grace-period": options.grace_period,
        }
        if conflicting := [name for name, value in others.items() if value is not None]:
            parser.error(
                f"--repeat trains the settings of an earlier study to their end: leave out {', '.join(conflicting)}"
            )
    from study.record.values import MOST_TRIALS

    if options.trials is not None and options.trials > MOST_TRIALS:
        parser.error(f"--trials must be at most {MOST_TRIALS:,}, but got {options.trials:,}; name fewer")
    if not -(2**63) <= options.seed < 2**63:
        parser.error(f"--seed must have at most 64 bits, but got {options.seed}; name a smaller number")
    for name in _AT_LEAST_ONE:
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, but got {getattr(options, name)}")


def _plateau(text: str) -> "Plateau":
    from study.search.stopping import Plateau

    trials, _, share = text.partition(":")
    try:
        return Plateau(int(trials), float(share)) if share else Plateau(int(trials))
    except ValueError as error:
        raise ValueError(f"--plateau must look like 16 or 16:0.005, but got {text!r} ({error})") from error
