"""Train one run: a recipe and its upstream stages. The same command continues an interrupted run,
and with a larger budget.iterations a finished one.

python study/train.py aesop --size tiny --output runs/one
python study/train.py --basicsr train_ESRGAN_x4.yml --data DIV2K/HR --output runs/mine
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

# As a script of a checkout that is not installed: Python searches study/, but the packages are one level up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console
from rich.table import Table

from study.cli import add_common_options, artifacts_of, print_notes, run
from study.cluster.progress import StageProgress
from study.command_config import check_set, with_options
from study.command_parser import CommandParser
from study.config import ConfigError, Precision, RunConfig, Stage, stage_key, to_dict
from study.config.basicsr import read_basicsr
from study.config.recipes import RECIPES, get_recipe
from study.data.errors import raise_problems
from study.metrics import METRICS
from study.record.directory import check_output, sole_driver
from study.record.events import (
    PointEvaluated,
    ReferenceEvaluated,
    StudyStateChanged,
    TrialEnded,
    TrialExtended,
    TrialStarted,
)
from study.record.goals import Goals
from study.record.journal import Journal
from study.record.metadata import SINGLE_RUN, SearchInfo
from study.record.paths import WEIGHTS, RunDirectory
from study.record.points import Metrics
from study.record.state import Recorder, StudyRecord
from study.record.stored import describe_study, precision_of, repair_journal
from study.search.description import Description, describe, objectives_of, write_custom_losses
from study.tracking.address import how_to_open
from study.tracking.client import tracking_uri
from study.tracking.session import Session
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.evaluation import evaluate_baseline, spacing_note
from study.training.loop import Diverged, ProgressCallback, pick_device
from study.training.precision import fastest_precision, slow_note
from study.training.preflight import (
    LPIPS_NETWORK,
    check_initial_weights,
    check_training_images,
    find_networks,
    perceptual_metric_note,
    read_custom_losses,
    require_networks,
)
from study.training.stages.adversarial import export_generator, is_exportable, train_adversarial
from study.training.stages.artifacts import make_artifact
from study.training.stages.graph import STAGES, Need, artifact_key, needs_of

# Reference points of the report's figures: a single run has no search space to give them.
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}
TRIAL = 0


def main(arguments: list[str], console: Console) -> int:
    """Run the command; return its exit code."""
    options = _parse(arguments)
    config, until = _configuration(options, console)
    check_output(options.output, resume=True)
    uri = tracking_uri(options.mlflow, options.output)
    context_spec = _context_spec(config, until, options)
    metric_note = perceptual_metric_note(context_spec.lpips_weights)
    print_notes([metric_note], console)
    context = context_spec.open()
    print_notes(context.image_notes, console)
    check_training_images([config], context.train)
    notes = [*spacing_note(config, context.val), *slow_note(config.precision, pick_device())]
    print_notes(notes, console)
    notes = [metric_note, *context.image_notes, *notes]
    with sole_driver(options.output):
        for sentence in repair_journal(options.output):
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        run_dir = RunDirectory(options.output)
        recorder = Recorder(Journal(run_dir.journal))
        description = _description(config, options.output, notes, context)
        describe_study(options.output, describe(description, context), recorder)
        write_custom_losses(options.output, context)
        with Session(options.output, recorder, uri) as session:
            failure = SingleRun(config, context, run_dir, recorder).train(until, console)
            if failure is None:
                recorder.add(StudyStateChanged(state="COMPLETE"))
    if session.unsent:
        console.print(f"{session.unsent} records wait for MLflow; the same command sends them", highlight=False)
    if failure is not None:
        console.print(failure, markup=False, highlight=False, soft_wrap=True)
        return 1
    _print_table(recorder.record, console)
    _print_weights(config, until, run_dir, context.artifacts, recorder.record, console)
    console.print(
        f"report: python analysis/report.py {shlex.quote(str(options.output))}", highlight=False, soft_wrap=True
    )
    console.print(f"MLflow: {how_to_open(uri)}", highlight=False, soft_wrap=True)
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = CommandParser(prog="study/train.py", description=__doc__)
    group = parser.add_argument_group("recipe")
    group.add_argument("recipe", metavar="RECIPE", nargs="?", help=f"one of: {', '.join(RECIPES)}")
    group.add_argument(
        "--basicsr",
        type=Path,
        metavar="FILE",
        help="an option file of BasicSR, ESRGAN, LDL, AESOP, ... in place of RECIPE",
    )
    group.add_argument(
        "--accept-differences",
        action="store_true",
        help="train although the run would differ from the option file (default: refuse it)",
    )
    group.add_argument(
        "--until", choices=get_args(Stage), help="the last stage to train (default: adversarial, or the option file's)"
    )
    add_common_options(parser)
    options = parser.parse_args(arguments)
    if (options.recipe is None) == (options.basicsr is None):
        parser.error("name either a RECIPE or an option file with --basicsr")
    if options.basicsr is not None and options.size is not None:
        parser.error("--size is an option of recipes; an option file specifies its networks and budget: leave it out")
    return options


def _configuration(options: argparse.Namespace, console: Console) -> tuple[RunConfig, Stage]:
    """Return the run and its last stage; ConfigError if a configuration cannot express the option file."""
    if options.basicsr is None:
        recipe = get_recipe(options.recipe, options.size or "full")
        return _with_options(recipe, options, options.until or "adversarial")
    # The file's other images belong to its own training images.
    reading = read_basicsr(options.basicsr, images=options.data is None)
    config, until = _with_options(reading.config, options, options.until or reading.until)
    differences = [*reading.differences, *_other_stages(config, until, reading.until)]
    if differences and not options.accept_differences:
        raise_problems(
            ConfigError,
            f"this training would not be that of {options.basicsr}; change these parts of the file, or give "
            "--accept-differences to train nevertheless",
            differences,
        )
    assumed = list(reading.assumed)
    if config.precision != "fp32" and options.precision == "auto":
        assumed.append(f"precision: {config.precision}, the fastest here; BasicSR trains in fp32, as --precision fp32")
    sentences = {"not as in": [*differences, *reading.notes], "assumed for": assumed}
    for how, texts in sentences.items():
        for text in texts:
            console.print(f"{how} {options.basicsr.name}: {text}", markup=False, highlight=False, soft_wrap=True)
    return config, until


def _other_stages(config: RunConfig, until: Stage, described: Stage) -> Iterator[str]:
    """Describe the stages that a run would train though an option file describes another one alone."""
    known = stage_key(config, described, "")
    for need in (*needs_of(config, until), Need(stage_key(config, until, ""), until, config)):
        spec = STAGES[need.stage]
        if need.key == known or spec.initial_weights(need.config) is not None:
            continue
        budget = spec.budget(need.config)
        patches = f" of {budget.batch} patches of {budget.patch} px" if budget else ""
        remedy = f"; --set {spec.init_field}=FILE names weights in its place" if spec.init_field else ""
        length = f"{spec.iterations(need.config):,} iterations{patches}"
        yield f"stage {need.stage}: not in the file; here it has {length}, as in recipe aesop or by --set{remedy}"


def _with_options(recipe: RunConfig, options: argparse.Namespace, until: Stage) -> tuple[RunConfig, Stage]:
    config = with_options(recipe, options, _fastest(options.output))
    check_set(options, recipe, [config], until)
    return config, until


def _fastest(output: Path) -> Precision:
    """Return the precision of the run in a directory, else the fastest of this device."""
    return precision_of(output) or fastest_precision(pick_device())


def _context_spec(config: RunConfig, until: Stage, options: argparse.Namespace) -> ContextSpec:
    compares = STAGES[until].yields_points and config.loss.perceptual > 0
    needed = [config.loss.perceptual_network] if compares else []
    networks = find_networks([*needed, LPIPS_NETWORK], options.weights)
    if compares:
        require_networks(config, networks)
    check_initial_weights([config])
    return ContextSpec(
        data=config.data,
        largest_patch=config.largest_patch(until),
        artifacts=artifacts_of(options),
        backbones=networks,
        lpips_weights=networks.get(LPIPS_NETWORK),
        custom_losses=read_custom_losses([config]),
    )


def _description(config: RunConfig, output: Path, notes: list[str], context: RunContext) -> Description:
    objectives = objectives_of(context)
    reference = {objective.metric: REFERENCE[objective.metric] for objective in objectives}
    return Description(
        name=output.resolve().name,
        search=SearchInfo(SINGLE_RUN, trials=1, seed=config.seed, groups=("recipe",)),
        space_fingerprint="",
        base=config,
        goals=Goals(objectives, reference),
        notes=notes,
    )


@dataclass(frozen=True)
class SingleRun:
    """A run outside a study; its last stage is recorded as a trial."""

    config: RunConfig
    context: RunContext
    run_dir: RunDirectory
    recorder: Recorder

    def train(self, until: Stage, console: Console) -> str | None:
        """Train the missing stages, up to one; return why that failed, None if it did not."""
        self.recorder.add(evaluate_baseline(self.config.data, self.context, self.run_dir))
        with StageProgress(console) as progress:
            if until == "adversarial":
                return self._trial(progress.on_progress)
            key = self._key_of(self.config, until)
            try:
                for need in (*needs_of(self.config, until, self._key_of), Need(key, until, self.config)):
                    self._upstream_stage(need, progress.on_progress)
            except Diverged as error:
                return f"diverged: {error}"
        return None

    def _key_of(self, config: RunConfig, stage: Stage) -> str:
        return artifact_key(config, stage, self.context.train)

    def _trial(self, on_progress: ProgressCallback) -> str | None:
        """Train all stages; return why that failed, None if it did not."""
        config, add = self.config, self.recorder.add
        upstream = STAGES["adversarial"].upstream(config)
        starts_from = {stage: self._key_of(needed, stage) for needed, stage in upstream}
        add(TrialStarted(trial=TRIAL, config=to_dict(config), params={}, upstream=starts_from))
        if self.recorder.record.trials[TRIAL].config["budget"]["iterations"] < config.budget.iterations:
            add(TrialExtended(trial=TRIAL, config=to_dict(config)))
        try:
            for need in needs_of(config, "adversarial", self._key_of):
                self._upstream_stage(need, on_progress)
            directory = self.run_dir.trial(TRIAL)
            train_adversarial(config, self.context, directory, self._add_point, on_progress)
        except Diverged as error:
            add(TrialEnded(trial=TRIAL, state="FAILED", cause=f"diverged: {error}"))
            return f"diverged: {error}"
        add(TrialEnded(trial=TRIAL, state="COMPLETE"))
        return None

    def _add_point(self, point: PointEvaluated) -> None:
        self.recorder.add(point)

    def _upstream_stage(self, need: Need, on_progress: ProgressCallback) -> None:
        for event in make_artifact(need.config, need.stage, self.context, self.run_dir, on_progress):
            is_generator = isinstance(event, ReferenceEvaluated)
            if not is_generator or need.config.data.scale == self.config.data.scale:
                self.recorder.add(event)


def _print_table(record: StudyRecord, console: Console) -> None:
    """Print a table of metrics, a row for each evaluated reference, artifact and point."""
    rows: dict[str, Metrics] = {name: reference.metrics for name, reference in record.references.items()}
    artifacts = record.last_artifacts
    rows |= {
        f"{key} (HR images through it)": made.metrics for key, made in artifacts.items() if made.stage == "autoencoder"
    }
    state = record.trial_state(TRIAL).lower()
    for point in sorted(record.points, key=lambda point: point.iteration):
        rows[f"{state} run at {point.iteration}"] = record.points[point].metrics
    shown = next(iter(record.references.values())).metrics.keys()
    table = Table("weights", *(METRICS[name].label for name in shown), title="on the held-out images")
    for row, metrics in rows.items():
        table.add_row(row, *(f"{metrics[name]:.4f}" if name in metrics else "" for name in shown))
    table.title_justify = "left"
    console.print(table)
    for key, made in artifacts.items():
        if made.stage == "critics":
            _print_areas(key, made.metrics, console)


def _print_weights(
    config: RunConfig,
    until: Stage,
    run_dir: RunDirectory,
    artifacts: ArtifactFolder,
    record: StudyRecord,
    console: Console,
) -> None:
    """Print where the weights are, and export the final generator for other tools."""
    if until != "adversarial":
        made = artifacts.open(list(record.last_artifacts)[-1]) / WEIGHTS
        console.print(f"weights: {made}", highlight=False, soft_wrap=True)
        return
    point = run_dir.weights(max(record.points, key=lambda point: point.iteration))
    console.print(f"weights: {point}", highlight=False, soft_wrap=True)
    if is_exportable(config):
        exported = export_generator(config, point, run_dir.exported)
        console.print(f"weights for other tools (BasicSR's names): {exported}", highlight=False, soft_wrap=True)


def _print_areas(key: str, metrics: Metrics, console: Console) -> None:
    """Print how well critics separate distorted from clean held-out images: area under the ROC curve, chance 0.5."""
    levels = ", ".join(f"{value:.3f}" for name, value in metrics.items() if name != "auc")
    text = f"{key}: distorted against clean held-out images, area under the curve {metrics['auc']:.3f}"
    console.print(f"{text} (coarse to fine: {levels})", highlight=False, soft_wrap=True)


def command() -> None:
    """Run as `aesop-train`."""
    run(main)


if __name__ == "__main__":
    command()
