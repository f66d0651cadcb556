"""One run: a recipe, with the stages it starts from. Called again, it goes on where it stopped.

python study/train.py aesop --size tiny --output runs/one
python study/train.py --basicsr train_ESRGAN_x4.yml --data DIV2K/HR --output runs/mine
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console
from rich.table import Table

from study.cli import add_common_options, artifacts_of, run, with_options
from study.cluster.progress import StageProgress
from study.config import ConfigError, Precision, RunConfig, Stage, replace, to_dict
from study.config.basicsr import read_basicsr
from study.config.recipes import RECIPES, get_recipe
from study.metrics import METRICS
from study.record.journal import Journal
from study.record.metadata import Facts, check_output, precision_of, sole_driver, write_facts
from study.record.state import Records
from study.tracking.address import how_to_open
from study.tracking.client import default_uri
from study.tracking.exporter import Exporter
from study.training.artifact_store import WEIGHTS, ArtifactFolder
from study.training.context import RunContext
from study.training.context_spec import ContextSpec
from study.training.evaluation import baseline_name, evaluate_baseline, spacing_note
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
from study.training.stages.adversarial import Point, export_generator, is_exportable, train_adversarial
from study.training.stages.artifacts import make_artifact
from study.training.stages.graph import STAGES, KeyOf, Need, artifact_key, needs_of

# A single run has no front to measure; its report still needs a corner to draw from.
REFERENCE = {"psnr_y": 20.0, "lpips_alex": 0.8, "swd": 60.0}
TRIAL = 0


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    config, until = _configuration(options, console)
    check_output(options.output, resume=True)
    context_spec = _context_spec(config, until, options)
    console.print(f"[bold]note:[/] {perceptual_metric_note(context_spec.lpips_weights)}", highlight=False)
    context = context_spec.open()
    check_training_images([config], context.train)
    notes = [*spacing_note(config, context.val), *slow_note(config.precision, pick_device())]
    for note in notes:
        console.print(f"[bold]note:[/] {note}", highlight=False)
    uri = options.mlflow or default_uri(options.output)
    with sole_driver(options.output):
        write_facts(
            options.output,
            _facts(config, options, [perceptual_metric_note(context_spec.lpips_weights), *notes]),
            context,
        )
        records = Records(Journal(options.output / "journal.jsonl"))
        records.study("RUNNING")
        exporter = Exporter(options.output, uri)
        exporter.start()
        try:
            state = _run(config, until, context, options.output, records, console)
            records.study("COMPLETE" if state == "COMPLETE" else "INTERRUPTED")
        finally:
            unsent = exporter.close()
    return _conclude(config, until, options.output, context.artifacts, records, state, unsent, uri, console)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study/train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help=f"one of: {', '.join(RECIPES)}")
    parser.add_argument(
        "--basicsr", type=Path, metavar="FILE", help="an option file of BasicSR, ESRGAN, LDL, AESOP, ... as the recipe"
    )
    parser.add_argument(
        "--accept-differences",
        action="store_true",
        help="train although the option file says things that a configuration cannot express",
    )
    parser.add_argument(
        "--until", choices=get_args(Stage), help="the last stage to train (default: adversarial, or the option file's)"
    )
    add_common_options(parser)
    options = parser.parse_args(arguments)
    if (options.recipe is None) == (options.basicsr is None):
        parser.error("name either a RECIPE or an option file with --basicsr")
    if options.basicsr is not None and options.size is not None:
        parser.error("--size chooses a recipe's size; an option file has its own")
    return options


def _configuration(options: argparse.Namespace, console: Console) -> tuple[RunConfig, Stage]:
    """What to train, and until which stage; ConfigError if an option file says what cannot be expressed."""
    if options.basicsr is None:
        config = get_recipe(options.recipe, options.size or "full")
        return with_options(config, options, _fastest(options.output)), options.until or "adversarial"
    reading = read_basicsr(options.basicsr)
    if reading.differences and not options.accept_differences:
        listed = "\n".join(f"  {difference}" for difference in reading.differences)
        raise ConfigError(
            f"{options.basicsr} says what a configuration cannot express:\n{listed}\nTake these keys out of the file, "
            "or give --accept-differences to train as if they were not there"
        )
    for sentence in (*reading.differences, *reading.notes):
        console.print(f"not as in {options.basicsr.name}: {sentence}", markup=False, highlight=False, soft_wrap=True)
    config = reading.config
    if options.data is not None:  # the file's own test images belong to its own training images
        config = replace(config, {"data.train": "photographs", "data.val": None})
    return with_options(config, options, _fastest(options.output)), options.until or reading.until


def _fastest(output: Path) -> Precision:
    """What a run there trains in already, else what suits this device."""
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
        largest_patch=config.largest_patch,
        artifacts=artifacts_of(options),
        backbones=networks,
        lpips_weights=networks.get(LPIPS_NETWORK),
        custom_losses=read_custom_losses([config]),
    )


def _facts(config: RunConfig, options: argparse.Namespace, notes: list[str]) -> Facts:
    return Facts(
        name=options.output.resolve().name,
        space="single run",
        space_fingerprint="",
        base=config,
        trials=1,
        seed=config.seed,
        reference=REFERENCE,
        groups=("recipe",),
        notes=tuple(notes),
    )


def _run(config: RunConfig, until: Stage, context: RunContext, output: Path, records: Records, console: Console) -> str:
    """Train what is not trained yet, up to a stage; returns the run's state."""
    baseline, name = evaluate_baseline(config.data, context, output / "references"), baseline_name(config.data)
    facts = {"metrics": baseline.metrics, "images": baseline.images, "samples": f"references/{name}"}
    records.reference(name, kind=name, **facts)

    def key_of(config: RunConfig, stage: Stage) -> str:
        return artifact_key(config, stage, context.train)

    with StageProgress(console) as progress:
        if STAGES[until].yields_points:
            return _run_trial(config, context, output, records, key_of, progress.on_progress)
        for need in (*needs_of(config, until, key_of), Need(key_of(config, until), until, config)):
            _upstream_stage(need, config, context, output, records, progress.on_progress)
    return "COMPLETE"


