"""Opens a context from what a person gave: images, weights, a place for artifacts. Everything that can be wrong with
them is found here, before any training."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from study.config import (
    INITIAL_WEIGHTS,
    DataConfig,
    PerceptualNetwork,
    RunConfig,
    Stage,
    custom_loss_digest,
    get,
    stage_key,
)
from study.data import ImageSet, load_source
from study.losses.custom import read_custom_loss, try_custom_loss
from study.metrics.evaluator import study_evaluator
from study.models import load_weights
from study.models.backbones import fetch_backbone
from study.training.artifact_store import open_artifacts
from study.training.context import RunContext
from study.training.loop import pick_device
from study.training.stages.artifacts import empty_network
from study.training.stages.critics import training_image
from study.training.stages.graph import initial_weights, needs_of

LPIPS_NETWORK: PerceptualNetwork = "alexnet"
DOWNLOAD_SECONDS = 30  # for a network: where connections hang, a study shall start nevertheless


class MissingWeights(ValueError):
    """Published weights that a configuration needs and that could not be had."""


@dataclass(frozen=True)
class ContextSpec:
    """Where a context's parts are; plain enough to be sent to a worker.

    Attributes:
        data: the image sources.
        largest_patch: no training image may be smaller, in pixels.
        artifacts: where finished artifacts are, a full path or a URI.
        backbones: files of the frozen networks that were found.
        lpips_weights: file of LPIPS' network; None if it could not be had.
        custom_losses: the texts of the runs' custom losses, by hash: workers need not see the files, and run no others.
    """

    data: DataConfig
    largest_patch: int
    artifacts: str
    backbones: Mapping[PerceptualNetwork, Path]
    lpips_weights: Path | None
    custom_losses: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **asdict(self),
            "data": self.data.model_dump(mode="json"),
            "backbones": {name: str(path) for name, path in self.backbones.items()},
            "lpips_weights": None if self.lpips_weights is None else str(self.lpips_weights),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "ContextSpec":
        """The inverse of `to_dict`."""
        return ContextSpec(
            data=DataConfig.model_validate(values["data"]),
            largest_patch=values["largest_patch"],
            artifacts=values["artifacts"],
            backbones={name: Path(path) for name, path in values["backbones"].items()},
            lpips_weights=None if values["lpips_weights"] is None else Path(values["lpips_weights"]),
            custom_losses=values["custom_losses"],
        )

    def open(self) -> RunContext:
        """Read the images, build the evaluator, connect to the artifacts.

        Raises:
            SourceError, ImageError: what is wrong with the images, all of it at once.
            RemoteError: the artifacts' storage cannot be reached.
        """
        train, val = load_source(
            self.data.train, self.data.val, scale=self.data.scale, minimum_patch=self.largest_patch
        )
        device = pick_device()
        artifacts = open_artifacts(self.artifacts)
        evaluator = study_evaluator(self.lpips_weights, device)
        return RunContext(train, val, artifacts, evaluator, self.backbones, device, custom_losses=self.custom_losses)


def fetching_command(names: Iterable[str]) -> str:
    """What to do about published weights that are missing, in a sentence."""
    return (
        f"on a machine with internet: python study/prepare.py weights --output DIR --networks {' '.join(names)}; "
        "then name that folder with --weights DIR"
    )


def find_networks(names: Iterable[PerceptualNetwork], weights: Path | None) -> dict[PerceptualNetwork, Path]:
    """Look for frozen networks in `weights`, then in torch's cache, then download them, once, with a time limit.

    Raises:
        MissingWeights: `weights` is not a directory.
    """
    if weights is not None and not weights.is_dir():
        raise MissingWeights(f"--weights must name a directory with weight files, but {weights} is none")
    found = {name: fetch_backbone(name, weights, timeout_sec=DOWNLOAD_SECONDS) for name in dict.fromkeys(names)}
    return {name: path.resolve() for name, path in found.items() if path is not None}  # workers run elsewhere


def require_networks(config: RunConfig, found: Mapping[PerceptualNetwork, Path]) -> None:
    """Make sure that the perceptual term of a run can be built; MissingWeights says how to get what it lacks."""
    name = config.loss.perceptual_network
    if config.loss.perceptual > 0 and name not in found:
        raise MissingWeights(
            f"loss.perceptual_network is {name}, whose published weights are neither in --weights nor in torch's "
            f"cache, and could not be downloaded; {fetching_command([name])}. Or choose another network with "
            "--set loss.perceptual_network=..., or train without with --set loss.perceptual=0"
        )


def check_initial_weights(configs: Iterable[RunConfig]) -> None:
    """Load every weight file that runs start from into the network that it is meant for.

    Raises:
        ValueError: naming the field, the file and what does not fit.
    """
    checked: set[str] = set()
    for config in configs:
        for need in needs_of(config, "adversarial", lambda run, stage: stage_key(run, stage, "")):
            given = initial_weights(need.config, need.stage)
            if given is None or need.key in checked:
                continue
            checked.add(need.key)
            try:
                load_weights(empty_network(need.config, need.stage), given)
            except ValueError as error:
                field = next(path for path in INITIAL_WEIGHTS if get(config, path) == given)
                raise ValueError(f"{field}: {error}") from None


def read_custom_losses(configs: Iterable[RunConfig]) -> dict[str, str]:
    """Read every custom loss that runs descend, and try it out on images of the sizes that it will get.

    It is for commands alone, which have the files' names from the person who started them: what is read here is run.

    Returns:
        The texts, by hash.

    Raises:
        CustomLossError: naming the file and what is wrong with it.
    """
    texts: dict[str, str] = {}
    tried: set[tuple[str, int, int]] = set()
    for config in configs:
        if config.loss.custom is None or not config.loss.uses_custom:
            continue
        hash_ = custom_loss_digest(config.loss.custom)
        if hash_ not in texts:
            texts[hash_] = read_custom_loss(config.loss.custom)
        case = (hash_, config.budget.patch, config.data.scale)
        if case not in tried:
            tried.add(case)
            try_custom_loss(config.loss.custom, texts, patch=case[1], scale=case[2], device=pick_device())
    return texts


def check_training_images(configs: Iterable[RunConfig], train: ImageSet) -> None:
    """Make sure that MDF's critics have the photograph that they are to learn from; ValueError names what is wrong."""
    for config in configs:
        if config.loss.uses_critics and config.critics.init is None:
            training_image(config, train)


