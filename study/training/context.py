"""The inputs that all stages share: images, metrics, frozen networks, an artifact store, a device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from study.config import Budget, DataConfig, PerceptualNetwork
from study.data import Batches, ImageSet, Pairs, make_pairs
from study.data.degradations import Bicubic, Degradation, degradation_of, is_drawn_anew
from study.metrics.evaluator import Evaluator
from study.training.artifact_store import ArtifactFolder
from study.training.distributed import SINGLE_PROCESS, DistributedContext


@dataclass
class RunContext:
    """What stages need besides their configuration.

    Attributes:
        train, val: the images for training and for evaluation; they have no picture in common.
        artifacts: the artifact store.
        evaluator: the study's metrics.
        backbones: files of the frozen ImageNet networks that were found.
        device: where to train.
        distributed: rank and world size.
        stopping: called every few iterations; once it returns True, a stage saves a checkpoint and raises Stopped.
        custom_losses: source texts, by hash, of the losses that a person named for these runs; no others are executed.
    """

    train: ImageSet
    val: ImageSet
    artifacts: ArtifactFolder
    evaluator: Evaluator
    backbones: Mapping[PerceptualNetwork, Path]
    device: torch.device
    distributed: DistributedContext = SINGLE_PROCESS
    stopping: Callable[[], bool] = lambda: False
    custom_losses: Mapping[str, str] = field(default_factory=dict)
    _pairs: dict[tuple[str, int, Degradation], Pairs] = field(default_factory=dict, repr=False)

    @property
    def image_notes(self) -> tuple[str, ...]:
        """What a reader of results must know of the images."""
        return (*self.train.notes, *self.val.notes)

    def val_pairs(self, data: DataConfig) -> Pairs:
        """Return the held-out images with their low-quality versions, computed once for each degradation."""
        return self._cached(self.val, data.scale, degradation_of(data))

    def batches(self, data: DataConfig, budget: Budget, seed: int) -> Batches:
        """Return a stage's training batches; pairs are computed once unless degraded anew in each step."""
        degradation = degradation_of(data)
        redrawn = degradation if is_drawn_anew(degradation) else None
        pairs = self._cached(self.train, data.scale, degradation if redrawn is None else Bicubic())
        return Batches(pairs, patch=budget.patch, batch=budget.batch, seed=seed, degradation=redrawn)

    def clean_batches(self, scale: int, budget: Budget, seed: int) -> Batches:
        """Return batches of bicubic pairs at a scale, whatever degradation the run itself has."""
        return self.batches(DataConfig(scale=scale), budget, seed)

    def _cached(self, images: ImageSet, scale: int, degradation: Degradation) -> Pairs:
        name = (images.fingerprint, scale, degradation)
        if name not in self._pairs:
            self._pairs[name] = make_pairs(images, scale, degradation)
        return self._pairs[name]
