"""`--dry-run` and `--pack auto`: measure a few steps on the hardware of the study, without starting it."""

import json
from collections.abc import Sequence
from typing import Any

import ray
import torch
from joblib import cpu_count
from rich.console import Console

from study.cluster.connection import connected
from study.cluster.preflight import check_capacity, slots_of
from study.cluster.study import Resources, Study
from study.config import ConfigError, RunConfig, Stage, from_dict, to_dict
from study.cost.dry_run import DryRun, print_dry_run
from study.cost.forecast import Work, draw_configs, forecast, measure_kinds, works_of
from study.cost.measurement import Cost, measure
from study.cost.packing import jobs_on_a_gpu, share_for
from study.search.repetition import RepeatedRun
from study.search.spaces import SearchSpace
from study.training.context import RunContext
from study.training.context_spec import ContextSpec

MEASURE_SECONDS = 120.0


def dry_run(study: Study, context: RunContext, console: Console) -> None:
    """Print the stages of a study and their cost; write nothing.

    Raises:
        ConnectionError: the cluster cannot be reached.
        ConfigError: the cluster is too small for a job.
    """
    configs = expected_configs(study.space, study.base, study.trials, study.seed, study.repeated())
    works, resources = works_of(configs, context.train, context.artifacts), study.resources
    kinds = len({work.kind for work in works if work.left})
    console.print(f"measuring a few steps of {kinds} kinds of work, for about {MEASURE_SECONDS:g} s", highlight=False)
    if resources.address == "local":
        costs, _ = _measure_here(works, context, resources.cpus_per_trial)
        slots, where = _slots_here(resources), "this machine"
    else:
        with connected(resources.address, dashboard=False):
            check_capacity(resources)
            slots, where = slots_of(resources), f"the cluster at {resources.address}"
            costs, _ = _measure_on_worker(works, study.context_spec, resources, resources.gpus_per_trial)
    shown = DryRun(
        title=f"study {study.output.name}: {study.trials} trials of space {study.space.name} ({study.base.size})",
        stages=forecast(works, costs, context.val),
        measured=len(costs),
        kinds=kinds,
        slots=slots,
        where=where,
        output=study.output,
        plan=study.search,
        notes=study.notes,
    )
    print_dry_run(shown, console)


def packed_share(
    configs: Sequence[RunConfig], context: RunContext, context_spec: ContextSpec, resources: Resources
) -> float:
    """Measure the peak GPU memory of the jobs; return the fraction of a GPU that is safe for each.

    Raises:
        ConfigError: there is no GPU, or it is too small for one job.
    """
    works = works_of(configs, context.train, context.artifacts)
    if resources.address == "local":
        costs, total = _measure_here(works, context, resources.cpus_per_trial)
    else:
        with connected(resources.address, dashboard=False):
            if ray.cluster_resources().get("GPU", 0) < 1:
                raise ConfigError("--pack auto measures GPU memory, but the cluster has no GPU; leave it out")
            costs, total = _measure_on_worker(works, context_spec, resources, gpus=1.0)
    if not total:
        raise ConfigError("--pack auto measures GPU memory, but there is no GPU here; leave it out")
    return share_for(jobs_on_a_gpu(max(cost.peak_bytes for cost in costs.values()), total))


def expected_configs(
    space: SearchSpace, base: RunConfig, trials: int, seed: int, repeated: Sequence[RepeatedRun]
) -> list[RunConfig]:
    """Return the runs that a study repeats, else runs drawn at random."""
    return [run.config for run in repeated] or draw_configs(space, base, trials, seed)


def _slots_here(resources: Resources) -> int:
    slots = cpu_count() // resources.cpus_per_trial
    if resources.gpus_per_trial:
        slots = min(slots, int(torch.cuda.device_count() / resources.gpus_per_trial + 1e-9))
    return max(1, slots)


def _measure_here(works: Sequence[Work], context: RunContext, threads: int) -> tuple[dict[str, Cost], int]:
    """Return the cost of each kind of work, and the GPU's memory in bytes; 0 without a GPU."""
    torch.set_num_threads(threads)
    costs = measure_kinds(works, lambda config, stage: measure(config, stage, context), MEASURE_SECONDS)
    on_gpu = context.device.type == "cuda"
    return costs, torch.cuda.mem_get_info()[1] if on_gpu else 0


def _measure_on_worker(
    works: Sequence[Work], context_spec: ContextSpec, resources: Resources, gpus: float
) -> tuple[dict[str, Cost], int]:
    """Measure in a Ray task with the resources of a job: the driver's node may have no GPU."""
    plain = [(work.stage, to_dict(work.config), work.iterations, work.finished) for work in works]
    task = ray.remote(_measure_task).options(num_cpus=resources.cpus_per_trial, num_gpus=gpus)
    result = task.remote(plain, json.dumps(context_spec.to_dict()), resources.cpus_per_trial)
    costs, total = ray.get(result)
    return {kind: Cost(**values) for kind, values in costs.items()}, total


def _measure_task(
    plain: list[tuple[Stage, dict[str, Any], int, bool]], context_spec: str, threads: int
) -> tuple[dict[str, dict[str, Any]], int]:
    works = [Work(stage, from_dict(config), iterations, finished) for stage, config, iterations, finished in plain]
    costs, total = _measure_here(works, ContextSpec.from_dict(json.loads(context_spec)).open(), threads)
    return {kind: cost.to_dict() for kind, cost in costs.items()}, total
