"""One run: a recipe, with the stages it starts from. Called again, it goes on where it stopped.

python study/train.py aesop --size tiny --output runs/one
"""

import argparse
import sys
from pathlib import Path

# Started as a script from a checkout that is not installed: Python looks in study/, but the packages are one up.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console
from rich.table import Table

from study.cluster.journal import Journal
from study.cluster.progress import StageProgress
from study.cluster.records import Records
from study.cluster.run_directory import Facts, check_output, sole_driver, write_facts
from study.cluster.tracking import Tracker, default_uri, public_uri
from study.command_line import add_common_options, artifacts_of, run, with_options
from study.config import RunConfig, Stage, to_dict
from study.metrics import METRICS
from study.recipes import RECIPES, get_recipe
from study.training.loop import Diverged
from study.training.setting import (
    JUDGE_NETWORK,
    Setting,
    check_initial_weights,
    find_networks,
    judge_note,
    require_networks,
)
from study.training.stages import (
    Need,
    OnTick,
    Point,
    Workshop,
    artifact_key,
    judge_bicubic,
    make_artifact,
    needs_of,
    train_adversarial,
    upstream,
)

# A single run has no front to measure; its report still needs a corner to draw from.
REFERENCE = {"psnr_y": 20.0, "lpips": 0.8, "swd": 60.0}
TRIAL = 0


def main(arguments: list[str], console: Console) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    config = with_options(get_recipe(options.recipe, options.size or "full"), options)
    check_output(options.output, resume=True)
    setting = _setting(config, options)
    note = judge_note(setting.judge)
    console.print(f"[bold]note:[/] {note}", highlight=False)
    workshop = setting.open()
    uri = options.mlflow or default_uri(options.output)
    with sole_driver(options.output):
        write_facts(options.output, _facts(config, options, note), workshop)
        records = Records(Journal(options.output / "journal.jsonl"))
        records.study("RUNNING")
        tracker = Tracker(options.output, uri)
        tracker.start()
        try:
            state = _run(config, workshop, options.output, records, console)
            records.study("COMPLETE" if state == "COMPLETE" else "INTERRUPTED")
        finally:
            unsent = tracker.close()
    return _conclude(options.output, records, state, unsent, uri, console)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="study/train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", metavar="RECIPE", help=f"one of: {', '.join(RECIPES)}")
    add_common_options(parser)
    return parser.parse_args(arguments)


def _setting(config: RunConfig, options: argparse.Namespace) -> Setting:
    needed = [config.loss.perceptual_network] if config.loss.perceptual > 0 else []
    networks = find_networks([*needed, JUDGE_NETWORK], options.weights)
    require_networks(config, networks)
    check_initial_weights([config])
    return Setting(
        data=config.data,
        largest_patch=config.largest_patch,
        artifacts=artifacts_of(options),
        backbones=networks,
        judge=networks.get(JUDGE_NETWORK),
    )


def _facts(config: RunConfig, options: argparse.Namespace, note: str) -> Facts:
    return Facts(
        name=options.output.resolve().name,
        space="single run",
        space_fingerprint="",
        base=config,
        trials=1,
        seed=config.seed,
        reference=REFERENCE,
        groups=("recipe",),
        notes=(note,),
    )


def _run(config: RunConfig, workshop: Workshop, output: Path, records: Records, console: Console) -> str:
    """Train what is not trained yet; returns the run's state."""
    bicubic = judge_bicubic(config.data, workshop, output / "references")
    facts = {"metrics": bicubic.metrics, "images": bicubic.images, "samples": "references/bicubic"}
    records.reference("bicubic", kind="bicubic", **facts)

    def key_of(config: RunConfig, stage: Stage) -> str:
        return artifact_key(config, stage, workshop.train)

    starts_from = {str(stage): key_of(needed, stage) for needed, stage in upstream(config, "adversarial")}
    records.trial(TRIAL, to_dict(config), {}, starts_from)
    try:
        with StageProgress(console) as progress:
            for need in needs_of(config, "adversarial", key_of):
                _upstream_stage(need, config, workshop, output, records, progress.tick)
            directory = output / "trials" / f"{TRIAL:04d}"
            train_adversarial(config, workshop, directory, lambda point: _record(records, point), progress.tick)
    except Diverged as error:
        records.end(TRIAL, "FAILED", cause=f"diverged: {error}")
        return "FAILED"
    records.end(TRIAL, "COMPLETE")
    return "COMPLETE"


def _upstream_stage(
    need: Need, config: RunConfig, workshop: Workshop, output: Path, records: Records, tick: OnTick
) -> None:
    facts = make_artifact(need.config, need.stage, workshop, output, tick)
    records.artifact_made(need, facts, reference_scale=config.data.scale)


def _record(records: Records, point: Point) -> None:
    samples = f"trials/{TRIAL:04d}/points/{point.iteration:07d}"
    records.point(TRIAL, {"samples": samples, **point.to_dict()})


def _conclude(output: Path, records: Records, state: str, unsent: int, uri: str, console: Console) -> int:
    if unsent:
        console.print(f"{unsent} records wait for MLflow; the same command sends them", highlight=False)
    if state == "FAILED":
        console.print(records.causes[TRIAL], markup=False, highlight=False, soft_wrap=True)
        return 1
    table = Table("weights", *_metric_names(records), title="on the held-out images", title_justify="left")
    for name, metrics in records.references.items():
        table.add_row(name, *_format(metrics))
    for (_, iteration), metrics in sorted(records.points.items()):
        table.add_row(f"{state.lower()} run at {iteration}", *_format(metrics))
    console.print(table)
    last = max(iteration for _, iteration in records.points)
    console.print(f"weights: {output / 'trials' / '0000' / 'points' / f'{last:07d}.safetensors'}", soft_wrap=True)
    console.print(f"report: python analysis/report.py {output}", highlight=False, soft_wrap=True)
    console.print(f"MLflow: mlflow ui --backend-store-uri {public_uri(uri)}", highlight=False, soft_wrap=True)
    return 0


def _metric_names(records: Records) -> list[str]:
    return [METRICS[name].label for name in records.references["bicubic"]]


def _format(metrics: dict[str, float]) -> list[str]:
    return [f"{value:.4f}" for value in metrics.values()]


if __name__ == "__main__":
    run(main)
