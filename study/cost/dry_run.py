"""`--dry-run`: what a study would train, and what that would cost, before anything is spent; and `--pack auto`."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from rich.console import Console
from rich.table import Table

from study.cluster.connection import connected
from study.cluster.driver import Study, check_room, repeated_runs, slots_of
from study.cluster.progress import duration
from study.config import ConfigError, Stage, from_dict, to_dict
from study.cost.forecast import StageForecast, Work, draw_configs, forecast, measure_kinds, works_of
from study.cost.measurement import Cost, measure
from study.search.plan import SearchPlan
from study.training.context import RunContext
from study.training.context_spec import ContextSpec

MEASURE_SECONDS = 120.0
CONTEXT_BYTES = 700 * 2**20
"""What a process takes of a GPU beside PyTorch's memory: CUDA's context and libraries' kernels."""
SAFE_SHARE = 0.9
"""How much of a GPU's memory is given out: the allocator's needs vary a little from step to step."""


def dry_run(study: Study, context: RunContext, console: Console) -> None:
    """Print what a study would do and cost, and create nothing.

    Args:
        study: as for `driver.run_study`.
        context: the opened context.
        console: to print on.

    Raises:
        ConnectionError, ConfigError: the cluster cannot be reached, or has no room for a job.
    """
    works = _works(study, context)
    kinds = len({work.kind for work in works if work.left})
    console.print(
        f"measuring a few steps of {kinds} kinds of work, for {MEASURE_SECONDS:g} s or a little more", highlight=False
    )
    if study.address == "local":
        costs, _ = _measure_here(works, context, study.cpus_per_trial)
        slots, where = _slots_here(study), "this machine"
    else:
        with connected(study.address, dashboard=False):
            check_room(study)
            slots, where = slots_of(study), f"the cluster at {study.address}"
            costs, _ = _measured_on_a_worker(study, works)
    stages = forecast(works, costs, context.val)
    _print(study, stages, len(costs), kinds, slots, where, console)


def packed(study: Study, context: RunContext) -> float:
    """Measure how much of a GPU a job of the study needs, at most, and return the share of one that is safe.

    Raises:
        ConfigError: there is no GPU, or one is too small for a single job.
    """
    works = _works(study, context)
    if study.address == "local":
        costs, total = _measure_here(works, context, study.cpus_per_trial)
    else:
        with connected(study.address, dashboard=False):
            if ray.cluster_resources().get("GPU", 0) < 1:
                raise ConfigError("--pack auto measures GPU memory, but the cluster has no GPU; leave it out")
            costs, total = _measured_on_a_worker(study, works, gpus=1.0)
    if not total:
        raise ConfigError("--pack auto measures GPU memory, but there is no GPU here; leave it out")
    return share_for(jobs_on_a_gpu(max(cost.peak_bytes for cost in costs.values()), total))


def share_for(jobs: int) -> float:
    """The part of a GPU for each of some jobs, in the ten-thousandths that Ray counts in (it refuses finer ones)."""
    return math.floor(10_000 / jobs) / 10_000


def jobs_on_a_gpu(peak_bytes: int, total_bytes: int) -> int:
    """How many jobs of a memory need fit one GPU, safely.

    Raises:
        ConfigError: not even one.
    """
    jobs = int(SAFE_SHARE * total_bytes / (peak_bytes + CONTEXT_BYTES))
    if jobs == 0 and peak_bytes + CONTEXT_BYTES > total_bytes:
        raise ConfigError(
            f"a job needs {_size(peak_bytes + CONTEXT_BYTES)}, but the GPU has {_size(total_bytes)}; "
            "take a smaller budget.batch or budget.patch"
        )
    return max(1, jobs)


def _works(study: Study, context: RunContext) -> list[Work]:
    repeated = [run.config for run in repeated_runs(study)]
    configs = repeated or draw_configs(study.space, study.base, study.trials, study.seed)
    return works_of(configs, context.train, context.artifacts)


def _slots_here(study: Study) -> int:
    slots = (os.cpu_count() or 1) // study.cpus_per_trial
    if study.gpus_per_trial:
        slots = min(slots, int(torch.cuda.device_count() / study.gpus_per_trial + 1e-9))
    return max(1, slots)


