"""What does a study cost on a machine that is not available, and how well does the model predict a finished study?

python -m benchmarks.study_costs operations --size full
python -m benchmarks.study_costs study --recipes aesop ldl esrgan --trials 192 --slots 64 --tflops 50 200 400
python -m benchmarks.study_costs check RUN_DIR --gflops 60 --call-us 8 --slots 2

`operations` counts a step of each stage of each recipe, by part. `study` schedules a study's jobs on devices: shared
upstream stages once each, trials that alternate between recipes at equal budget, evaluation, starts, deaths, idle
devices at the end. `check` does the same for the configurations of a finished study and compares with its journal.
Nothing is trained and no GPU is needed; seconds to minutes. A step's time is calls * call + operations / rate
(`benchmarks/scaling.py`).
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cost_model import Conditions, Machine, Timetable, modelled_costs, timetable
from benchmarks.operations import Operations, count_image, count_step, counting_context
from study.config import DataConfig, LargestPatch, RunConfig, Stage, from_dict, replace
from study.config.recipes import RECIPES, as_method, get_recipe
from study.cost.forecast import StageForecast, Work, forecast, prices, works_of
from study.data import ImageSet, load_source
from study.record.entries import Entry
from study.record.events import PairEnded, TrialEnded, TrialStarted
from study.record.journal import read_entries
from study.record.metadata import StudyMetadata, read_metadata
from study.record.state import StudyRecord
from study.training.artifact_store import ArtifactFolder

HOUR = 3600
STAGES: tuple[Stage, ...] = ("fidelity", "autoencoder", "adversarial")
IMAGE_SETS = {"div2k100": (100, 1356, 2040), "set14": (14, 492, 446)}  # number of images, mean height and width


def main() -> None:
    """Run the subcommand, print tables and one JSON line."""
    options = _parse()
    with tempfile.TemporaryDirectory() as folder:
        counts = _Counts(Path(folder))
        found = {"operations": _operations, "study": _study, "check": _check}[options.command](options, counts)
    print(json.dumps({"benchmark": f"study_costs {options.command}", **found}))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(dest="command", required=True)
    operations = kinds.add_parser("operations", help="count a step of each stage, by part")
    study = kinds.add_parser("study", help="schedule a study on devices")
    check = kinds.add_parser("check", help="compare with a finished study")
    for part in (operations, study):
        part.add_argument("--size", choices=["full", "small", "tiny"], default="full")
        part.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=["aesop", "ldl", "esrgan"])
    study.add_argument("--trials", type=int, default=192)
    study.add_argument(
        "--tflops", type=float, nargs="+", default=[50, 200, 400], help="achieved in training (default: 50 200 400)"
    )
    study.add_argument("--val", choices=list(IMAGE_SETS), default="div2k100", help="held-out images")
    study.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="of the first recipe, as JSON")
    check.add_argument("run_dir", type=Path)
    check.add_argument("--gflops", type=float, required=True, help="achieved in training by one job of --slots")
    for part in (study, check):
        part.add_argument("--slots", type=int, default=64 if part is study else 2, help="devices, or parallel jobs")
        part.add_argument("--call-us", type=float, default=0.0, help="microseconds of an operator call")
        part.add_argument("--metric-seconds", type=float, default=0.0, help="metrics of an HR megapixel")
        part.add_argument("--start-seconds", type=float, default=0.0, help="start of a worker, once a device")
        part.add_argument("--pretrain-workers", type=int, default=1, help="devices of an upstream stage")
        part.add_argument("--deaths-a-day", type=float, default=0.0, help="of a device's process")
    return parser.parse_args()


class _Counts:
    """Counted steps and images, cached."""

    def __init__(self, folder: Path) -> None:
        self._context = counting_context(folder)
        self._steps: dict[str, Operations] = {}
        self.of_image = cache(count_image)

    def of_step(self, config: RunConfig, stage: Stage) -> Operations:
        kind = Work(stage, config, 1).kind
        if kind not in self._steps:
            print(f"counting a step of {stage}, {config.recipe}", file=sys.stderr, flush=True)
            self._steps[kind] = count_step(config, stage, self._context)
        return self._steps[kind]


def _operations(options: argparse.Namespace, counts: _Counts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in options.recipes:
        config = get_recipe(name, options.size)
        for stage in (stage for stage in STAGES if stage in config.stages):
            found[f"{name} {stage}"] = _print_step(name, stage, counts.of_step(config, stage))
    return {"size": options.size, "gflop": found}


def _print_step(name: str, stage: Stage, counted: Operations) -> dict[str, float]:
    print(f"\n{name}, {stage}: {counted.total / 1e9:,.1f} GFLOP a step in {counted.calls:,} calls")
    for part, operations in counted.parts.items():
        print(f"  {part:40} {operations / 1e9:12,.1f} {operations / counted.total:6.1%}")
    return {part: round(operations / 1e9, 4) for part, operations in counted.parts.items()}


def _study(options: argparse.Namespace, counts: _Counts) -> dict[str, Any]:
    changes = {path: json.loads(value) for path, _, value in (text.partition("=") for text in options.set)}
    base = replace(get_recipe(options.recipes[0], options.size), changes)
    methods = [base, *(replace(base, as_method(base, name)) for name in options.recipes[1:])]
    configs = [methods[number % len(methods)] for number in range(options.trials)]
    val = _same_images(*IMAGE_SETS[options.val])
    with tempfile.TemporaryDirectory() as nowhere:
        works = works_of(configs, val, ArtifactFolder(Path(nowhere)))
    found = {}
    for tflops in options.tflops:
        stages, table = _schedule(works, _machine(options, 1e12 * tflops), val, options, counts)
        print(f"\n{options.trials} trials of {', '.join(options.recipes)} at {tflops:g} TFLOP/s a device")
        found[f"{tflops:g}"] = _print_study(stages, table, options.slots)
    return {"size": options.size, "trials": options.trials, "slots": options.slots, "by_tflops": found}


def _machine(options: argparse.Namespace, rate: float) -> Machine:
    return Machine(rate, options.call_us / 1e6, options.metric_seconds)


def _schedule(
    works: Sequence[Work], machine: Machine, val: ImageSet, options: argparse.Namespace, counts: _Counts
) -> tuple[list[StageForecast], Timetable]:
    costs = modelled_costs(works, machine, val, counts.of_step, counts.of_image)
    conditions = Conditions(
        options.slots,
        start_seconds=options.start_seconds,
        workers={"fidelity": options.pretrain_workers, "autoencoder": options.pretrain_workers},
        deaths_an_hour=options.deaths_a_day / 24,
    )
    return forecast(works, costs, val), timetable(works, prices(works, costs, val), conditions)


def _print_study(stages: Sequence[StageForecast], table: Timetable, slots: int) -> dict[str, float]:
    for stage in stages:
        print(
            f"  {stage.stage:12} {stage.works:4} jobs {stage.iterations:13,} steps "
            f"{stage.device_seconds / HOUR:12,.1f} device-hours, "
            f"of them {stage.evaluation_seconds / HOUR:,.1f} for evaluation"
        )
    held = table.seconds * slots
    found = {
        "device_hours": round(table.busy_seconds / HOUR, 1),
        "days": round(table.seconds / HOUR / 24, 2),
        "first_trial_day": round(table.first_trial_at / HOUR / 24, 2),
        "idle": round(1 - table.busy_seconds / held, 3),
    }
    print(
        f"  together {found['device_hours']:,} device-hours; {found['days']} days on {slots} devices, the first "
        f"{found['first_trial_day']} of them before any trial begins; {found['idle']:.0%} of their time idle"
    )
    return found


def _check(options: argparse.Namespace, counts: _Counts) -> dict[str, Any]:
    entries = [entry for entry, _ in read_entries(options.run_dir / "journal.jsonl")]
    record = StudyRecord.of(entries)
    configs = [from_dict(dict(trial.config)) for trial in record.trials.values()]
    val = _photographs(read_metadata(options.run_dir))
    with tempfile.TemporaryDirectory() as nowhere:
        works = works_of(configs, val, ArtifactFolder(Path(nowhere)))
    machine = _machine(options, 1e9 * options.gflops)
    stages, table = _schedule(works, machine, val, options, counts)
    spent = _spent(record)
    print(f"{'device-seconds of steps':30} {'spent':>9} {'predicted':>9} {'off':>6}")
    predicted = {stage.stage: stage.device_seconds - stage.evaluation_seconds for stage in stages}
    for stage, seconds in predicted.items():
        print(f"{stage:30} {spent[stage]:9.1f} {seconds:9.1f} {seconds / spent[stage] - 1:+6.0%}")
    wall = _wall_clock(entries)
    measured = sum(event.spent.device_seconds for event in record.interpolations.values()) / options.slots
    predicted_wall = table.seconds + measured
    print(f"{'wall-clock, first to last job':30} {wall:9.1f} {predicted_wall:9.1f} (interpolations as measured)")
    return {"spent": spent, "predicted": predicted, "wall": wall, "predicted_wall": predicted_wall}


def _spent(record: StudyRecord) -> dict[str, float]:
    """Return device-seconds of steps by stage; a trial's are its last point's."""
    spent = dict.fromkeys(STAGES, 0.0)
    for artifact in record.artifacts:
        spent[artifact.stage] += artifact.spent.device_seconds
    last = {point.trial: event.spent.device_seconds for point, event in record.points.items()}
    spent["adversarial"] = sum(last.values())
    return {stage: round(seconds, 2) for stage, seconds in spent.items()}


def _wall_clock(entries: Sequence[Entry]) -> float:
    """Return the seconds from the first trial drawn to the end of the last job."""
    begun = min(entry.time for entry in entries if isinstance(entry.event, TrialStarted))
    return max(entry.time for entry in entries if isinstance(entry.event, TrialEnded | PairEnded)) - begun


def _photographs(metadata: StudyMetadata) -> ImageSet:
    """Return the study's held-out images, which must be the built-in photographs."""
    _, images = load_source(DataConfig(scale=metadata.config["data"]["scale"]), LargestPatch(1, ""))
    held_out = metadata.images["val"]
    if held_out.fingerprint != images.fingerprint:
        raise SystemExit(f"check needs a study of the built-in photographs, but this one has {held_out.name}")
    return images


def _same_images(number: int, height: int, width: int) -> ImageSet:
    blank = np.zeros((height, width, 3), np.uint8)
    return ImageSet.loaded("blank", tuple(f"image{index}" for index in range(number)), (blank,) * number)


if __name__ == "__main__":
    main()
