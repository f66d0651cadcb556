"""Run a study: many trials around a recipe, compared by their Pareto front.

python study/sweep.py --space aesop --trials 64 --output runs/aesop
"""

import argparse
import contextlib
import importlib
import os
import shlex
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# As a script of a checkout that is not installed: Python searches study/, but the packages are one level up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

# The journal holds everything that Tune's loggers would write.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # `cluster/progress.py` shows the live view
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from statistics import median
from typing import TYPE_CHECKING, get_args

from rich.console import Console

from study.cli import INTERRUPTED, artifacts_of, print_notes, run
from study.command_config import check_set, with_options
from study.sweep_options import parse, search_plan

if TYPE_CHECKING:  # imported late, so that --help answers at once
    from analysis.report import Report
    from study.cluster.driver import Outcome
    from study.cluster.study import Resources, Study
    from study.config import PerceptualNetwork, RunConfig
    from study.search.plan import SearchPlan
    from study.search.repetition import RepeatedRun
    from study.search.spaces import SearchSpace
    from study.training.context import RunContext
    from study.training.context_spec import ContextSpec


@dataclass(frozen=True)
class StudyInputs:
    """The inputs of a study, before its images are opened.

    Attributes:
        space: the search space.
        base: the run that trials vary.
        draws: examples of its trials.
        context_spec: images, artifacts, networks.
        notes: caveats for readers of the results.
    """

    space: "SearchSpace"
    base: "RunConfig"
    draws: "Sequence[RunConfig]"
    context_spec: "ContextSpec"
    notes: tuple[str, ...]


def main(arguments: list[str], console: Console) -> int:
    """Run the command; return its exit code."""
    options = _parse(arguments)
    console.print("reading the space, the weights and the images", highlight=False)
    from study.cluster.connection import check_address, check_persistent, cluster_resources
    from study.cluster.driver import run_study
    from study.cluster.dry_run import dry_run
    from study.record.directory import check_output
    from study.tracking.client import tracking_uri

    check_address(options.address)
    check_persistent("--output", options.output)
    check_output(options.output, resume=options.resume)
    tracking_uri(options.mlflow, options.output)
    cluster = {} if options.address == "local" else cluster_resources(options.address)
    study, context = prepare(options, cluster, console)
    if options.dry_run:
        dry_run(study, context, console)
        return 0
    reports: list[Report] = []
    _import_in_background("analysis.report")
    outcome = run_study(study, context, console, report=lambda output: _report(output, reports))
    return _print_outcome(study, outcome, reports, console)


def _parse(arguments: list[str]) -> argparse.Namespace:
    return parse(arguments, __doc__)


def prepare(options: argparse.Namespace, cluster: Mapping[str, float], console: Console) -> "tuple[Study, RunContext]":
    """Return the checked study and its opened context; every error in the inputs is raised here.

    Args:
        options: the parsed command line.
        cluster: the cluster's resources; empty for this machine.
        console: for notes.
    """
    from study.cluster.study import Study
    from study.tracking.client import tracking_uri
    from study.training.preflight import check_shares, check_training_images

    inputs, resources = collect_inputs(options, cluster, console), _resources(options, cluster)
    check_shares([inputs.base, *inputs.draws], resources.workers_of)
    context = inputs.context_spec.open()
    print_notes(context.image_notes, console)
    check_training_images(inputs.draws, context.train)
    search = search_plan(options, context.evaluator.names)
    repeated, notes = _repeated_runs(inputs, search, context, console)
    study = Study(
        space=inputs.space,
        base=inputs.base,
        output=options.output,
        trials=len(repeated) or options.trials or inputs.space.trials,
        seed=options.seed,
        context_spec=inputs.context_spec,
        resources=resources,
        mlflow_uri=tracking_uri(options.mlflow, options.output),
        notes=(*notes, *context.image_notes),
        search=search,
    )
    if options.pack == "auto":
        study = replace(study, resources=_packed(study, context, repeated, console))
    study.check(context)
    console.print(
        f"study {study.output.name}: {study.trials} trials of space {study.space.name} ({study.base.size}), "
        f"{len(context.train)} training and {len(context.val)} held-out images",
        highlight=False,
    )
    return study, context


