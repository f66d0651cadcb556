"""A study: many trials around a recipe, as a Pareto front.

python study/sweep.py --space aesop --trials 64 --output runs/aesop
"""

import argparse
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

# Tune's own loggers write what our journal holds already.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the live view is ours
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console

from study.cli import INTERRUPTED, add_common_options, artifacts_of, run, with_options

if TYPE_CHECKING:  # imported late, so that --help answers at once
    from analysis.report import Report
    from study.cluster.driver import Outcome, Study
    from study.config import RunConfig
    from study.search.plan import SearchPlan
    from study.search.repetition import Repetition
    from study.search.stopping import Plateau


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    console.print("reading the space, the weights and the images", highlight=False)
    from study.cluster.connection import check_address, check_lasting, look_at
    from study.cluster.driver import check_search, run_study
    from study.cost.dry_run import dry_run, packed
    from study.record.metadata import check_output
    from study.training.preflight import check_training_images

    check_address(options.address)
    check_lasting("--output", options.output)
    check_output(options.output, resume=options.resume)
    there = {} if options.address == "local" else look_at(options.address)
    study, draws = _plan(options, there, console)
    context = study.context_spec.open()
    check_training_images(draws, context.train)
    study = replace(study, search=_search_plan(options, context.evaluator.names))
    if study.search.repeat is not None:
        study = _repeating(study, context.train.fingerprint, console)
    check_search(study, context)
    console.print(
        f"study {study.output.name}: {study.trials} trials of space {study.space.name} ({study.base.size}), "
        f"{len(context.train)} training and {len(context.val)} held-out images",
        highlight=False,
    )
    if options.pack == "auto":
        share = packed(study, context)
        study = replace(study, gpus_per_trial=share)
        console.print(f"--pack auto: {1 / share:.0f} jobs on a GPU at a time", highlight=False)
    if options.dry_run:
        dry_run(study, context, console)
        return 0
    reports: list[Report] = []
    _import_meanwhile("analysis.report")
    outcome = run_study(study, context, console, report=lambda output: _report(output, reports))
    return _conclude(study, outcome, reports, console)


def _repeating(study: "Study", fingerprint: str, console: Console) -> "Study":
    """The study with as many trials as it repeats, and a note if they, or their images, are others than they were."""
    from study.cluster.driver import repeated_runs
    from study.search.repetition import other_than_before

    plan = study.search.repeat
    assert plan is not None
    runs = repeated_runs(study)
    console.print(
        f"--repeat {plan.origin}: {len({run.trial for run in runs})} settings of it, {plan.seeds} seeds each",
        highlight=False,
        soft_wrap=True,
    )
    if different := other_than_before(plan.origin, runs, fingerprint):
        note = f"The settings repeated are those of {plan.origin.name}, but with another {', '.join(different)}."
        console.print(f"[bold]note:[/] {note}", highlight=False)
        study = replace(study, notes=(*study.notes, note))
    return replace(study, trials=len(runs))


def _import_meanwhile(module: str) -> None:
    """Import what is needed at the end in a thread, while Ray's start leaves the cores idle; whoever needs it waits."""

    def import_it() -> None:
        with contextlib.suppress(Exception):  # said when it is needed
            importlib.import_module(module)

    threading.Thread(target=import_it, name=f"import {module}", daemon=True).start()


