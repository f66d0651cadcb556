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
from torch import Tensor, nn

from study.config import (
    AutoencoderConfig,
    Budget,
    DataConfig,
    DegradationName,
    FidelityConfig,
    PerceptualNetwork,
    RunConfig,
    Stage,
    decoder_as_run,
    stage_key,
    stage_part,
    to_dict,
)
from study.data import Batches, ImageSet, Pairs, make_pairs
from study.data.degradations import drawn_anew
from study.files import write_json
from study.losses import build_perceptual
from study.losses.gradient import LOSS_PADDING
from study.losses.objective import ADVERSARIAL_TERMS, Objective
from study.metrics.judge import Judge
from study.models import Autoencoder, SPSRGenerator, load_weights, save_weights
from study.models.build import build_autoencoder, build_discriminator, build_generator
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

WEIGHTS = "weights.safetensors"
GRADIENT_MARGIN = 2 * (LOSS_PADDING - 1)  # by how much gradient maps are larger than the patch


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
            return [] if config.autoencoder.init is not None else [(decoder_as_run(config), "fidelity")]
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
    """Find the artifact of a stage, or train it, with all that it starts from; or take over the file named by `init`.

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
    generator = build_generator(config.generator.fidelity_form, config.data.scale)
    load_weights(generator, workshop.artifacts / key / WEIGHTS)
    return generator.eval().to(workshop.device)


def load_autoencoder(config: RunConfig, workshop: Workshop) -> Autoencoder:
    """The run's finished auto-encoder, frozen, in eval mode on the workshop's device."""
    key = artifact_key(config, "autoencoder", workshop.train)
    autoencoder = build_autoencoder(config.autoencoder, scale_head=config.has_scale_head)
    load_weights(autoencoder, workshop.artifacts / key / WEIGHTS)
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
    test = workshop.test_pairs(config.data)
    if stage == "autoencoder":
        return evaluate_autoencoder(load_autoencoder(config, workshop), test, workshop.judge)
    return evaluate_generator(load_generator(config, workshop), test, workshop.judge, samples)


def judge_bicubic(data: DataConfig, workshop: Workshop, references: Path) -> Evaluation:
    """Judge bicubic up-sampling; `references` gets its crops and the windows of HR and LR that all samples show."""
    test = workshop.test_pairs(data)
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
        seed=config.seed,
    )

    def make_point(state: TrainState, terms: dict[str, float]) -> None:
        point = _save_point(points, state, terms, workshop, config.data)
        report(point)

    batches = _batches(workshop, config.data.scale, config.budget, config.seed, config.data.degradation)
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


def is_exportable(config: RunConfig) -> bool:
    """Whether other tools have the run's generator: none knows the bilinear skip, but MSRResNet has its own."""
    return config.generator.name == "msrresnet" or not config.generator.bilinear_skip


def export_generator(config: RunConfig, weights: Path, target: Path) -> Path:
    """Write a run's generator from a point's weights for other tools, under the names that they know.

    Raises:
        ValueError: the weights are not those of the run's generator, or the generator is one that no other tool has.
        StorageError: the file system refused.
    """
    if not is_exportable(config):
        raise ValueError(
            f"{weights} belongs to a generator with generator.bilinear_skip, which no other tool has: its weights "
            "would give wrong images there; use it from here, or train without the skip"
        )
    generator = build_generator(config.generator, config.data.scale)
    load_weights(generator, weights)
    save_weights(generator, target, layout="basicsr")
    return target


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
    partial = workshop.artifacts / ".partial" / key
    given = initial_weights(config, stage)
    if given is not None:
        budget = _take_over(config, stage, Path(given), partial)
    elif stage == "fidelity":
        budget = _train_fidelity(config, key, workshop, partial, tick)
    else:
        budget = _train_autoencoder(config, key, workshop, partial, tick)
    write_json(
        partial / "config.json",
        {"key": key, "data": workshop.train.fingerprint, "part": stage_part(config, stage)},
    )
    write_json(partial / "budget.json", budget)
    if (workshop.artifacts / key).exists():
        return  # another machine, beyond the reach of our lock, was first
    os.rename(partial, workshop.artifacts / key)
    (workshop.artifacts / key / "checkpoint.pt").unlink(missing_ok=True)


def _take_over(config: RunConfig, stage: Stage, given: Path, partial: Path) -> dict[str, float]:
    """Make an artifact of a file that a person gave."""
    module = empty_network(config, stage)
    load_weights(module, given)
    save_weights(module, partial / WEIGHTS, layout="plain")
    return {"iterations": 0, "pixels_seen": 0, "device_seconds": 0.0}


def initial_weights(config: RunConfig, stage: Stage) -> str | None:
    """The weight file that stands in for training an upstream stage."""
    return config.generator.init if stage == "fidelity" else config.autoencoder.init


def empty_network(config: RunConfig, stage: Stage) -> nn.Module:
    """The network of an upstream stage, with weights that mean nothing."""
    if stage == "fidelity":
        return build_generator(config.generator.fidelity_form, config.data.scale)
    return build_autoencoder(config.autoencoder, scale_head=config.has_scale_head)


def _train_fidelity(
    config: RunConfig, key: str, workshop: Workshop, partial: Path, tick: OnTick | None
) -> dict[str, float]:
    part, scale = config.fidelity, config.data.scale
    generator = _seeded(lambda: empty_network(config, "fidelity"), part.seed)
    batches = _batches(workshop, scale, part.budget, part.seed, config.data.degradation)
    plan = _upstream_plan("fidelity", key, part, partial, config)
    return _train_to_the_end(generator, fidelity_step, batches, plan, workshop, partial, tick)