def collect_inputs(options: argparse.Namespace, cluster: Mapping[str, float], console: Console) -> StudyInputs:
    """Load the space, find the frozen networks, and draw examples of trials; `cluster` as for `prepare`."""
    from study.config import replace as replace_fields
    from study.search.spaces import load_space
    from study.training.context_spec import ContextSpec
    from study.training.preflight import LPIPS_NETWORK, check_initial_weights, read_custom_losses, require_networks

    space = load_space(options.space)
    base, networks, notes = _base_and_networks(space, options, cluster)
    space = space.around(base, networks)
    draws = space.try_out(base)
    check_set(options, space.base(options.size or space.size, networks), draws)
    drawn = space.varied(replace_fields(base, {"loss.perceptual": 0}))
    for draw in (base, *draws):
        require_networks(draw, networks, drawn)
    check_initial_weights(draws)
    print_notes(notes, console)
    patch = max(draw.largest_patch() for draw in draws)
    context_spec = ContextSpec(
        data=base.data,
        largest_patch=patch._replace(is_drawn=patch.field in drawn),
        artifacts=artifacts_of(options),
        backbones=networks,
        lpips_weights=networks.get(LPIPS_NETWORK),
        custom_losses=read_custom_losses([base, *draws]),
    )
    return StudyInputs(space, base, draws, context_spec, tuple(notes))


def _base_and_networks(
    space: "SearchSpace", options: argparse.Namespace, cluster: Mapping[str, float]
) -> "tuple[RunConfig, dict[PerceptualNetwork, Path], list[str]]":
    """Return the run that trials vary, the files of the frozen networks that it can use, and caveats."""
    from study.config import PerceptualNetwork
    from study.record.stored import precision_of
    from study.training.loop import pick_device
    from study.training.precision import fastest_of_cluster, fastest_precision, slow_note
    from study.training.preflight import LPIPS_NETWORK, find_networks, perceptual_metric_note

    size, every, device = options.size or space.size, get_args(PerceptualNetwork), pick_device()
    on_gpu = _gpus(options, cluster) > 0
    fastest = fastest_of_cluster(cluster, on_gpu=on_gpu) if cluster else fastest_precision(device)
    precision = precision_of(options.output) or fastest

    def base_with(networks: Collection[str]) -> "RunConfig":
        recipe = space.base(size, networks)
        return with_options(recipe, options, precision, space.varied(recipe) if options.set else ())

    own, whole = space.base(size, every).loss.perceptual_network, base_with(every)
    wanted = whole.loss.perceptual_network
    listed: list[PerceptualNetwork] = [*space.networks, LPIPS_NETWORK]
    networks = find_networks([wanted, *listed] if wanted != own or not space.networks else listed, options.weights)
    # The space need not do without a network that --set replaces.
    base = base_with({*networks, own} if wanted in networks else networks)
    notes = [perceptual_metric_note(networks.get(LPIPS_NETWORK))]
    if base.loss.perceptual == 0 < whole.loss.perceptual:
        notes.append(
            f"The perceptual loss term is off: the published {wanted} weights could not be found or downloaded."
        )
    return base, networks, notes + ([] if cluster else slow_note(base.precision, device))


def _gpus(options: argparse.Namespace, cluster: Mapping[str, float]) -> float:
    from study.training.loop import pick_device

    if options.gpus_per_trial is not None:
        return float(options.gpus_per_trial)
    return float(cluster.get("GPU", 0) >= 1 if cluster else pick_device().type == "cuda")


def _resources(options: argparse.Namespace, cluster: Mapping[str, float]) -> "Resources":
    from study.cluster.study import Resources

    return Resources(
        address=options.address,
        cpus_per_trial=options.cpus_per_trial,
        gpus_per_trial=_gpus(options, cluster),
        workers=options.workers,
        pretrain_workers=options.pretrain_workers or options.workers,
        retries=options.retries,
    )


def _packed(study: "Study", context: "RunContext", repeated: "Sequence[RepeatedRun]", console: Console) -> "Resources":
    """Return the resources with the measured fraction of a GPU that a job needs (`--pack auto`)."""
    from study.cluster.dry_run import expected_configs, packed_share

    configs = expected_configs(study.space, study.base, study.trials, study.seed, repeated)
    share = packed_share(configs, context, study.context_spec, study.resources)
    console.print(f"--pack auto: {1 / share:.0f} jobs on a GPU at a time", highlight=False)
    return replace(study.resources, gpus_per_trial=share)


