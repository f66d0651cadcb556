"""Checks before any training: published weights, weight files, custom losses, images, shares of a batch."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from study.config import INITIAL_WEIGHTS, PerceptualNetwork, RunConfig, Stage, custom_loss_digest, get
from study.data import ImageSet
from study.losses.custom import read_custom_loss, try_custom_loss
from study.models import load_weights
from study.models.backbones import fetch_backbone
from study.models.weights import is_finite
from study.training.loop import pick_device
from study.training.stages.critic_training import training_image
from study.training.stages.graph import STAGES, needs_of

LPIPS_NETWORK: PerceptualNetwork = "alexnet"
DOWNLOAD_SECONDS = 30  # a network: without internet, a study must start all the same


class MissingWeights(ValueError):
    """Published weights that a configuration needs were not found."""


def fetching_command(names: Iterable[str]) -> str:
    """Return a sentence that says how to get missing published weights."""
    return (
        f"on a machine with internet: python study/prepare.py weights --output DIR --networks {' '.join(names)}; "
        "then name that folder with --weights DIR"
    )


def find_networks(names: Iterable[PerceptualNetwork], weights: Path | None) -> dict[PerceptualNetwork, Path]:
    """Return the files of frozen networks, from `weights`, torch's cache, or one download with a time limit.

    Raises:
        MissingWeights: `weights` is not a directory.
    """
    if weights is not None and not weights.is_dir():
        raise MissingWeights(f"--weights must name a directory with weight files, but {weights} is none; correct it")
    found = {name: fetch_backbone(name, weights, timeout_sec=DOWNLOAD_SECONDS) for name in dict.fromkeys(names)}
    return {name: path.resolve() for name, path in found.items() if path is not None}  # workers run elsewhere


def require_networks(config: RunConfig, found: Mapping[PerceptualNetwork, Path], varied: Collection[str] = ()) -> None:
    """Raise MissingWeights if the network of a run's perceptual term was not found.

    Args:
        config: the run.
        found: the networks' files.
        varied: the fields that a search draws, which --set does not fix.
    """
    name = config.loss.perceptual_network
    if config.loss.perceptual > 0 and name not in found:
        raise MissingWeights(
            f"loss.perceptual_network is {name}, whose published weights are neither in --weights nor in torch's "
            f"cache, and could not be downloaded; {fetching_command([name])}. Or choose another network"
            f"{_by('loss.perceptual_network', '...', varied)}, or train without the term"
            f"{_by('loss.perceptual', '0', varied)}"
        )


def _by(field: str, value: str, varied: Collection[str]) -> str:
    """Return how a field is changed, in words."""
    return f" in the search space, which draws {field}" if field in varied else f" with --set {field}={value}"


def check_initial_weights(configs: Iterable[RunConfig]) -> None:
    """Load every initial weight file into its network.

    Raises:
        ValueError: names the field, the file and what does not fit.
    """
    checked: set[str] = set()
    for config in configs:
        for need in needs_of(config, "adversarial"):
            spec = STAGES[need.stage]
            given = spec.initial_weights(need.config)
            if given is None or need.key in checked:
                continue
            checked.add(need.key)
            try:
                network = spec.network(need.config)
                load_weights(network, given)
                if not is_finite(network):
                    raise ValueError(f"{given} holds weights that are NaN or infinite; name another file")
            except ValueError as error:
                field = next(path for path in INITIAL_WEIGHTS if get(config, path) == given)
                raise ValueError(f"{field}: {error}") from None


def read_custom_losses(configs: Iterable[RunConfig]) -> dict[str, str]:
    """Read the custom losses of runs, and try each on images of the sizes of its batches.

    Only for commands, whose user named the files: the texts are executed.

    Returns:
        The texts, by hash.

    Raises:
        CustomLossError: names the file and its error.
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
    """Raise ValueError if the photograph that MDF's critics train on is absent or too small."""
    for config in configs:
        if config.loss.uses_critics and config.critics.init is None:
            training_image(config, train)


def check_shares(configs: Iterable[RunConfig], workers_of: Callable[[Stage], int]) -> None:
    """Raise ValueError if workers cannot have equal shares of a batch.

    Args:
        configs: runs of a study.
        workers_of: returns how many processes train a stage together.
    """
    for config in configs:
        needs = needs_of(config, "adversarial")
        for run, stage in [(config, "adversarial"), *((need.config, need.stage) for need in needs)]:
            spec, workers = STAGES[stage], workers_of(stage)
            budget, field = spec.budget(run), f"{spec.budget_field}.batch"
            if budget is not None and budget.batch % workers:
                raise ValueError(
                    f"{spec.workers_option} must divide {field}, but that is {budget.batch} and they are {workers}: "
                    f"each worker gets an equal share of every batch; choose another number, or --set {field}=..."
                )
        workers, batch = workers_of("adversarial"), config.budget.batch
        if workers > 1 and batch == workers and config.discriminator.name != "unet":
            raise ValueError(
                f"--workers {workers} leaves each worker one image of budget.batch {batch}, but the batch norm of "
                f"discriminator {config.discriminator.name} needs two; enlarge the batch, or use fewer workers"
            )


def perceptual_metric_note(lpips_weights: Path | None) -> str:
    """Return a sentence that names the metric of the perceptual axis."""
    if lpips_weights is not None:
        return f"The perceptual axis is LPIPS v0.1 with the published AlexNet weights ({lpips_weights.name})."
    return (
        "The published AlexNet weights were not found, so the perceptual axis is NOT LPIPS but SWD, the sliced "
        "Wasserstein distance of Laplacian-pyramid patches, which needs no learned weights. For LPIPS, "
        f"{fetching_command([LPIPS_NETWORK])}."
    )
