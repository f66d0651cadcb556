"""What every stage works with: images, metrics, frozen networks, a place for artifacts, a device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from study.config import Budget, DataConfig, DegradationName, PerceptualNetwork
from study.data import Batches, ImageSet, Pairs, make_pairs
from study.data.degradations import drawn_anew
from study.metrics.judge import Judge
from study.training.loop import Tick

OnTick = Callable[[Tick], None]


@dataclass
class Workshop:
    """What stages need besides their configuration.

    Attributes:
        train, test: the images to train on and to judge by; they share no picture.
        artifacts: the folder of finished artifacts.
        judge: the study's metrics.
        backbones: files of the frozen ImageNet networks that are at hand.
        device: where to train.
    """

    train: ImageSet
    test: ImageSet
    artifacts: Path
    judge: Judge
    backbones: Mapping[PerceptualNetwork, Path]
    device: torch.device
    _pairs: dict[tuple[str, int, str], Pairs] = field(default_factory=dict, repr=False)

    def train_pairs(self, scale: int) -> Pairs:
        """The training images with their bicubic LR at a scale, made once."""
        return self._cached(self.train, scale, "bicubic")

    def test_pairs(self, data: DataConfig) -> Pairs:
        """The held-out images with their LR, made once, as a run has it: at its scale, by its degradation."""
        return self._cached(self.test, data.scale, data.degradation)

    def _cached(self, images: ImageSet, scale: int, degradation: DegradationName) -> Pairs:
        name = (images.fingerprint, scale, degradation)
        if name not in self._pairs:
            self._pairs[name] = make_pairs(images, scale, drawn_anew(degradation))
        return self._pairs[name]

    def batches(self, scale: int, budget: Budget, seed: int, degradation: DegradationName = "bicubic") -> Batches:
        """The training batches of a stage."""
        return Batches(
            self.train_pairs(scale),
            patch=budget.patch,
            batch=budget.batch,
            seed=seed,
            degradation=drawn_anew(degradation),
        )