def _repeated_runs(
    inputs: StudyInputs, search: "SearchPlan", context: "RunContext", console: Console
) -> "tuple[Sequence[RepeatedRun], tuple[str, ...]]":
    """Return the runs of `--repeat` and the notes, with one more if their configuration or images differ."""
    from study.search.repetition import load_repetition, other_than_before

    plan = search.repeat
    if plan is None:
        return (), inputs.notes
    runs = load_repetition(plan, inputs.space, inputs.base)
    settings = len({run.trial for run in runs})
    console.print(
        f"--repeat {plan.origin}: {settings} settings of it, {plan.seeds} seeds each", highlight=False, soft_wrap=True
    )
    different = other_than_before(plan.origin, runs, context.train.fingerprint)
    if not different:
        return runs, inputs.notes
    note = f"The settings repeated are those of {plan.origin.name}, but with another {', '.join(different)}."
    print_notes([note], console)
    return runs, (*inputs.notes, note)


def _import_in_background(module: str) -> None:
    """Import a module that is needed at the end in a thread: Ray's start leaves the cores idle."""

    def import_it() -> None:
        with contextlib.suppress(Exception):  # raised again at the import where it is used
            importlib.import_module(module)

    threading.Thread(target=import_it, name=f"import {module}", daemon=True).start()


def _report(output: Path, reports: "list[Report]") -> list[Path]:
    """Write the report, append it to `reports`, and return its files."""
    from analysis.report import write_report

    reports.append(write_report(output))
    return reports[-1].files


def _print_outcome(study: "Study", outcome: "Outcome", reports: "Sequence[Report]", console: Console) -> int:
    """Print the results, or why there are none; return the exit code."""
    from analysis.report import print_report

    record = outcome.record
    for warned in record.warnings:
        console.print(f"warning: {warned.job}: {warned.text}", markup=False, highlight=False, soft_wrap=True)
    for number, end in sorted(record.ends.items()):
        if end.state == "FAILED":
            console.print(f"trial {number} FAILED: {end.cause}", markup=False, highlight=False, soft_wrap=True)
    if record.search_ended is not None and outcome.state == "COMPLETE":
        console.print(f"no more trials were drawn: {record.search_ended.cause}", highlight=False, soft_wrap=True)
    if outcome.state != "COMPLETE":
        reason = f"halted: {outcome.cause}" if outcome.state == "HALTED" else "interrupted"
        console.print(f"{reason}\nnothing is lost: run the same command with --resume", highlight=False, soft_wrap=True)
        return 1 if outcome.state == "HALTED" else INTERRUPTED
    _print_statistics(outcome, console)
    for report in reports:
        print_report(report, console)
    for warning in outcome.warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    for line in _dashboard_commands(study.output, study.mlflow_uri):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0 if record.count("COMPLETE") else 1


def _dashboard_commands(output: Path, uri: str) -> list[str]:
    """Return the commands that show a study in MLflow and in Optuna's dashboard."""
    from study.record.paths import RunDirectory
    from study.search.database import sqlite_url
    from study.tracking.address import how_to_open, installed_command

    return [
        f"MLflow: {how_to_open(uri)}",
        f"Optuna: {installed_command('optuna-dashboard')} {shlex.quote(sqlite_url(RunDirectory(output).optuna))}",
    ]


def _print_statistics(outcome: "Outcome", console: Console) -> None:
    record = outcome.record
    uses = sum(record.uses.values())
    made = [ended for ended in record.last_artifacts.values() if ended.state == "COMPLETE"]
    reused = sum(ended.reused for ended in made)
    console.print(
        f"artifacts: {len(made)}, each trained once ({reused} by an earlier study), "
        f"used {uses} times by {len(record.trials)} trials",
        highlight=False,
    )
    overheads = record.warm_overheads
    if overheads:
        console.print(
            f"orchestration: {median(overheads):.3f} s from sampled to training function entered "
            f"(median of {len(overheads)} trials on warm workers; at most {max(overheads):.3f} s)",
            highlight=False,
        )
    if outcome.unsent:
        console.print(f"{outcome.unsent} records wait for MLflow; --resume sends them", highlight=False)


def command() -> None:
    """Run as `aesop-sweep`."""
    run(main)


if __name__ == "__main__":
    command()