def _report(output: Path, reports: "list[Report]") -> list[Path]:
    """Write the report and keep it to be printed; returns its files."""
    from analysis.report import write_report

    reports.append(write_report(output))
    return reports[-1].files


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study/sweep.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", required=True, metavar="NAME", help="a file of search_spaces/, or a path to one")
    parser.add_argument("--trials", type=int, metavar="N", help="how many to draw in all (default: the space's)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sampler")
    _add_search_options(parser)
    parser.add_argument("--resume", action="store_true", help="continue the study in --output, if there is one")
    parser.add_argument("--cpus-per-trial", type=int, default=1, metavar="N", help="CPU cores and threads of a worker")
    parser.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="X",
        help="GPUs, or a part of one, of a worker (default: 1 if there are any)",
    )
    parser.add_argument(
        "--pack", choices=["auto"], help="measure how many jobs fit on a GPU, in place of --gpus-per-trial"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that train a trial together")
    parser.add_argument(
        "--pretrain-workers", type=int, metavar="N", help="the same for upstream stages (default: as --workers)"
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=3,
        metavar="N",
        help="how often a job is started anew that got no further since its process or node died (default: 3)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what the study would train, cost and store; start nothing"
    )
    parser.add_argument(
        "--address",
        default=os.environ.get("RAY_ADDRESS", "local"),
        metavar="ADDRESS",
        help="Ray cluster: auto, HOST:PORT, or local to start one (default: RAY_ADDRESS, else local)",
    )
    add_common_options(parser)
    options = parser.parse_args(arguments)
    if options.pack and (options.gpus_per_trial is not None or options.workers > 1):
        parser.error("--pack chooses the part of a GPU of single workers: leave out --gpus-per-trial and --workers")
    if options.retries < 0:
        parser.error(f"--retries must not be negative, but got {options.retries}")
    if options.repeat is None and (options.repeat_members is not None or options.repeat_seeds is not None):
        parser.error("--repeat-members and --repeat-seeds are about --repeat RUN_DIR; give it, too")
    if options.repeat is not None:
        others = {
            "--trials": options.trials,
            "--warm-start": options.warm_start,
            "--grace-period": options.grace_period,
        }
        if given := [name for name, value in others.items() if value is not None]:
            parser.error(f"--repeat trains settings that were found, all to their end: leave out {', '.join(given)}")
    for name in ("trials", "repeat_members", "repeat_seeds", "cpus_per_trial", "workers", "pretrain_workers"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, but got {getattr(options, name)}")
    return options


def _add_search_options(parser: argparse.ArgumentParser) -> None:
    search = parser.add_argument_group("search")
    search.add_argument(
        "--sampler", default="tpe", metavar="NAME", help="tpe (default), nsga2, nsga3, gp, qmc or random"
    )
    search.add_argument(
        "--grace-period",
        type=int,
        metavar="N",
        help="stop trials early: compare them after N iterations, N * reduction_factor, N * reduction_factor^2 ... (default: never)",
    )
    search.add_argument(
        "--reduction-factor", type=float, metavar="X", help="one of X trials goes on where they are compared (3)"
    )
    search.add_argument(
        "--tie-break", choices=["hypervolume", "crowding"], help="what orders trials of one front (hypervolume)"
    )
    search.add_argument(
        "--constraint",
        action="append",
        default=[],
        metavar="BOUND",
        help="points that miss it do not count, such as lr_psnr>=45; may be repeated",
    )
    search.add_argument("--device-hours", type=float, metavar="X", help="draw no more trials once these are spent")
    search.add_argument(
        "--plateau",
        metavar="N[:SHARE]",
        help="draw no more once the hypervolume grew by less than SHARE (0.005) over the last N trials",
    )
    search.add_argument(
        "--interpolate",
        type=int,
        default=3,
        metavar="N",
        help="of each front member with its neighbours (3; 0 for none)",
    )
    search.add_argument(
        "--interpolate-points",
        choices=["front", "all"],
        default="front",
        help="all: interpolate all points with their fidelity generator, for benchmarks/tabular/replay_study.py",
    )
    search.add_argument("--warm-start", type=Path, metavar="RUN_DIR", help="try the front of an earlier study first")
    search.add_argument(
        "--learn-from-trials", action="store_true", help="let the sampler learn from all trials of --warm-start"
    )
    search.add_argument(
        "--repeat",
        type=Path,
        metavar="RUN_DIR",
        help="search nothing: train the best settings of each group of an earlier study again, with new seeds",
    )
    search.add_argument("--repeat-members", type=int, metavar="N", help="how many settings of each group (3)")
    search.add_argument("--repeat-seeds", type=int, metavar="N", help="how many runs of each (3)")


def _search_plan(options: argparse.Namespace, metrics: "Sequence[str]") -> "SearchPlan":
    """How to search, as the options say; ValueError naming the one that is wrong."""
    from study.search.asha import Rungs
    from study.search.constraints import parse_constraint
    from study.search.plan import SearchPlan
    from study.search.samplers import SAMPLERS

    if options.sampler not in SAMPLERS:
        raise ValueError(f"--sampler must be one of {', '.join(SAMPLERS)}, but got {options.sampler}")
    if options.interpolate < 0:
        raise ValueError(f"--interpolate must not be negative, but got {options.interpolate}")
    if options.grace_period is None and (options.reduction_factor is not None or options.tie_break is not None):
        raise ValueError(
            "--reduction-factor and --tie-break are about early stopping, which --grace-period N turns on; give it, too"
        )
    if options.learn_from_trials and options.warm_start is None:
        raise ValueError("--learn-from-trials is about the trials of --warm-start RUN_DIR; give it, too")
    rungs = None
    if options.grace_period is not None:
        rungs = Rungs(options.grace_period, options.reduction_factor or 3.0, options.tie_break or "hypervolume")
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
        repeat=_repetition(options),
    )


def _repetition(options: argparse.Namespace) -> "Repetition | None":
    from study.search.repetition import Repetition

    if options.repeat is None:
        return None
    return Repetition(options.repeat, members=options.repeat_members or 3, seeds=options.repeat_seeds or 3)


def _plateau(text: str) -> "Plateau":
    from study.search.stopping import Plateau

    trials, _, share = text.partition(":")
    try:
        return Plateau(int(trials), float(share)) if share else Plateau(int(trials))
    except ValueError as error:
        raise ValueError(f"--plateau must look like 16 or 16:0.005, but got {text!r} ({error})") from error


def _plan(
    options: argparse.Namespace, there: "Mapping[str, float]", console: Console
) -> "tuple[Study, list[RunConfig]]":
    """What to run, and draws of what its trials may be; `there` is what the cluster has, empty for this machine."""
    from study.cluster.driver import Study
    from study.config.recipes import get_recipe
    from study.record.metadata import precision_of
    from study.search.spaces import load_space
    from study.tracking.client import default_uri
    from study.training.context_spec import ContextSpec
    from study.training.loop import pick_device
    from study.training.precision import fastest_of_cluster, fastest_precision, slow_note
    from study.training.preflight import (
        LPIPS_NETWORK,
        check_initial_weights,
        check_shares,
        find_networks,
        perceptual_metric_note,
        read_custom_losses,
        require_networks,
    )

    space = load_space(options.space)
    size = options.size or space.size
    wanted = space.base(size, {"vgg19", "vgg16", "squeezenet", "alexnet"}).loss.perceptual_network
    networks = find_networks([*(space.networks or [wanted]), LPIPS_NETWORK], options.weights)
    device = pick_device()
    on_gpu = there.get("GPU", 0) >= 1 if there else device.type == "cuda"
    gpus = float(on_gpu) if options.gpus_per_trial is None else options.gpus_per_trial
    fastest = fastest_of_cluster(there, on_gpu=gpus > 0) if there else fastest_precision(device)
    base = with_options(space.base(size, networks), options, precision_of(options.output) or fastest)
    space = space.around(base, networks)
    draws = space.try_out(base)
    for draw in (base, *draws):
        require_networks(draw, networks)
    check_initial_weights(draws)
    custom_losses = read_custom_losses([base, *draws])
    notes = [perceptual_metric_note(networks.get(LPIPS_NETWORK))]
    if base.loss.perceptual == 0 < get_recipe(base.recipe, size).loss.perceptual:
        notes.append(f"The perceptual loss term is off: the published {wanted} weights could not be had.")
    notes += [] if there else slow_note(base.precision, device)
    for note in notes:
        console.print(f"[bold]note:[/] {note}", highlight=False)
    study = Study(
        space=space,
        base=base,
        output=options.output,
        trials=options.trials or space.trials,
        seed=options.seed,
        context_spec=ContextSpec(
            data=base.data,
            largest_patch=max(draw.largest_patch for draw in draws),
            artifacts=artifacts_of(options),
            backbones=networks,
            lpips_weights=networks.get(LPIPS_NETWORK),
            custom_losses=custom_losses,
        ),
        address=options.address,
        cpus_per_trial=options.cpus_per_trial,
        gpus_per_trial=gpus,
        mlflow_uri=options.mlflow or default_uri(options.output),
        notes=tuple(notes),
        workers=options.workers,
        pretrain_workers=options.pretrain_workers or options.workers,
        retries=options.retries,
    )
    check_shares([base, *draws], study.workers_of)
    return study, draws


def _conclude(study: "Study", outcome: "Outcome", reports: "Sequence[Report]", console: Console) -> int:
    from analysis.report import print_report

    records = outcome.records
    for number, cause in sorted(records.causes.items()):
        if records.states[number] == "FAILED":
            console.print(f"trial {number} FAILED: {cause}", markup=False, highlight=False, soft_wrap=True)
    if records.enough is not None and outcome.state == "COMPLETE":
        console.print(f"no more trials were drawn: {records.enough['cause']}", highlight=False, soft_wrap=True)
    if outcome.state != "COMPLETE":
        why = f"halted: {outcome.cause}" if outcome.state == "HALTED" else "interrupted"
        console.print(f"{why}\nnothing is lost: run the same command with --resume", highlight=False, soft_wrap=True)
        return 1 if outcome.state == "HALTED" else INTERRUPTED
    _print_numbers(outcome, console)
    for report in reports:
        print_report(report, console)
    for warning in outcome.warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    for line in _where_to_look(study.output, study.mlflow_uri):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0 if records.count("COMPLETE") else 1


def _where_to_look(output: Path, uri: str) -> list[str]:
    """The commands that show a study in MLflow and in Optuna's dashboard."""
    from study.tracking.address import how_to_open, installed_command

    return [
        f"MLflow: {how_to_open(uri)}",
        f"Optuna: {installed_command('optuna-dashboard')} sqlite:///{output.resolve() / 'optuna.db'}",
    ]


def _print_numbers(outcome: "Outcome", console: Console) -> None:
    records = outcome.records
    uses = sum(records.uses.values())
    made = [event for event in records.artifacts.values() if event["state"] == "COMPLETE"]
    reused = sum(event["reused"] for event in made)
    console.print(
        f"artifacts: {len(made)}, each trained once ({reused} found from before), "
        f"used {uses} times by {len(records.states)} trials",
        highlight=False,
    )
    if records.overheads:
        console.print(
            f"orchestration: {median(records.overheads):.3f} s from sampled to training function entered "
            f"(median of {len(records.overheads)} trials on warm workers; at most {max(records.overheads):.3f} s)",
            highlight=False,
        )
    if outcome.unsent:
        console.print(f"{outcome.unsent} records wait for MLflow; --resume sends them", highlight=False)


if __name__ == "__main__":
    run(main)