def check_shares(configs: Iterable[RunConfig], workers_of: Callable[[Stage], int]) -> None:
    """Make sure that workers can share out every batch; ValueError names the field, the batch and the workers.

    Args:
        configs: runs of a study.
        workers_of: how many processes train a stage together.
    """
    for config in configs:
        needs = needs_of(config, "adversarial", lambda run, stage: stage_key(run, stage, ""))
        for run, stage in [(config, "adversarial"), *((need.config, need.stage) for need in needs)]:
            field = {"adversarial": "budget.batch"}.get(stage, f"{stage}.budget.batch")
            workers = workers_of(stage)
            if stage != "critics" and get(run, field) % workers:
                option = "--workers" if stage == "adversarial" else "--pretrain-workers"
                raise ValueError(
                    f"{option} must divide {field}, but that is {get(run, field)} and they are {workers}: each worker "
                    f"takes an equal share of every batch; choose another number, or --set {field}=..."
                )
        workers, batch = workers_of("adversarial"), config.budget.batch
        if workers > 1 and batch == workers and config.discriminator.name != "unet":
            raise ValueError(
                f"--workers {workers} leaves each worker one image of budget.batch {batch}, but the batch norm of "
                f"discriminator {config.discriminator.name} needs two; enlarge the batch, or take fewer workers"
            )


def perceptual_metric_note(lpips_weights: Path | None) -> str:
    """What a reader has to know about the perceptual axis."""
    if lpips_weights is not None:
        return f"The perceptual axis is LPIPS v0.1 with the published AlexNet weights ({lpips_weights.name})."
    return (
        "The published AlexNet weights could not be had, so the perceptual axis is NOT LPIPS but SWD, the sliced "
        "Wasserstein distance of Laplacian-pyramid patches, which needs no learned weights. For LPIPS, "
        f"{fetching_command([LPIPS_NETWORK])}."
    )
