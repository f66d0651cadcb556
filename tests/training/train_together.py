"""Run by test_distributed.py: the same runs in one process and in two, forked after the slow imports."""

import json
import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from study.config import RunConfig, from_dict
from study.data import ImageSet
from study.losses.adversarial import relativistic_discriminator_loss, relativistic_generator_loss
from study.metrics.evaluator import study_evaluator
from study.record.paths import TrialDirectory
from study.training.artifact_store import ArtifactFolder
from study.training.context import RunContext
from study.training.distributed import SINGLE_PROCESS, DistributedContext
from study.training.loop import Progress
from study.training.stages.adversarial import train_adversarial
from study.training.stages.artifacts import ensure_artifact
from study.training.stages.graph import artifact_key, needs_of

CPU = torch.device("cpu")


def main() -> None:
    """Fork the processes; prints their exit codes."""
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])  # the first one of a process imports half of torch
    configs = [from_dict(config) for config in json.loads(sys.argv[1])]
    children = [_fork(rank, size, configs, Path(sys.argv[2])) for rank, size in ((0, 1), (0, 2), (1, 2))]
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])


def _fork(rank: int, size: int, configs: list[RunConfig], folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        _member(rank, size, configs, folder)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def _member(rank: int, size: int, configs: list[RunConfig], folder: Path) -> None:
    distributed = SINGLE_PROCESS
    if size > 1:
        store = dist.FileStore(str(folder / "store"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=120))
        distributed = DistributedContext.of_process_group()
    for number, config in enumerate(configs):
        place = folder / f"{number}-{size}"
        place.mkdir(exist_ok=True)
        found = _trained(config, distributed, place) | {"relativistic": _relativistic(distributed)}
        (place / f"rank{rank}.json").write_text(json.dumps(found))


def _trained(config: RunConfig, distributed: DistributedContext, place: Path) -> dict[str, Any]:
    """Run all stages: the terms of each step, and the points that were reported."""
    terms: list[Any] = []
    points: list[int] = []
    images = _images()
    context = RunContext(
        images, images, ArtifactFolder(place / "artifacts"), study_evaluator(None, CPU), {}, CPU, distributed
    )

    def on_progress(progress: Progress) -> None:
        terms.append([progress.stage, progress.iteration, progress.terms])

    for need in needs_of(config, "adversarial", lambda run, stage: artifact_key(run, stage, images)):
        ensure_artifact(need.config, need.stage, context, on_progress)
    directory = TrialDirectory(place, 0)
    train_adversarial(config, context, directory, lambda event: points.append(event.point.iteration), on_progress)
    return {"terms": terms, "points": points}


def _images() -> ImageSet:
    """As unlike each other as can be, so that the two halves of a batch are, too."""
    random = np.random.default_rng(0)
    levels = ((0, 20), (0, 256), (236, 256))
    return ImageSet.loaded(
        "noise", ("dark", "grey", "light"), tuple(random.integers(*span, (60, 60, 3), np.uint8) for span in levels)
    )


def _relativistic(distributed: DistributedContext) -> list[Any]:
    """The generator's and both discriminators' losses of logits, and their gradients."""
    values = torch.randn(2, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0))[
        :, distributed.rank :: distributed.size
    ]
    real, fake = (logits.clone().requires_grad_() for logits in values)
    found = []
    for loss in (
        relativistic_generator_loss(real, fake, mean=distributed.mean),
        relativistic_discriminator_loss(real, fake, mean=distributed.mean),
        relativistic_discriminator_loss(real, fake, joint=True, mean=distributed.mean),
    ):
        gradients = torch.autograd.grad(loss.mean() / distributed.size, (real, fake))
        found.append([loss.tolist(), *(gradient.flatten(1).tolist() for gradient in gradients)])
    return found


if __name__ == "__main__":
    main()
