"""Search a finished study again, in seconds: which sampler and which rungs find its front at what cost?

python benchmarks/tabular/replay_study.py runs/aesop --sampler tpe random --grace-period 40 --reduction-factor 3
"""

import argparse
import sys
from pathlib import Path

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

from study.cli import run

if TYPE_CHECKING:  # imported late, so that --help answers at once
    from benchmarks.tabular.recording import Recording
    from benchmarks.tabular.replay import Strategy, Trace


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    from benchmarks.tabular.recording import load_recording, save_recording
    from benchmarks.tabular.replay import replay
    from benchmarks.tabular.replay_figures import draw_replays, replay_tables

    if options.save is not None:
        save_recording(options.run_dir, options.save)
        console.print(f"recording: {options.save}", highlight=False, soft_wrap=True)
        return 0
    recording = load_recording(options.run_dir, _reference(options.reference))
    strategies = _strategies(options, recording)
    traces: dict[str, list[Trace]] = {name: [] for name in strategies}
    jobs = [(name, seed) for name in strategies for seed in range(options.seeds)]
    for name, seed in track(jobs, "replaying", console=console, disable=not console.is_terminal):
        traces[name].append(replay(recording, strategies[name], seed))
    for table in replay_tables(recording, traces, target=options.target):
        console.print(table)
    console.print(
        f"{len(recording.curves)} recorded trials, {options.seeds} seeds, {options.workers} workers; a draw becomes "
        "the nearest recorded trial that is left, so that the last ones are no choice",
        highlight=False,
        soft_wrap=True,
    )
    if options.figure is not None:
        draw_replays(recording, traces, options.figure)
        console.print(f"figure: {options.figure}", highlight=False, soft_wrap=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/tabular/replay_study.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", type=Path, help="what study/sweep.py wrote with --output, or a recording of it")
    parser.add_argument("--sampler", nargs="+", default=["tpe"], metavar="NAME", help="one or several (default: tpe)")
    parser.add_argument("--grace-period", type=int, metavar="N", help="stop trials early from N iterations on")
    parser.add_argument(
        "--reduction-factor", type=float, default=3.0, metavar="X", help="one of X trials goes on (default: 3)"
    )
    parser.add_argument("--tie-break", choices=["hypervolume", "crowding"], default="hypervolume")
    parser.add_argument("--no-sharing", action="store_true", help="let every trial pay for its own upstream stages")
    parser.add_argument("--no-interpolation", action="store_true", help="leave recorded interpolations out")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="how often to search (default: 20)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="trials at the same time (default: 2)")
    parser.add_argument(
        "--target", type=float, default=0.95, metavar="SHARE", help="of the recording's final hypervolume (0.95)"
    )
    parser.add_argument(
        "--reference",
        nargs="+",
        default=[],
        metavar="METRIC=VALUE",
        help="the hypervolume's reference point, in place of the study's",
    )
    parser.add_argument("--save", type=Path, metavar="DIR", help="copy what a replay needs, to be kept or handed on")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw hypervolume against cost (.png or .svg)")
    options = parser.parse_args(arguments)
    for name in ("seeds", "workers"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, but got {getattr(options, name)}")
    if not 0 < options.target <= 1:
        parser.error(f"--target must be above 0 and at most 1, but got {options.target}")
    if options.figure is not None and options.figure.suffix not in (".png", ".svg"):
        parser.error(f"--figure must end in .png or .svg, but got {options.figure}")
    return options


def _reference(texts: list[str]) -> dict[str, float]:
    reference = {}
    for text in texts:
        metric, _, value = text.partition("=")
        try:
            reference[metric] = float(value)
        except ValueError:
            raise ValueError(f"--reference must look like psnr_y=25 lpips_alex=0.4, but got {text!r}") from None
    return reference


def _strategies(options: argparse.Namespace, recording: "Recording") -> "dict[str, Strategy]":
    from benchmarks.tabular.replay import Strategy, pareto_halving
    from study.search.asha import Rungs
    from study.search.samplers import SAMPLERS

    stopper = None
    if options.grace_period is not None:
        rungs = Rungs(options.grace_period, options.reduction_factor, options.tie_break)
        reached = recording.rungs(rungs)
        stopper = pareto_halving(reached, options.reduction_factor, options.tie_break)
    strategies = {}
    for name in dict.fromkeys(options.sampler):
        if name not in SAMPLERS:
            raise ValueError(f"--sampler must be of {', '.join(SAMPLERS)}, but got {name}")
        strategies[name] = Strategy(
            sampler=name,
            sharing=not options.no_sharing,
            stopper=stopper,
            interpolation=not options.no_interpolation,
            workers=options.workers,
        )
    return strategies


if __name__ == "__main__":
    run(main)
