"""What every stage works with: images, metrics, frozen networks, a place for artifacts, a device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from study.config import Budget, DataConfig, PerceptualNetwork
from study.data import Batches, ImageSet, Pairs, make_pairs
from study.data.degradations import Bicubic, Degradation, degradation_of, is_drawn_anew
from study.metrics.evaluator import Evaluator
from study.training.artifact_store import ArtifactFolder
from study.training.distributed import ALONE, DistributedContext
from study.training.loop import Progress

ProgressCallback = Callable[[Progress], None]


@dataclass
class RunContext:
    """What stages need besides their configuration.

    Attributes:
        train, val: the images to train on and to evaluate on; they share no picture.
        artifacts: finished artifacts, and those that grow.
        evaluator: the study's metrics.
        backbones: files of the frozen ImageNet networks that are at hand.
        device: where to train.
        distributed: the processes that train together.
        stopping: asked by stages, often, whether to save what they have and stop.
        custom_losses: the texts of the losses that a person named for these runs, by hash: no other is ever run.
    """

    train: ImageSet
    val: ImageSet
    artifacts: ArtifactFolder
    evaluator: Evaluator
    backbones: Mapping[PerceptualNetwork, Path]
    device: torch.device
    distributed: DistributedContext = ALONE
    stopping: Callable[[], bool] = lambda: False
    custom_losses: Mapping[str, str] = field(default_factory=dict)
    _pairs: dict[tuple[str, int, Degradation], Pairs] = field(default_factory=dict, repr=False)

    def val_pairs(self, data: DataConfig) -> Pairs:
        """The held-out images with their low-quality versions, made once, as a run has it."""
        return self._cached(self.val, data.scale, degradation_of(data))

    def batches(self, data: DataConfig, budget: Budget, seed: int) -> Batches:
        """The training batches of a stage, of pairs that are made once where nothing in them is drawn anew."""
        degradation = degradation_of(data)
        anew = degradation if is_drawn_anew(degradation) else None
        pairs = self._cached(self.train, data.scale, degradation if anew is None else Bicubic())
        return Batches(pairs, patch=budget.patch, batch=budget.batch, seed=seed, degradation=anew)

    def clean_batches(self, scale: int, budget: Budget, seed: int) -> Batches:
        """Batches of bicubic pairs at a scale, whatever the run's own images go through."""
        return self.batches(DataConfig(scale=scale), budget, seed)

    def _cached(self, images: ImageSet, scale: int, degradation: Degradation) -> Pairs:
        name = (images.fingerprint, scale, degradation)
        if name not in self._pairs:
            self._pairs[name] = make_pairs(images, scale, degradation)
        return self._pairs[name]
