"""The stages: each trains one thing and leaves it, whole, in one directory.

`fidelity` and `autoencoder` yield artifacts, named by the hash of all that determines them and shared by every trial
and study beside the same artifact store. `adversarial` is a trial's own last stage and yields points.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from study.config import (
    Budget,
    PerceptualNetwork,
    RunConfig,
    Stage,
    decoder_as_run,
    stage_key,
    stage_part,
    to_dict,
)
from study.data import Batches, ImageSet, Pairs, make_pairs
from study.files import write_json
from study.losses import build_perceptual
from study.losses.objective import Objective
from study.metrics.judge import Judge
from study.models import Autoencoder, VGGDiscriminator, load_weights
from study.models.build import build_autoencoder, build_generator
from study.training.evaluation import (
    Evaluation,
    evaluate_autoencoder,
    evaluate_bicubic,
    evaluate_generator,
    save_references,
)
from study.training.loop import Plan, Tick, train
from study.training.state import TrainState, new_state
from study.training.steps import Step, adversarial_step, autoencoder_step, fidelity_step

OnTick = Callable[[Tick], None]
KeyOf = Callable[[RunConfig, Stage], str]  # names the artifact of a run's stage
Module = TypeVar("Module", bound=nn.Module)


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
    _pairs: dict[tuple[str, int], Pairs] = field(default_factory=dict, repr=False)

    def train_pairs(self, scale: int) -> Pairs:
        """The training images with their bicubic LR at a scale, made once."""
        return self._cached(self.train, scale)

    def test_pairs(self, scale: int) -> Pairs:
        """The held-out images with their bicubic LR at a scale, made once."""
        return self._cached(self.test, scale)

    def _cached(self, images: ImageSet, scale: int) -> Pairs:
        name = (images.fingerprint, scale)
        if name not in self._pairs:
            self._pairs[name] = make_pairs(images, scale)
        return self._pairs[name]


@dataclass(frozen=True)
class Artifact:
    """A finished upstream stage.

    Attributes:
        key: `<stage>-<hash>`, the directory's name.
        weights: its EMA weights, safetensors.
        budget: what it cost: iterations, pixels_seen, device_seconds.
        reused: it was there already.
    """

    key: str
    weights: Path
    budget: dict[str, float]
    reused: bool


@dataclass(frozen=True)
class Need:
    """An artifact that a stage needs, with the keys of those that it starts from itself."""

    key: str
    stage: Stage
    config: RunConfig
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """One evaluated set of EMA weights of a trial, with what it had cost by then and its mean loss terms."""

    iteration: int
    evaluation: Evaluation
    terms: dict[str, float]
    budget: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "iteration": self.iteration,
            "metrics": self.evaluation.metrics,
            "images": self.evaluation.images,
            "terms": self.terms,
            "budget": self.budget,
        }


def upstream(config: RunConfig, stage: Stage) -> list[tuple[RunConfig, Stage]]:
    """The stages that a stage starts from, each with the run that describes it."""
    match stage:
        case "fidelity":
            return []
        case "autoencoder":
            return [(decoder_as_run(config), "fidelity")]
        case "adversarial":
            return [(config, name) for name in config.stages if name != "adversarial"]


def needs_of(config: RunConfig, stage: Stage, key_of: KeyOf) -> Iterator[Need]:
    """Everything upstream of a stage, each before what starts from it, each once."""
    seen: set[str] = set()
    for needed, name in upstream(config, stage):
        for need in [*needs_of(needed, name, key_of), _need(needed, name, key_of)]:
            if need.key not in seen:
                seen.add(need.key)
                yield need


def _need(config: RunConfig, stage: Stage, key_of: KeyOf) -> Need:
    after = tuple(key_of(needed, name) for needed, name in upstream(config, stage))
    return Need(key_of(config, stage), stage, config, after)


def artifact_key(config: RunConfig, stage: Stage, train_set: ImageSet) -> str:
    """The name of a stage's artifact when trained on these images."""
    return stage_key(config, stage, train_set.fingerprint)


def ensure_artifact(config: RunConfig, stage: Stage, workshop: Workshop, tick: OnTick | None = None) -> Artifact:
    """Find the artifact of a stage, or train it, with all that it starts from.

    Two processes that ask for the same one at the same time do not both train it: the second waits for the first.

    Raises:
        Diverged, StorageError, ValueError: as `training.loop.train`.
    """
    assert stage != "adversarial"
    key = artifact_key(config, stage, workshop.train)
    final = workshop.artifacts / key
    if not final.exists():
        for needed, name in upstream(config, stage):
            ensure_artifact(needed, name, workshop, tick)
        with _only_one(workshop.artifacts / ".locks" / key):
            if not final.exists():
                _train_artifact(config, stage, key, workshop, tick)
                return _finished(final, reused=False)
    return _finished(final, reused=True)