def _measure_here(works: Sequence[Work], context: RunContext, threads: int) -> tuple[dict[str, Cost], int]:
    """What a work of each kind costs, and how much memory the GPU has; 0 where there is none."""
    torch.set_num_threads(threads)
    costs = measure_kinds(works, lambda config, stage: measure(config, stage, context), MEASURE_SECONDS)
    on_gpu = context.device.type == "cuda"
    return costs, torch.cuda.mem_get_info()[1] if on_gpu else 0


def _measured_on_a_worker(
    study: Study, works: Sequence[Work], gpus: float | None = None
) -> tuple[dict[str, Cost], int]:
    """As `_measure_here`, in a process like those that will train: the driver's node may have no GPU."""
    plain = [(work.stage, to_dict(work.config), work.iterations, work.there) for work in works]
    task = ray.remote(_measure_there).options(
        num_cpus=study.cpus_per_trial, num_gpus=study.gpus_per_trial if gpus is None else gpus
    )
    costs, total = ray.get(task.remote(plain, json.dumps(study.context_spec.to_dict()), study.cpus_per_trial))
    return {kind: Cost(**values) for kind, values in costs.items()}, total


def _measure_there(
    plain: list[tuple[Stage, dict[str, Any], int, bool]], context_spec: str, threads: int
) -> tuple[dict[str, dict[str, Any]], int]:
    works = [Work(stage, from_dict(config), iterations, there) for stage, config, iterations, there in plain]
    costs, total = _measure_here(works, ContextSpec.from_dict(json.loads(context_spec)).open(), threads)
    return {kind: cost.to_dict() for kind, cost in costs.items()}, total


def _print(
    study: Study, stages: Sequence[StageForecast], measured: int, kinds: int, slots: int, where: str, console: Console
) -> None:
    table = Table("stage", "jobs", "there already", "steps left", "device-hours", title_justify="left")
    table.title = f"study {study.output.name}: {study.trials} trials of space {study.space.name} ({study.base.size})"
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in stages:
        hours = f"{stage.device_seconds / 3600:.2f}"
        table.add_row(stage.stage, str(stage.works), str(stage.there), f"{stage.iterations:,}", hours)
    total = sum(stage.device_seconds for stage in stages)
    evaluation = sum(stage.evaluation_seconds for stage in stages)
    table.add_section()
    table.add_row("together", "", "", "", f"{total / 3600:.2f}")
    console.print(table)
    stored = sum(stage.stored_bytes for stage in stages)
    running = slots * max(stage.checkpoint_bytes for stage in stages)
    peak = max(stage.peak_bytes for stage in stages)
    lines = [
        f"of it {evaluation / 3600:.2f} device-hours for evaluation points on {where}; "
        f"{measured} of {kinds} kinds of work were measured",
        f"about {duration(total / slots)} with the {slots} jobs at once that {where} has room for, if all are busy",
        f"storage: {_size(stored)} of weights, {_size(running)} of checkpoints while it runs; "
        f"{_size(_free(study.output))} are free at --output",
        *([f"GPU memory: at most {_size(peak)} a job; --pack auto would use it"] if peak else []),
        *_guessed(study.search),
        *_not_counted(study),
        *(f"note: {note}" for note in study.notes),
        "missing: nothing; without --dry-run, the same command starts it",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _guessed(plan: SearchPlan) -> list[str]:
    """What is not known before the search; of runs that are repeated, all is."""
    if plan.repeat is not None:
        return []
    return ["the artifacts of later trials depend on what the sampler learns: their number is that of draws at random"]


def _not_counted(study: Study) -> list[str]:
    plan = study.search
    left_out = ["what early stopping saves"] if plan.rungs is not None else []
    left_out += ["what interpolations of the front cost"] if plan.interpolations else []
    limits = ["--device-hours or --plateau may end it earlier"] if plan.device_hours or plan.plateau else []
    return [*([f"not counted: {' and '.join(left_out)}"] if left_out else []), *limits]


def _free(output: Path) -> int:
    there = next(path for path in (output.resolve(), *output.resolve().parents) if path.exists())
    return shutil.disk_usage(there).free


def _size(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