def _train_autoencoder(
    config: RunConfig, key: str, workshop: Workshop, partial: Path, tick: OnTick | None
) -> dict[str, float]:
    part = config.autoencoder
    step = autoencoder_step(
        bottleneck_weight=part.bottleneck_weight if part.trains_bottleneck else 0.0,
        scale_weight=part.scale_weight if config.has_scale_head else 0.0,
        frozen_until=round(part.frozen_decoder * part.budget.iterations),
    )
    autoencoder = _new_autoencoder(config, workshop)
    batches = _batches(workshop, part.factor, part.budget, part.seed)
    plan = _upstream_plan("autoencoder", key, part, partial, config)
    return _train_to_the_end(autoencoder, step, batches, plan, workshop, partial, tick)


def _upstream_plan(
    stage: Stage, key: str, part: FidelityConfig | AutoencoderConfig, partial: Path, config: RunConfig
) -> Plan:
    return Plan(
        stage=stage,
        key=key,
        budget=part.budget,
        optimiser=part.optimiser,
        checkpoint=partial / "checkpoint.pt",
        checkpoint_every=config.cadence.checkpoint_every,
        seed=part.seed,
    )


def _train_to_the_end(
    model: nn.Module,
    step: Step,
    batches: Batches,
    plan: Plan,
    workshop: Workshop,
    partial: Path,
    tick: OnTick | None,
) -> dict[str, float]:
    """Train an upstream stage and leave its averaged weights; returns what it cost."""
    state = new_state(model.to(workshop.device), plan.optimiser)
    train(state, step, batches, plan, tick=tick)
    save_weights(state.ema, partial / WEIGHTS, layout="plain")
    return _budget(state)


def _new_autoencoder(config: RunConfig, workshop: Workshop) -> Autoencoder:
    build = lambda: build_autoencoder(config.autoencoder, scale_head=config.has_scale_head)  # noqa: E731
    autoencoder = _seeded(build, config.autoencoder.seed)
    autoencoder.load_fidelity(_state_on_cpu(load_generator(decoder_as_run(config), workshop)))
    return autoencoder


def _adversarial_state(config: RunConfig, workshop: Workshop) -> TrainState:
    loss, patch = config.loss, config.budget.patch
    build = {
        "adversarial": lambda: build_discriminator(config.discriminator, patch),
        "gradient_adversarial": lambda: build_discriminator(config.discriminator, patch, margin=GRADIENT_MARGIN),
    }
    discriminators = {
        name: _seeded(build[name], config.seed + offset).to(workshop.device)
        for offset, name in enumerate(ADVERSARIAL_TERMS)
        if loss.weights[name] > 0
    }
    return new_state(_new_generator(config, workshop), config.optimiser, discriminators=discriminators)


def _new_generator(config: RunConfig, workshop: Workshop) -> nn.Module:
    """The perceptual generator at its start: the fidelity generator, or a network with that one inside it."""
    fidelity = load_generator(config, workshop)
    if config.generator.name != "spsr":
        return fidelity
    generator = _seeded(lambda: build_generator(config.generator, config.data.scale), config.seed)
    assert isinstance(generator, SPSRGenerator)
    generator.load_fidelity(_state_on_cpu(fidelity))
    return generator.to(workshop.device)


def _state_on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}


def _adversarial(config: RunConfig, workshop: Workshop) -> Step:
    loss = config.loss
    perceptual = None
    if loss.perceptual > 0:
        path = workshop.backbones[loss.perceptual_network]
        perceptual = build_perceptual(loss.perceptual_network, path, loss.perceptual_layers)
        perceptual = perceptual.to(workshop.device).to(memory_format=torch.channels_last)
    autoencoder = load_autoencoder(config, workshop) if loss.uses_autoencoder else None
    objective = Objective(loss, autoencoder=autoencoder, perceptual=perceptual, scale=config.data.scale)
    return adversarial_step(objective, fusion_until=config.fusion_share * config.budget.iterations)


def _save_point(
    points: Path, state: TrainState, terms: dict[str, float], workshop: Workshop, data: DataConfig
) -> Point:
    name = f"{state.iteration:07d}"
    evaluation = evaluate_generator(state.ema, workshop.test_pairs(data), workshop.judge, points / name)
    point = Point(state.iteration, evaluation, terms, _budget(state))
    save_weights(state.ema, points / f"{name}.safetensors", layout="plain")
    write_json(points / f"{name}.json", point.to_dict())  # last: a point is whole once this file is there
    return point


def _read_point(path: Path) -> Point:
    saved = json.loads(path.read_text())
    evaluation = Evaluation(saved["metrics"], saved["images"])
    return Point(saved["iteration"], evaluation, saved["terms"], saved["budget"])


def _batches(
    workshop: Workshop, scale: int, budget: Budget, seed: int, degradation: DegradationName = "bicubic"
) -> Batches:
    return Batches(
        workshop.train_pairs(scale),
        patch=budget.patch,
        batch=budget.batch,
        seed=seed,
        degradation=drawn_anew(degradation),
    )


def _budget(state: TrainState) -> dict[str, float]:
    return {
        "iterations": state.iteration,
        "pixels_seen": state.pixels_seen,
        "device_seconds": round(state.device_seconds, 3),
    }


def _finished(directory: Path, *, reused: bool) -> Artifact:
    budget = json.loads((directory / "budget.json").read_text())
    return Artifact(directory.name, directory / WEIGHTS, budget, reused)


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