def load_generator(config: RunConfig, workshop: Workshop) -> nn.Module:
    """The run's finished fidelity generator, in eval mode on the workshop's device."""
    key = artifact_key(config, "fidelity", workshop.train)
    generator = build_generator(config.generator, config.data.scale)
    load_weights(generator, workshop.artifacts / key / "weights.safetensors")
    return generator.eval().to(workshop.device)


def load_autoencoder(config: RunConfig, workshop: Workshop) -> Autoencoder:
    """The run's finished auto-encoder, frozen, in eval mode on the workshop's device."""
    key = artifact_key(config, "autoencoder", workshop.train)
    autoencoder = build_autoencoder(config.autoencoder)
    load_weights(autoencoder, workshop.artifacts / key / "weights.safetensors")
    return autoencoder.eval().requires_grad_(False).to(workshop.device).to(memory_format=torch.channels_last)


def make_artifact(
    config: RunConfig, stage: Stage, workshop: Workshop, run_dir: Path, tick: OnTick | None = None
) -> dict[str, Any]:
    """Find or train an artifact and judge it for a study.

    Returns:
        `budget`, `reused`, `metrics`, `images`, and `samples`, the folder under `run_dir` that got sample crops.

    Raises:
        Diverged, StorageError, ValueError: as `training.loop.train`.
    """
    artifact = ensure_artifact(config, stage, workshop, tick)
    samples = f"references/{artifact.key}"
    evaluation = judge_artifact(config, stage, workshop, run_dir / samples)
    return {
        "budget": artifact.budget,
        "reused": artifact.reused,
        "metrics": evaluation.metrics,
        "images": evaluation.images,
        "samples": samples,
    }


def judge_artifact(config: RunConfig, stage: Stage, workshop: Workshop, samples: Path) -> Evaluation:
    """Judge a finished artifact on the held-out images: a generator's output, or what comes through an auto-encoder.

    `samples` gets crops of a generator's output.
    """
    test = workshop.test_pairs(config.data.scale)
    if stage == "autoencoder":
        return evaluate_autoencoder(load_autoencoder(config, workshop), test, workshop.judge)
    return evaluate_generator(load_generator(config, workshop), test, workshop.judge, samples)


def judge_bicubic(scale: int, workshop: Workshop, references: Path) -> Evaluation:
    """Judge bicubic up-sampling; `references` gets its crops and the windows of HR and LR that all samples show."""
    test = workshop.test_pairs(scale)
    save_references(references, test)
    return evaluate_bicubic(test, workshop.judge, workshop.device, references / "bicubic")


def train_adversarial(
    config: RunConfig,
    workshop: Workshop,
    directory: Path,
    report: Callable[[Point], None],
    tick: OnTick | None = None,
) -> None:
    """Train and judge the perceptual generator; its upstream artifacts must be finished.

    Started again in the same directory, it goes on from the last checkpoint. Every point is on disk before it is
    reported, and is reported again by a run that was started again: the receiver keeps one of each iteration.

    Args:
        config: the run.
        workshop: images, artifacts, metrics.
        directory: the trial's own; gets `checkpoint.pt` while it trains, and for each point its EMA weights, numbers
            and sample crops under `points/`.
        report: called for each point, in the order of iterations.
        tick: called every few iterations.

    Raises:
        Diverged, StorageError, ValueError: as `training.loop.train`.
    """
    points = directory / "points"
    key = artifact_key(config, "adversarial", workshop.train)
    _claim(directory, key, config)
    for path in sorted(points.glob("*.json")):
        report(_read_point(path))
    if (directory / "done.json").exists():
        return
    plan = Plan(
        stage="adversarial",
        key=key,
        budget=config.budget,
        optimiser=config.optimiser,
        checkpoint=directory / "checkpoint.pt",
        checkpoint_every=config.cadence.checkpoint_every,
        evaluate_every=config.cadence.evaluate_every,
    )

    def make_point(state: TrainState, terms: dict[str, float]) -> None:
        point = _save_point(points, state, terms, workshop, config.data.scale)
        report(point)

    batches = _batches(workshop.train_pairs(config.data.scale), config.budget, config.seed)
    train(
        _adversarial_state(config, workshop),
        _adversarial(config, workshop),
        batches,
        plan,
        evaluate=make_point,
        tick=tick,
    )
    write_json(directory / "done.json", {"key": key})
    (directory / "checkpoint.pt").unlink(missing_ok=True)  # only now is it no longer needed