def _run_trial(
    config: RunConfig, context: RunContext, output: Path, records: Records, key_of: KeyOf, on_progress: ProgressCallback
) -> str:
    """Train all stages; the last one is recorded as a trial. Returns its state."""
    starts_from = {str(stage): key_of(needed, stage) for needed, stage in STAGES["adversarial"].upstream(config)}
    records.trial(TRIAL, to_dict(config), {}, starts_from)
    try:
        for need in needs_of(config, "adversarial", key_of):
            _upstream_stage(need, config, context, output, records, on_progress)
        directory = output / "trials" / f"{TRIAL:04d}"
        train_adversarial(config, context, directory, lambda point: _record(records, point), on_progress)
    except Diverged as error:
        records.end(TRIAL, "FAILED", cause=f"diverged: {error}")
        return "FAILED"
    records.end(TRIAL, "COMPLETE")
    return "COMPLETE"


def _upstream_stage(
    need: Need, config: RunConfig, context: RunContext, output: Path, records: Records, on_progress: ProgressCallback
) -> None:
    facts = make_artifact(need.config, need.stage, context, output, on_progress)
    records.artifact_made(need, facts, reference_scale=config.data.scale)


def _record(records: Records, point: Point) -> None:
    samples = f"trials/{TRIAL:04d}/points/{point.iteration:07d}"
    records.point(TRIAL, {"samples": samples, **point.to_dict()})


def _conclude(
    config: RunConfig,
    until: Stage,
    output: Path,
    artifacts: ArtifactFolder,
    records: Records,
    state: str,
    unsent: int,
    uri: str,
    console: Console,
) -> int:
    if unsent:
        console.print(f"{unsent} records wait for MLflow; the same command sends them", highlight=False)
    if state == "FAILED":
        console.print(records.causes[TRIAL], markup=False, highlight=False, soft_wrap=True)
        return 1
    rows = dict(records.references)
    for key, artifact in records.artifacts.items():
        if artifact["stage"] == "autoencoder":
            rows[f"{key} (HR images through it)"] = artifact["metrics"]
    for (_, iteration), metrics in sorted(records.points.items()):
        rows[f"{state.lower()} run at {iteration}"] = metrics
    shown = next(iter(records.references.values())).keys()
    table = Table("weights", *(METRICS[name].label for name in shown), title="on the held-out images")
    for row, metrics in rows.items():
        table.add_row(row, *(f"{metrics[name]:.4f}" if name in metrics else "" for name in shown))
    table.title_justify = "left"
    console.print(table)
    for key, artifact in records.artifacts.items():
        if artifact["stage"] == "critics":
            _print_areas(key, artifact["metrics"], console)
    _name_weights(config, until, output, artifacts, records, console)
    console.print(f"report: python analysis/report.py {output}", highlight=False, soft_wrap=True)
    console.print(f"MLflow: {how_to_open(uri)}", highlight=False, soft_wrap=True)
    return 0


def _name_weights(
    config: RunConfig, until: Stage, output: Path, artifacts: ArtifactFolder, records: Records, console: Console
) -> None:
    """Say where the weights are, and write the perceptual generator's for other tools."""
    if not STAGES[until].yields_points:
        made = artifacts.open(list(records.artifacts)[-1]) / WEIGHTS
        console.print(f"weights: {made}", highlight=False, soft_wrap=True)
        return
    last = max(iteration for _, iteration in records.points)
    point = output / "trials" / f"{TRIAL:04d}" / "points" / f"{last:07d}.safetensors"
    console.print(f"weights: {point}", highlight=False, soft_wrap=True)
    if is_exportable(config):
        exported = export_generator(config, point, output / "generator.pth")
        console.print(f"weights for other tools (BasicSR's names): {exported}", highlight=False, soft_wrap=True)


def _print_areas(key: str, metrics: dict[str, float], console: Console) -> None:
    """Say how well critics tell distorted held-out images from clean ones: area under the ROC curve, 0.5 by chance."""
    levels = ", ".join(f"{value:.3f}" for name, value in metrics.items() if name != "auc")
    text = f"{key}: distorted against clean held-out images, area under the curve {metrics['auc']:.3f}"
    console.print(f"{text} (coarse to fine: {levels})", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run(main)
