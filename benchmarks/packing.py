"""How many trials an hour does one GPU train? Several at once against one at a time, with their memory together.

python -m benchmarks.packing --recipe aesop --size full --jobs 4              (on a GPU; minutes)
python -m benchmarks.packing --size tiny --jobs 2 --seconds 5                 (a try on a CPU)

Each job is a process like a study's worker. It trains the recipe's adversarial stage on random patches, from random
weights, for a fixed time. All steps together, over the iterations of a trial, give trials an hour; a warm-up is not
counted. `--jobs auto` runs as many as `--pack auto` would choose. Neither Ray nor data is needed. `ratio` is several
over one.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from joblib import cpu_count
from torch import multiprocessing

from study.config import RunConfig, replace
from study.config.recipes import RECIPES, get_recipe
from study.cost.measurement import give_random_upstream, measure
from study.data import ImageSet
from study.data.feed import feed
from study.metrics.evaluator import study_evaluator
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.loop import pick_device
from study.training.stages.adversarial import prepare_adversarial
from study.training.state import set_learning_rate, update_ema

WARM_UP = 3  # steps that are not counted


def main() -> None:
    """Measure one job alone and several together, print both and one JSON line."""
    options = _parse()
    config = replace(get_recipe(options.recipe, options.size), {"loss.perceptual": 0.0})
    jobs = _fitting(config) if options.jobs == "auto" else int(options.jobs)
    found = {number: _together(config, number, options.seconds) for number in (1, jobs)}
    for number, figures in found.items():
        print(
            f"{number} at once: {figures['trials_an_hour']:.4f} trials/h, {figures['steps_a_second']:.2f} steps/s, "
            f"{figures['peak_gib']:.2f} GiB a job at most, {figures['all_gib']:.2f} GiB in all"
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {cpu_count()} cores"
    summary = {
        "benchmark": "packing",
        "recipe": options.recipe,
        "size": options.size,
        "device": device,
        "jobs": jobs,
        "ratio": round(found[jobs]["trials_an_hour"] / found[1]["trials_an_hour"], 3),
        "alone": found[1],
        "packed": found[jobs],
    }
    print(json.dumps(summary))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipe", choices=list(RECIPES), default="aesop")
    parser.add_argument("--size", choices=["full", "small", "tiny"], default="full")
    parser.add_argument("--jobs", default="4", metavar="N", help="parallel jobs, or auto (default: 4)")
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="of measuring one, and several (default: 60)"
    )
    return parser.parse_args()


def _context(folder: Path) -> RunContext:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    images = ImageSet.loaded("noise", ("noise",), (noise,))
    device = pick_device()
    return RunContext(images, images, ArtifactFolder(folder), study_evaluator(None, device), {}, device)


def _fitting(config: RunConfig) -> int:
    from study.cost.dry_run import jobs_on_a_gpu  # late: it needs Ray

    with TemporaryDirectory() as folder:
        peak = measure(config, "adversarial", _context(Path(folder))).peak_bytes
    return jobs_on_a_gpu(peak, torch.cuda.mem_get_info()[1])


def _together(config: RunConfig, jobs: int, seconds: float) -> dict[str, Any]:
    """Return what parallel jobs do in a time that begins after the warm-up of all."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(jobs + 1), context.Queue()
    workers = [context.Process(target=_job, args=(config, seconds, ready, results)) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    ready.wait()
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    total = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else 0
    done = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    rate = sum(steps / taken for steps, taken, _ in done)
    return {
        "steps_a_second": round(rate, 3),
        "trials_an_hour": round(3600 * rate / config.budget.iterations, 5),
        "peak_gib": round(max(peak for _, _, peak in done) / 2**30, 3),
        "all_gib": round((total - free) / 2**30, 3),
    }


def _job(config: RunConfig, seconds: float, ready: Any, results: Any) -> None:
    torch.set_num_threads(max(1, cpu_count() // 4))
    with TemporaryDirectory() as folder:
        context = _context(Path(folder))
        give_random_upstream(config, "adversarial", context)
        state, step, batches = prepare_adversarial(config, context)
        set_learning_rate(state, 0.0)  # random weights might diverge; the work is the same
        on_gpu = context.device.type == "cuda"
        steps, began = 0, 0.0
        with feed(batches, range(10**9), context.device) as incoming:
            for number, (lq, hr) in enumerate(incoming):
                if number == WARM_UP:
                    ready.wait()
                    began = time.perf_counter()
                if number >= WARM_UP and time.perf_counter() - began > seconds:
                    break
                step(state, *(images.contiguous(memory_format=torch.channels_last) for images in (lq, hr)))
                update_ema(state, config.optimiser.ema_decay)
                if on_gpu:
                    torch.cuda.synchronize()
                steps += number >= WARM_UP
        taken = time.perf_counter() - began
        results.put((steps, taken, torch.cuda.max_memory_reserved() if on_gpu else 0))


if __name__ == "__main__":
    main()