def _claim(directory: Path, key: str, config: RunConfig) -> None:
    """Name what a trial's directory belongs to; ValueError if that is something else."""
    path = directory / "config.json"
    owner = json.loads(path.read_text())["key"] if path.exists() else key
    if owner != key:
        raise ValueError(
            f"{directory} holds a run of {owner}, but this configuration is {key}; name another directory, "
            "or go back to the configuration that it was started with"
        )
    write_json(path, {"key": key, "config": to_dict(config)})


def _train_artifact(config: RunConfig, stage: Stage, key: str, workshop: Workshop, tick: OnTick | None) -> None:
    part = config.fidelity if stage == "fidelity" else config.autoencoder
    partial = workshop.artifacts / ".partial" / key
    plan = Plan(
        stage=stage,
        key=key,
        budget=part.budget,
        optimiser=part.optimiser,
        checkpoint=partial / "checkpoint.pt",
        checkpoint_every=config.cadence.checkpoint_every,
    )
    if stage == "fidelity":
        scale = config.data.scale
        step: Step = fidelity_step
        model = _seeded(lambda: build_generator(config.generator, scale), part.seed)
    else:
        scale = config.autoencoder.factor
        step = autoencoder_step(config.autoencoder.bottleneck_weight)
        model = _new_autoencoder(config, workshop)
    state = new_state(model.to(workshop.device), part.optimiser)
    train(state, step, _batches(workshop.train_pairs(scale), part.budget, part.seed), plan, tick=tick)
    save_weights(partial / "weights.safetensors", state.ema)
    write_json(
        partial / "config.json",
        {"key": key, "data": workshop.train.fingerprint, "part": stage_part(config, stage)},
    )
    write_json(partial / "budget.json", _budget(state))
    if (workshop.artifacts / key).exists():
        return  # another machine, beyond the reach of our lock, was first
    os.rename(partial, workshop.artifacts / key)
    (workshop.artifacts / key / "checkpoint.pt").unlink(missing_ok=True)


def _new_autoencoder(config: RunConfig, workshop: Workshop) -> Autoencoder:
    autoencoder = _seeded(lambda: build_autoencoder(config.autoencoder), config.autoencoder.seed)
    generator = load_generator(decoder_as_run(config), workshop)
    autoencoder.load_fidelity({name: tensor.cpu() for name, tensor in generator.state_dict().items()})
    return autoencoder


def _adversarial_state(config: RunConfig, workshop: Workshop) -> TrainState:
    generator = load_generator(config, workshop)
    discriminator = None
    if config.loss.adversarial > 0:
        build = lambda: VGGDiscriminator(config.budget.patch, config.discriminator.features)  # noqa: E731
        discriminator = _seeded(build, config.seed).to(workshop.device)
    return new_state(generator, config.optimiser, discriminator=discriminator)


def _adversarial(config: RunConfig, workshop: Workshop) -> Step:
    loss = config.loss
    perceptual = None
    if loss.perceptual > 0:
        perceptual = build_perceptual(loss.perceptual_network, workshop.backbones[loss.perceptual_network])
        perceptual = perceptual.to(workshop.device).to(memory_format=torch.channels_last)
    autoencoder = load_autoencoder(config, workshop) if loss.uses_autoencoder else None
    return adversarial_step(Objective(loss, autoencoder=autoencoder, perceptual=perceptual))


def _save_point(points: Path, state: TrainState, terms: dict[str, float], workshop: Workshop, scale: int) -> Point:
    name = f"{state.iteration:07d}"
    evaluation = evaluate_generator(state.ema, workshop.test_pairs(scale), workshop.judge, points / name)
    point = Point(state.iteration, evaluation, terms, _budget(state))
    save_weights(points / f"{name}.safetensors", state.ema)
    write_json(points / f"{name}.json", point.to_dict())  # last: a point is whole once this file is there
    return point


def _read_point(path: Path) -> Point:
    saved = json.loads(path.read_text())
    evaluation = Evaluation(saved["metrics"], saved["images"])
    return Point(saved["iteration"], evaluation, saved["terms"], saved["budget"])


def _batches(pairs: Pairs, budget: Budget, seed: int) -> Batches:
    return Batches(pairs, patch=budget.patch, batch=budget.batch, seed=seed)


def _budget(state: TrainState) -> dict[str, float]:
    return {
        "iterations": state.iteration,
        "pixels_seen": state.pixels_seen,
        "device_seconds": round(state.device_seconds, 3),
    }


def _finished(directory: Path, *, reused: bool) -> Artifact:
    budget = json.loads((directory / "budget.json").read_text())
    return Artifact(directory.name, directory / "weights.safetensors", budget, reused)


def _seeded(build: Callable[[], Module], seed: int) -> Module:
    """Build a network whose random weights depend on the seed alone, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Hold a lock between the processes of a machine; it is given up by the system when its holder dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
